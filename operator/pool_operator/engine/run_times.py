"""How long jobs run, learned from those that ended; and from that, how soon those that run now will end.

A decayed histogram, and not a mean, because run times are heavy-tailed: a job that has run for long will run for long.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import lru_cache
from operator import itemgetter
from typing import Final

from pool_contract.messages import RunOutcome
from pool_operator.engine.histogram import LogBins, add, samples, tails
from pool_operator.engine.state import Histogram, RunTimes
from pool_operator.engine.types import Ended, Run

SECONDS: Final = LogBins(low=1.0, high=7200.0, count=48)
STRETCH: Final = LogBins(low=0.002, high=14.4, count=48)
"""Run seconds for one second of media: a fast GPU 0.01, a slow CPU 5. The same ratio of bins as SECONDS."""
DECAY: Final = 0.995
MEAN_WEIGHT: Final = 0.05
GUESS_WORTH: Final = 3
"""The first guess weighs as much as so many jobs: the first to end are the short ones."""
ENOUGH: Final = 4.9
"""From so many samples on the histogram is believed."""
UNTOLD: Final = 0.02
"""Older than all but this share of what was seen: the histogram has nothing to say."""
GROUPS: Final = 96
"""More running jobs than this are looked at in groups of like age."""

ENDED_BY_ITSELF: Final = frozenset({RunOutcome.FINISHED, RunOutcome.FAILED})


def learn_run_times(times: RunTimes, ended: Iterable[Ended]) -> RunTimes:
    """Take in runs that ended by themselves; a lost one tells how long a lease is, not a job."""
    for run in ended:
        if run.outcome in ENDED_BY_ITSELF:
            times = _taken_in(times, run)
    return times


def _taken_in(times: RunTimes, run: Ended) -> RunTimes:
    """The mean, first guess 120 s, after runs of 20 s: 95 s, 80 s, 70 s …; later each weighs 5 %."""
    seconds = max(0.0, run.seconds)
    weight = max(MEAN_WEIGHT, 1.0 / (times.jobs + 1 + GUESS_WORTH))
    learned = RunTimes(
        jobs=times.jobs + 1,
        mean_seconds=times.mean_seconds + weight * (seconds - times.mean_seconds),
        seconds=add(times.seconds, SECONDS.index(seconds), decay=DECAY),
        hinted_jobs=times.hinted_jobs,
        mean_stretch=times.mean_stretch,
        stretch=times.stretch,
    )
    if run.hint_seconds <= 0.0:
        return learned
    stretch = seconds / run.hint_seconds
    hinted = max(MEAN_WEIGHT, 1.0 / (times.hinted_jobs + 1))
    return replace(
        learned,
        hinted_jobs=times.hinted_jobs + 1,
        mean_stretch=times.mean_stretch + hinted * (stretch - times.mean_stretch),
        stretch=add(times.stretch, STRETCH.index(stretch), decay=DECAY),
    )


def believed(histogram: Histogram) -> bool:
    return samples(histogram) >= ENOUGH


def ends_within(times: RunTimes, horizon: float) -> Callable[[float, float], float]:
    """P(a job of this age and hint ends within the horizon): 1 − (1−F(age+horizon)) / (1−F(age)).

    Seen so far: half the jobs 10 s, half 1000 s. A job of age 20 s is a long one: within 60 s it ends with p 0.
    Older than anything seen, horizon / (age + horizon): the longer it has run, the longer it will.
    With a hint the same holds in units of the hint. Nothing seen: exponential about the first guess.
    """
    by_age, by_stretch = _believed_survival(times.seconds, SECONDS), _believed_survival(times.stretch, STRETCH)
    guess = -math.expm1(-horizon / max(1.0, times.mean_seconds))

    def chance(age: float, hint_seconds: float) -> float:
        survival, within = by_age, horizon
        if hint_seconds > 0.0 and by_stretch is not None:
            survival, age, within = by_stretch, age / hint_seconds, horizon / hint_seconds
        if survival is None:
            return guess
        alive = survival(age)
        if alive < UNTOLD:
            return within / (age + within)
        return 1.0 - survival(age + within) / alive

    return chance


@lru_cache(maxsize=1024)
def _believed_survival(histogram: Histogram, bins: LogBins) -> Callable[[float], float] | None:
    if not believed(histogram):
        return None
    weights, above, total = histogram.weights, tails(histogram), histogram.total
    last, low = len(weights), bins.low
    scale = bins.count / math.log(bins.high / low)
    log = math.log

    def survival(value: float) -> float:
        """Share that takes longer than this: even within a bin."""
        if value <= low:
            return 1.0
        position = log(value / low) * scale
        index = int(position)
        if index >= last:
            return 0.0
        return (above[index] - (position - index) * weights[index]) / total

    return survival


def counted_on(times: RunTimes, runs: Sequence[Run], now: float, horizon: float, caution: float) -> float:
    """How many running jobs one may count on to end within the horizon: mean less `caution` standard deviations.

    Of the surest only: the best of all beginnings of their list, surest first. So one more doubtful job never takes
    from the sure ones, and waiting longer never makes more of it. Ten jobs with p = 0.9 each: 9 − 3·0.95 = 6.2.
    """
    if horizon <= 0.0 or not runs:
        return 0.0
    chance = ends_within(times, horizon)
    group = 1
    if len(runs) > GROUPS:
        group = -(-len(runs) // GROUPS)
        left = len(runs) % group
        ordered = sorted(runs, key=itemgetter(0))  # by `since`
        runs = ordered[left + group // 2 :: group]
    chances = [chance(max(0.0, now - since), hint) for since, hint in runs]
    chances.sort(reverse=True)
    best = mean = variance = 0.0
    for p in chances:
        if p <= 0.0:
            break
        ending = group * p
        mean += ending
        variance += ending * (1.0 - p)
        best = max(best, mean - caution * math.sqrt(variance))
    return best
