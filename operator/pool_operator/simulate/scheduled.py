"""Jobs that are known before they are due, as RQ's scheduled jobs are."""

from __future__ import annotations

import math
from bisect import insort

from pool_operator.simulate.trace import Trace


class Scheduled:
    """Which jobs are known and not due yet.

    Args:
        trace: `known` says since when each arrival was known; without it none is known early.
        queue_of: for each job, the place of its queue among the pool's.
    """

    def __init__(self, trace: Trace, queue_of: list[int]) -> None:
        self._trace = trace
        self._queue_of = queue_of
        known = trace.known or []
        order = [number for number, at in enumerate(known) if at < trace.arrivals[number]]
        self._coming = sorted(order, key=lambda number: known[number], reverse=True)
        self._due: dict[int, list[float]] = {}  # by place of the queue
        self.next_at = math.inf
        self._set_next()

    def _set_next(self) -> None:
        self.next_at = self._trace.known[self._coming[-1]] if self._coming and self._trace.known else math.inf

    def pass_to(self, now: float) -> None:
        """What has become known, and what has become due."""
        while self.next_at <= now:
            number = self._coming.pop()
            insort(self._due.setdefault(self._queue_of[number], []), self._trace.arrivals[number])
            self._set_next()
        for due in self._due.values():
            while due and due[0] <= now:
                due.pop(0)

    def of(self, place: int, epoch: float) -> tuple[float, ...]:
        """When the known jobs of a queue are due, soonest first, in unix seconds."""
        return tuple(epoch + at for at in self._due.get(place, ()))
