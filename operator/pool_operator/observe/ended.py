"""Runs that ended, between Redis and the engine. Pure."""

from __future__ import annotations

import logging
from collections import deque
from typing import Final

from pool_contract.scripts import EndedRun, PoolState
from pool_operator.engine.types import Ended

log = logging.getLogger(__name__)
KEPT: Final = 2000
"""Of a pool whose runs nobody takes, as Redis keeps them."""
START: Final = (0, 0)
"""Memory.cursor before the first run: then the last ones that Redis has are taken in, so that learning starts warm."""


class EndedRuns:
    """Those of one pool that the engine has not taken in yet.

    A run is read off Redis once: each reading asks for what comes after `cursor`. It stays here until a decision has
    taken it in, which shows in the cursor that the engine's memory brings back.
    """

    def __init__(self, cursor: tuple[int, int] = START) -> None:
        self.cursor: tuple[int, int] | None = cursor if cursor > START else None
        self.unreadable = 0
        self._began_anywhere = self.cursor is None
        self._runs: deque[Ended] = deque(maxlen=KEPT)

    def follows(self, cursor: tuple[int, int]) -> bool:
        """Whether nothing is missing behind this cursor. It may: a memory was restored after reading had begun."""
        return cursor == START or not self._began_anywhere

    def take_in(self, pool: PoolState, skew_seconds: float) -> None:
        """What a reading has brought; of two readings of the same runs, the second brings nothing."""
        known = self.cursor or START
        self._runs.extend(_ended(one, skew_seconds) for one in pool.ended if one.id > known)
        if pool.cursor is not None and pool.cursor > known:
            self.cursor = pool.cursor
            self._count(pool.unreadable)

    def after(self, cursor: tuple[int, int]) -> tuple[Ended, ...]:
        """Oldest first; those up to the cursor are forgotten."""
        while self._runs and self._runs[0].id <= cursor:
            self._runs.popleft()
        return tuple(self._runs)

    def _count(self, unreadable: int) -> None:
        if unreadable and not self.unreadable:
            log.warning("the stream of ended runs has entries that are no run's: they are left out")
        self.unreadable += unreadable


def _ended(run: EndedRun, skew_seconds: float) -> Ended:
    record = run.record
    return Ended(
        id=run.id,
        at=run.id[0] / 1000 + skew_seconds,
        seconds=record.seconds,
        outcome=record.outcome,
        queue=record.queue,
        hint_seconds=record.hint,
        peak_bytes=record.peak,
        gpu_peak_bytes=record.gpu_peak,
        slots=record.slots,
    )
