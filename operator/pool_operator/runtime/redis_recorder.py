"""The ledger in the pool's own Redis: written by the leader only, read by whoever leads next."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from pool_contract import ledger
from pool_contract.ledger import Appended, Chunk
from pool_operator.backends.base import PoolObject
from pool_operator.engine.record import Record, Step
from pool_operator.engine.state import Memory
from pool_operator.observe.endpoint import Endpoint
from pool_operator.observe.problems import EndpointError
from pool_operator.runtime.clock import Clock
from pool_operator.runtime.tape import Tape, TapeRecorder, learned

AGAIN_SECONDS: Final = 2.0
MOST_WAITING_BYTES: Final = 256 * 1024  # compressed: hours of a quiet pool, minutes of a busy one
MOST_PAGES: Final = 40


@dataclass(frozen=True, slots=True, kw_only=True)
class _Batch:
    """What goes to Redis in one call, and what is lost with it."""

    chunks: list[Chunk]
    steps: list[Step]
    gaps: list[Record]

    @property
    def size(self) -> int:
        return sum(len(one.packed) for one in self.chunks)


@dataclass(slots=True)
class _Behind:
    """Records of one pool that Redis has not taken yet, oldest first, and where its ledger ended for us."""

    place: object = None
    end_bytes: int | None = None  # None: our first append
    batches: list[_Batch] = field(default_factory=list)


class RedisRecorder(TapeRecorder):
    """A Recorder.

    Args:
        epoch: the leader's epoch for a pool UID.
    """

    def __init__(self, *, epoch: Callable[[str], int], clock: Clock) -> None:
        super().__init__(clock=clock)
        self._epoch = epoch
        self._behind: dict[str, _Behind] = {}

    async def restore(self, pool: PoolObject, endpoint: Endpoint | None) -> Memory | None:
        if endpoint is None:
            return None
        records: list[Record] = []
        before: str | None = None
        for _ in range(MOST_PAGES):
            page = await endpoint.call(ledger.tail(endpoint.prefix, pool=pool.uid, before=before))
            records[:0] = page.records
            before = page.first_id
            if page.checkpoint or not page.more:
                break
        return await asyncio.to_thread(learned, pool, records)

    async def _write(self, tape: Tape, steps: list[Step]) -> None:
        uid = tape.pool.uid
        behind = self._behind.setdefault(uid, _Behind())
        if tape.endpoint is not None and behind.place != tape.endpoint.key.place:
            if behind.place is not None:  # moved: what waits belongs nowhere any more
                self._begin_anew(tape, behind)
            behind.place = tape.endpoint.key.place
        records = await asyncio.to_thread(tape.records, steps)
        if records:
            chunks = await asyncio.to_thread(ledger.pack, records)
            gaps = [one for one in records if one["kind"] == "gap"]
            behind.batches.append(_Batch(chunks=chunks, steps=steps, gaps=gaps))
        if behind.batches:
            await self._send(tape, behind)
        if sum(one.size for one in behind.batches) > MOST_WAITING_BYTES:  # what Redis did not take
            self._begin_anew(tape, behind, end_bytes=behind.end_bytes)
        if tape.forgotten:
            self._behind.pop(uid, None)

    async def _send(self, tape: Tape, behind: _Behind) -> None:
        tape.due = self._clock.monotonic() + AGAIN_SECONDS
        if tape.endpoint is None:
            return
        try:
            if behind.end_bytes is None:  # first where it ends: an append whose answer is lost is known by that
                behind.end_bytes = (await self._append(tape, tape.endpoint, [], after=None)).end_bytes
            while behind.batches:
                batch = behind.batches[0]
                found = await self._append(tape, tape.endpoint, batch.chunks, after=behind.end_bytes)
                # not written, and yet there: Redis had taken it, only its answer was lost
                if not found.written and found.end_bytes != behind.end_bytes + batch.size:
                    tape.trouble = tape.trouble or "Redis lost what was written before"
                    self._begin_anew(tape, behind)
                    return
                behind.end_bytes = found.end_bytes
                del behind.batches[0]
        except EndpointError as error:
            self._told(tape, str(error))
            return
        self._told(tape, "")
        if not tape.steps:
            tape.due = float("inf")

    async def _append(self, tape: Tape, endpoint: Endpoint, chunks: list[Chunk], *, after: int | None) -> Appended:
        uid = tape.pool.uid
        call = ledger.append(endpoint.prefix, pool=uid, epoch=self._epoch(uid), chunks=chunks, after=after)
        return await endpoint.call(call)

    @staticmethod
    def _begin_anew(tape: Tape, behind: _Behind, *, end_bytes: int | None = None) -> None:
        """What waits is given up, as a gap; the next step begins with a checkpoint."""
        for batch in behind.batches:
            tape.lose(batch.steps, batch.gaps)
        tape.recording.begin_anew()
        behind.end_bytes, behind.batches = end_bytes, []
