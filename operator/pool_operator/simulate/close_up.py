"""The busiest stretch of a run, event by event: a plot of weeks shows each burst as one line."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from pool_operator.simulate.timeline import Series

LEAST_COLD_STARTS: Final = 30
"""As long is the stretch at least, so that what follows a burst is seen too."""
BEFORE_COLD_STARTS: Final = 3
"""As long before the backlog begins does the stretch begin."""
CLIMB_COLD_STARTS: Final = 20
"""A backlog that grew for longer before its peak is shown from here on."""
POINTS: Final = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Moments:
    """When each job came, began and ended (below 0: never), and each replica was created and gone; seconds."""

    arrivals: Sequence[float] = ()
    began: Sequence[float] = ()
    ended: Sequence[float] = ()
    created: Sequence[float] = ()
    gone: Sequence[float] = ()

    def series(self, since: float, until: float) -> Series:
        """A stretch in POINTS points; within a point the highest counts.

        One job that comes at 1 and begins at 2: `Moments(arrivals=[1], began=[2]).series(0, 4).waiting` has a 1 at 1.
        """
        width = (until - since) / POINTS
        columns = [_highest(changes, since, width) for changes in (self._replicas(), self._busy(), self._waiting())]
        replicas, busy, waiting = columns
        return Series(
            at=[since + place * width for place in range(POINTS)] + [until],
            replicas=[*replicas, replicas[-1]],
            busy=[*busy, busy[-1]],
            waiting=[*waiting, waiting[-1]],
        )

    def busiest(self, cold_start_seconds: float) -> tuple[float, float] | None:
        """From shortly before the highest backlog to when it is gone; None if nothing ever waited."""
        most = before = 0
        peak_at = began_at = grew_at = 0.0
        gone_at: float | None = None
        for at, level in _levels(self._waiting()):
            if not before:
                began_at = at
            if level > most:
                most, peak_at, grew_at, gone_at = level, at, began_at, None
            elif not level and gone_at is None:
                gone_at = at
            before = level
        if not most:
            return None
        if gone_at is None:  # it never was
            gone_at = max(peak_at, *self.ended)
        since = max(grew_at, peak_at - CLIMB_COLD_STARTS * cold_start_seconds)
        since = max(0.0, since - BEFORE_COLD_STARTS * cold_start_seconds)
        return since, max(gone_at + cold_start_seconds, since + LEAST_COLD_STARTS * cold_start_seconds)

    def _replicas(self) -> list[tuple[float, int]]:
        return _changes(self.created, self.gone)

    def _busy(self) -> list[tuple[float, int]]:
        return _changes(self.began, self.ended)

    def _waiting(self) -> list[tuple[float, int]]:
        return _changes(self.arrivals, self.began)


def _changes(up: Iterable[float], down: Iterable[float]) -> list[tuple[float, int]]:
    return sorted([(at, 1) for at in up if at >= 0] + [(at, -1) for at in down if at >= 0])


def _levels(changes: Sequence[tuple[float, int]]) -> Iterator[tuple[float, int]]:
    """The level after each moment: a slot that passes from job to job is one slot all the time."""
    level = 0
    for place, (at, change) in enumerate(changes, start=1):
        level += change
        if place == len(changes) or changes[place][0] > at:
            yield at, level


def _highest(changes: Sequence[tuple[float, int]], since: float, width: float) -> list[int]:
    """For each point of a width the highest level in it."""
    found: list[int] = []
    level = highest = 0
    for at, now in _levels(changes):
        if at < since:
            level = highest = now
            continue
        place = int((at - since) / width)
        if place >= POINTS:
            break
        while len(found) < place:
            found.append(highest)
            highest = level
        level, highest = now, max(highest, now)
    while len(found) < POINTS:
        found.append(highest)
        highest = level
    return found
