"""How much more work there is within one cold start, learned for each kind of traffic.

Eight times in a cold start a sample begins: how far above the jobs of that moment does the number of jobs rise until one
cold start later? The samples that a gap without a call would have brought are made up for when it ends, at a cost that
does not grow with the gap: nothing happened in it, so they all say "not at all".
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Mapping
from typing import Final

from pool_operator.engine.histogram import add, add_many
from pool_operator.engine.state import Growth, Histogram, Traffic

FAST_SECONDS: Final = 120.0
SLOW_SECONDS: Final = 1200.0
DECAY: Final = 0.999
SAMPLES_PER_COLD_START: Final = 8
MOST_PENDING: Final = 16
MOST_GROWTH: Final = 63
REGIMES: Final = tuple(0.01 * 10.0 ** (step / 2) for step in range(7))
"""Arrivals expected within one cold start: .01 .03 .1 .3 1 3 10 divide traffic into eight regimes."""
NEVER: Final = Histogram()


def rates(traffic: Traffic, now: float) -> tuple[float, float]:
    """Arrivals a second, over two minutes and over twenty: an arrival adds 1/120, and that fades while nothing comes."""
    at = traffic.at
    if at is None or now <= at:
        return traffic.fast_per_second, traffic.slow_per_second
    gap = at - now
    return (
        traffic.fast_per_second * math.exp(gap / FAST_SECONDS),
        traffic.slow_per_second * math.exp(gap / SLOW_SECONDS),
    )


def context_of(traffic: Traffic, cold_seconds: float, now: float) -> int:
    """What the traffic looks like: arrivals lately, arrivals for longer, jobs in the system; each one of eight."""
    fast, slow = rates(traffic, now)
    jobs = min(7, ((traffic.in_system or 0) + 1).bit_length() - 1)
    return (bisect_right(REGIMES, fast * cold_seconds) * 8 + bisect_right(REGIMES, slow * cold_seconds)) * 8 + jobs


def keys(context: int) -> tuple[int, int, int]:
    """Where it stands what a context has taught: arrivals lately alone; for longer too; jobs in the system too."""
    return 576 + context // 64, 512 + context // 8, context


def raised(pending: tuple[Growth, ...], jobs: int) -> tuple[Growth, ...]:
    """So many jobs are in the system now. An older sample has seen all that a younger one has, so its peak is no lower."""
    if not pending or pending[-1].peak >= jobs:
        return pending
    return tuple([one if one.peak >= jobs else one._replace(peak=jobs) for one in pending])


def made_up(
    traffic: Traffic, cold_seconds: float, now: float
) -> tuple[Mapping[int, Histogram], tuple[Growth, ...], float]:
    """Growth learned, samples under way, and the time of the last sample, as if a clock had ticked since `traffic.at`.

    Cold start 80 s, a sample every 10 s, the last at 100, nothing happened up to 205: samples begin at 110 … 200; those
    of 110 and 120 are over, and say 0.
    """
    step, jobs = cold_seconds / SAMPLES_PER_COLD_START, traffic.in_system or 0
    pending, first, growth = traffic.pending, traffic.sampled_at, traffic.growth
    over = 0
    while over < len(pending) and pending[over].at + cold_seconds <= now:
        over += 1
    due = max(0, int((now - first) / step))
    whole = max(0, min(due, int((now - cold_seconds - first) / step)))
    if over or whole:
        taught = dict(growth)
        for one in pending[:over]:
            _teach(taught, one.context, min(MOST_GROWTH, one.peak - one.jobs), 1)
        _teach_nothing_grew(taught, traffic, cold_seconds, first, whole)
        growth, pending = taught, pending[over:]
    if due > whole:
        times = [first + count * step for count in range(whole + 1, due + 1)]
        begun = [Growth(at, jobs, context_of(traffic, cold_seconds, at), jobs) for at in times]
        pending = (*pending, *begun)[:MOST_PENDING]
    return growth, pending, first + due * step


def _teach_nothing_grew(
    taught: dict[int, Histogram], traffic: Traffic, cold_seconds: float, first: float, count: int
) -> None:
    """`count` samples after `first`. Their context changes only when a fading rate passes from one regime to the next."""
    step, done = cold_seconds / SAMPLES_PER_COLD_START, 0
    while done < count:
        at = first + (done + 1) * step
        fast, slow = rates(traffic, at)
        stays = min(
            FAST_SECONDS * _fades_by(fast * cold_seconds),
            SLOW_SECONDS * _fades_by(slow * cold_seconds),
        )
        many = min(count - done, 1 + int(min(stays / step, count)))
        _teach(taught, context_of(traffic, cold_seconds, at), 0, many)
        done += many


def _fades_by(expected: float) -> float:
    """How often it must lose a factor e to come to the lower end of its regime."""
    regime = bisect_right(REGIMES, expected)
    return math.log(expected / REGIMES[regime - 1]) if regime else math.inf


def _teach(taught: dict[int, Histogram], context: int, growth: int, count: int) -> None:
    for key in keys(context):
        known = taught.get(key, NEVER)
        taught[key] = add(known, growth, decay=DECAY) if count == 1 else add_many(known, growth, count, decay=DECAY)
