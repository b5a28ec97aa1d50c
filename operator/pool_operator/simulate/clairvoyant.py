"""What somebody who knew the future would need: references that no policy can be expected to reach.

The levels of the first are those of Lu and Chen (2011): with known gaps, keep the k-th replica through a gap that is
shorter than the cold start, else let it go and start it in time.
"""

from __future__ import annotations

import math
from bisect import bisect_right, insort
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from pool_operator.simulate.trace import Trace

BEST_OF: Final = (*range(0, 120, 10), *range(120, 301, 30), *range(360, 1201, 60))
"""Longest waits that `best_objective` looks through, in seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """A clairvoyant schedule."""

    replica_seconds: float
    starts: int
    waits: list[float]

    def objective(self, wait_value: float) -> float:
        """J(v), in replica-hours; see Result.objective."""
        return (self.replica_seconds + wait_value * math.fsum(self.waits)) / 3600


def no_wait(trace: Trace, cold_start_seconds: float, slots: int = 1) -> Reference:
    """The fewest replica-seconds at which no job waits: exact for one slot, a lower bound for more.

    Level k is on while at least k jobs run; over a gap of its level it costs the gap or a cold start, the smaller.
    Two jobs of 60 s at seconds 0 and 100, cold start 50 s: 60 + 60 of work, a first start of 50, the gap of 40: 210.
    """
    events = sorted(
        [(at, 1) for at in trace.arrivals]
        + [(at + length, -1) for at, length in zip(trace.arrivals, trace.services, strict=True)]
    )
    total, jobs, level, before, starts = 0.0, 0, 0, 0.0, 0
    off_since: list[float] = []  # of the levels above the one that is on, the highest first
    known = 0
    for at, change in events:
        total += level * (at - before)
        jobs += change
        now = -(-jobs // slots)
        while level < now:
            level += 1
            gap = at - off_since.pop() if level <= known else math.inf
            known = max(known, level)
            total += min(gap, cold_start_seconds)
            starts += gap >= cold_start_seconds
        while level > now:
            level -= 1
            off_since.append(at)
        before = at
    return Reference(replica_seconds=total, starts=starts, waits=[0.0] * trace.jobs)


def bounded_wait(trace: Trace, cold_start_seconds: float, longest_wait_seconds: float) -> Reference:
    """A schedule of one-slot replicas in which no job waits longer: a strong baseline, not the optimum.

    Each job takes a replica that has idled for less than a cold start; else one that becomes free in time; else a new
    one, started so that it is ready when the job comes.
    """
    free: list[float] = []  # when the replicas that exist become free, sorted
    total, starts = 0.0, 0
    waits = [0.0] * trace.jobs
    for number, (at, length) in enumerate(zip(trace.arrivals, trace.services, strict=True)):
        idle = bisect_right(free, at) - 1
        if idle >= 0 and at - free[idle] < cold_start_seconds:
            total += at - free.pop(idle) + length
            insort(free, at + length)
        elif idle + 1 < len(free) and free[idle + 1] <= at + longest_wait_seconds:
            since = free.pop(idle + 1)
            waits[number] = since - at
            total += length
            insort(free, since + length)
        else:
            if idle >= 0:
                free.pop(idle)
            total += cold_start_seconds + length
            starts += 1
            insort(free, at + length)
    return Reference(replica_seconds=total, starts=starts, waits=waits)


def references(trace: Trace, cold_start_seconds: float, slots: int = 1) -> list[Reference]:
    """Those that `best_objective` chooses from: made once, used for many wait values."""
    found = [no_wait(trace, cold_start_seconds, slots)]
    if slots == 1:
        found += [bounded_wait(trace, cold_start_seconds, float(longest)) for longest in BEST_OF]
    return found


def best_objective(found: Iterable[Reference], wait_value: float) -> float:
    """The smallest J(v) of the clairvoyant references: what a policy's J(v) is divided by (its regret)."""
    return min(one.objective(wait_value) for one in found)
