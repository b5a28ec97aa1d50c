"""How many replicas, running and waiting jobs there were over time, in as many points as a plot can show."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

POINTS: Final = 2_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """A step function: each point holds until the next. Within a point the highest counts, so no peak is lost."""

    at: list[float] = field(default_factory=list)  # seconds since the trace began
    replicas: list[int] = field(default_factory=list)  # that exist: starting, ready, draining
    busy: list[int] = field(default_factory=list)  # jobs that run
    waiting: list[int] = field(default_factory=list)


class Timeline:
    """Collects a series while a run goes on.

    Args:
        span_seconds: about how long the run will be; a longer one gets coarser points.
    """

    def __init__(self, span_seconds: float) -> None:
        self._width = max(span_seconds / POINTS, 1e-3)
        self._points: list[list[float]] = []  # bin, replicas, busy, waiting
        self._last = -1

    def held(self, since: float, until: float, replicas: int, busy: int, waiting: int) -> None:
        """So it was from `since` to `until`."""
        place = int(since / self._width)
        if place == self._last:
            point = self._points[-1]
            if replicas > point[1]:  # noqa: PLR1730 - this is called at every tick, and max() is a call
                point[1] = replicas
            if busy > point[2]:  # noqa: PLR1730
                point[2] = busy
            if waiting > point[3]:  # noqa: PLR1730
                point[3] = waiting
        else:
            self._add(place, replicas, busy, waiting)
        if until >= (place + 2) * self._width and self._points[-1][1:] != [replicas, busy, waiting]:
            self._add(place + 1, replicas, busy, waiting)

    def _add(self, place: int, replicas: int, busy: int, waiting: int) -> None:
        self._points.append([place, replicas, busy, waiting])
        self._last = place
        if len(self._points) >= POINTS:
            self._coarsen()

    def _coarsen(self) -> None:
        """Points twice as wide."""
        merged: list[list[float]] = []
        for point in self._points:
            point[0] //= 2
            if merged and merged[-1][0] == point[0]:
                merged[-1][1:] = [max(one, two) for one, two in zip(merged[-1][1:], point[1:], strict=True)]
            else:
                merged.append(point)
        self._points = merged
        self._width *= 2
        self._last = int(merged[-1][0])

    def series(self, end: float) -> Series:
        """What was collected, with a last point at the end."""
        rows = [[point[0] * self._width, *point[1:]] for point in self._points]
        if rows:
            rows.append([max(end, rows[-1][0]), 0, 0, 0])
        at, *counts = zip(*rows, strict=True) if rows else ((), (), (), ())
        replicas, busy, waiting = ([int(one) for one in column] for column in counts)
        return Series(at=list(at), replicas=replicas, busy=busy, waiting=waiting)
