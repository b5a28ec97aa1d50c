"""What was recorded and is not written yet, for each pool; and the task that writes it, wherever that is.

Recording is cheap and never waits: it keeps the step, whose values never change. Turning steps into records and
writing them is this task's business, in a thread of its own.
"""

from __future__ import annotations

import asyncio
import logging
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final

from pool_contract.scripts import StaleEpochError
from pool_operator.api.models import ProcessingPoolSpec
from pool_operator.api.template import environment, worker_container
from pool_operator.backends.base import PoolObject
from pool_operator.engine.checkpoint import UnreadableError
from pool_operator.engine.record import Record, Recording, Step, changes_something, read_records
from pool_operator.engine.replay import remembered
from pool_operator.engine.state import Memory
from pool_operator.fingerprint import fingerprint
from pool_operator.names import WORKER_CONTAINER
from pool_operator.observe.endpoint import Endpoint
from pool_operator.runtime.clock import Clock

log = logging.getLogger(__name__)
LOOK_SECONDS: Final = 1.0
SOON_SECONDS: Final = 1.0
QUIET_SECONDS: Final = 30.0  # where nothing but time has passed
MOST_STEPS: Final = 2000  # not yet turned into records: about the work of some minutes
WRITES_AT_ONCE: Final = 8
LAST_WORDS_SECONDS: Final = 2.0
ENVIRONMENT: Final = ("PROCESSINGPOOL_MODEL", "PROCESSINGPOOL_MODEL_COMPUTE_TYPE")


@dataclass(slots=True)
class Tape:
    """One pool's."""

    pool: PoolObject
    endpoint: Endpoint | None = None
    recording: Recording = field(default_factory=lambda: Recording({}))
    steps: list[Step] = field(default_factory=list)
    last: Step | None = None
    due: float = float("inf")  # monotonic: to be written then
    forgotten: bool = False
    trouble: str = ""  # why the last write did not come through
    lost_steps: int = 0
    lost_since: float = 0.0

    def take(self, step: Step, now: float) -> None:
        if len(self.steps) >= MOST_STEPS:
            self.lose(self.steps)
            self.steps = []
        if self.last is None or changes_something(self.last.decision, step.decision):
            self.due = min(self.due, now + SOON_SECONDS)
        else:
            self.due = min(self.due, now + QUIET_SECONDS)
        self.last = step
        self.steps.append(step)

    def lose(self, steps: Sequence[Step], records: Iterable[Record] = ()) -> None:
        """These will not be written; nor will the gaps that these records of theirs tell of."""
        gaps = [(one["at"], one["steps"]) for one in records if one["kind"] == "gap"]
        lost = [*gaps, *((one.decision.at, 1) for one in steps)]
        if lost and not self.lost_steps:
            self.lost_since = lost[0][0]
        self.lost_steps += sum(number for _, number in lost)

    def records(self, steps: list[Step]) -> list[Record]:
        """In another thread: the records of these steps, and of the gap before them."""
        self.recording.about = about(self.pool)
        if steps and self.lost_steps:
            self.recording.lost(
                since=self.lost_since,
                until=steps[0].decision.at,
                steps=self.lost_steps,
                why=self.trouble or "more was decided than could be written",
            )
            self.lost_steps = 0
        for step in steps:
            self.recording.take(step)
        return self.recording.drain()


class TapeRecorder(ABC):
    """A Recorder; where and how records are written is its subclasses'."""

    def __init__(self, *, clock: Clock) -> None:
        self._clock = clock
        self._tapes: dict[str, Tape] = {}

    def record(self, pool: PoolObject, endpoint: Endpoint | None, step: Step) -> None:
        tape = self._tapes.get(pool.uid)
        if tape is None:
            tape = self._tapes[pool.uid] = Tape(pool=pool)
        tape.pool = pool
        tape.endpoint = endpoint or tape.endpoint
        tape.take(step, self._clock.monotonic())

    def forget(self, uid: str) -> None:
        if (tape := self._tapes.get(uid)) is not None:
            tape.forgotten, tape.due = True, self._clock.monotonic()

    async def run(self) -> None:
        try:
            while True:
                await self._clock.sleep(LOOK_SECONDS)
                await self.write(due_by=self._clock.monotonic())
        except asyncio.CancelledError:
            with suppress(TimeoutError, StaleEpochError):  # a newer leader has told the rest
                async with asyncio.timeout(LAST_WORDS_SECONDS):
                    await self.write()
            raise

    async def write(self, *, due_by: float | None = None) -> None:
        """Write what is due by then (monotonic), or all there is."""
        due = [
            tape for tape in self._tapes.values() if tape.due < float("inf") and (due_by is None or tape.due <= due_by)
        ]
        for first in range(0, len(due), WRITES_AT_ONCE):
            writes = (self._write_one(tape) for tape in due[first : first + WRITES_AT_ONCE])
            for result in await asyncio.gather(*writes, return_exceptions=True):
                if isinstance(result, BaseException):
                    raise result

    async def _write_one(self, tape: Tape) -> None:
        steps, tape.steps, tape.due = tape.steps, [], float("inf")
        try:
            await self._write(tape, steps)
        except StaleEpochError:
            raise
        except Exception:  # supervision point: one pool's records harm no other pool
            log.exception("pool=%s its ledger goes on behind a gap", tape.pool.key)
            tape.lose(steps)
            tape.recording = Recording({})
        finally:
            if tape.forgotten:
                self._tapes.pop(tape.pool.uid, None)

    def _told(self, tape: Tape, trouble: str) -> None:
        """Each trouble once, and its end."""
        if trouble and not tape.trouble:
            log.warning("pool=%s its ledger cannot be written: %s", tape.pool.key, trouble)
        elif tape.trouble and not trouble:
            log.info("pool=%s its ledger is written again", tape.pool.key)
        tape.trouble = trouble

    @abstractmethod
    async def _write(self, tape: Tape, steps: list[Step]) -> None:
        """Write the records of these steps; what cannot be written is kept for a while, or told as a gap."""


def about(pool: PoolObject) -> dict[str, Any]:
    """What a checkpoint tells besides spec and memory: whose it is, on what it was decided, what its user asked for."""
    found: dict[str, Any] = {
        "pool": {"namespace": pool.key.namespace, "name": pool.key.name, "uid": pool.uid},
        "fingerprint": fingerprint(),
    }
    if pool.spec is not None:
        found["asked"] = asked(pool.spec)
    return found


def asked(spec: ProcessingPoolSpec) -> dict[str, Any]:
    """The resource's spec without what may be secret: of the template only what slots are computed from."""
    found = spec.model_dump(mode="json", by_alias=True, exclude_none=True, exclude={"redis", "template"})
    container = worker_container(spec.template) or {}
    known = environment(container)
    found["template"] = {
        "spec": {
            "containers": [
                {
                    "name": WORKER_CONTAINER,
                    "resources": {"limits": (container.get("resources") or {}).get("limits") or {}},
                    "env": [{"name": name, "value": known[name]} for name in ENVIRONMENT if name in known],
                }
            ]
        }
    }
    return found


def learned(pool: PoolObject, records: list[Record]) -> Memory | None:
    """What these records say that had been learned; None, and a line in the log, if they cannot be read."""
    try:
        return remembered(read_records(records))
    except UnreadableError as error:
        log.warning("pool=%s what was learned is not taken over, it is learned anew: %s", pool.key, error)
    except Exception:  # supervision point: records of another version must not keep a pool from being decided on
        log.exception("pool=%s what was learned is not taken over, it is learned anew", pool.key)
    return None
