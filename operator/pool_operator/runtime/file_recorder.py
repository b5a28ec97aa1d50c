"""The ledger of a pool on this machine: files in its state folder."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Final

from pool_contract import ledger
from pool_contract.ledger import LedgerError, LedgerFiles
from pool_operator.backends.base import PoolObject
from pool_operator.engine.record import Record, Step
from pool_operator.engine.state import Memory
from pool_operator.observe.endpoint import Endpoint
from pool_operator.runtime.clock import Clock
from pool_operator.runtime.tape import Tape, TapeRecorder, learned, log

AGAIN_SECONDS: Final = 10.0


class FileRecorder(TapeRecorder):
    """A Recorder for one pool.

    Args:
        folder: the pool's state folder, of which this process holds the lock.
    """

    def __init__(self, folder: Path, *, clock: Clock) -> None:
        super().__init__(clock=clock)
        self._folder = folder
        self._files = LedgerFiles(folder)
        self._full = False

    async def restore(self, pool: PoolObject, endpoint: Endpoint | None) -> Memory | None:  # noqa: ARG002 - a file is always there
        try:
            records = await asyncio.to_thread(_since_last_checkpoint, self._folder)
        except (LedgerError, OSError) as error:
            log.warning("pool=%s what was learned is not taken over, it is learned anew: %s", pool.key, error)
            return None
        return await asyncio.to_thread(learned, pool, records)

    async def _write(self, tape: Tape, steps: list[Step]) -> None:
        if self._full:
            tape.recording.begin_anew()
        records = await asyncio.to_thread(tape.records, steps)
        if not records:
            return
        try:
            await asyncio.to_thread(self._append, records)
        except OSError as error:
            tape.lose(steps, records)
            self._told(tape, str(error))
            tape.recording.begin_anew()
            tape.due = self._clock.monotonic() + AGAIN_SECONDS
        else:
            self._told(tape, "")

    def _append(self, records: list[Record]) -> None:
        if self._full:
            self._files.rotate()
            self._full = False
        self._full = self._files.append(records)


def _since_last_checkpoint(folder: Path) -> list[Record]:
    records: list[Record] = []
    for record in ledger.read_files(folder):
        if record.get("kind") == "checkpoint":
            records = []
        records.append(record)
    return records
