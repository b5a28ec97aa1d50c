"""How many jobs a replica runs at once: what memory allows, one less after an out-of-memory, one more while it pays.

The number starts where the pool's own figures put it (engine/memory.py). With `concurrency.learn: Auto` it then follows
what is measured:

- Memory is the cap: floor((usable - base) / job), for host and GPU memory, the smaller wins; `job` is the 95th
  percentile of the measured peaks, decayed, once there are twenty of them. A larger peak lowers the number at once.
- Out of memory, of a run or of a whole replica: one slot less at once, and none more for an hour, two, four … a day.
- One slot more is tried when memory has room for it, with a tenth to spare, and work waits. It stays if jobs per minute
  rise by 5 %, judged by the typical run time before and after; else it goes again, and is not tried for a day.

A GPU runs jobs of 100 s one at a time and has memory for three. Two at a time take 120 s each: 1.67 times as many jobs,
two stay. Three take 185 s each: 0.97 times as many, back to two.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from pool_contract.messages import RunOutcome
from pool_operator.engine.histogram import LogBins, add, quantile, samples
from pool_operator.engine.state import Histogram, LearnedSlots, Pace, Trial
from pool_operator.engine.types import Ended, MemorySpace, Observed, PoolSpec, Reading

BYTES: Final = LogBins(low=float(1 << 20), high=float(1 << 40), count=160)
"""1 MiB to 1 TiB, nine per cent a bin."""
DECAY: Final = 0.995
HIGH: Final = 0.95
ENOUGH_PEAKS: Final = 19.0  # twenty, of which the older have faded a little
TO_SPARE: Final = 1.1  # a peak that moves a little must not move the slots
INCIDENT_SECONDS: Final = 60.0
"""One replica that is killed for memory is told of in several ways."""
FIRST_BAN_SECONDS: Final = 3600.0
LONGEST_BAN_SECONDS: Final = 86400.0
GAIN: Final = 1.05
FEWEST_JOBS: Final = 20
MOST_JOBS: Final = 400  # beyond them the verdict is as good as it gets; older ones fade
SURE: Final = 4.0  # standard errors within the largest possible gain


def slots_of(spec: PoolSpec, learned: LearnedSlots) -> int:
    """Slots of one replica, as published to the workers; a lower number ends no running job."""
    if not spec.learn_slots or learned.slots is None or learned.rules != _rules(spec):
        return spec.slots_per_replica
    return learned.slots


def learn_slots(
    spec: PoolSpec, observed: Observed, learned: LearnedSlots, ended: Sequence[Ended], *, now: float
) -> LearnedSlots:
    """Take in the runs that have ended since the decision before, and move the number."""
    if not spec.learn_slots:
        return learned
    rules, before = _rules(spec), slots_of(spec, learned)
    out_of_memory_at = _out_of_memory_at(observed, ended, learned, before)
    if learned.rules == rules and not ended and out_of_memory_at is None:
        return learned
    if learned.rules != rules:  # another limit, another maximum: what was learned of jobs stays
        learned = LearnedSlots(
            rules=rules,
            peak_bytes=learned.peak_bytes,
            gpu_peak_bytes=learned.gpu_peak_bytes,
            out_of_memory_at=learned.out_of_memory_at,  # backends tell of it again and again
        )
    learned = replace(_with_peaks(learned, ended), slots=before)
    if out_of_memory_at is not None:
        return _lowered(learned, before, out_of_memory_at, now)
    if (fit := fits(spec, learned)) < before:
        return replace(learned, slots=fit, pace=Pace(), trial=None)
    if not _work_waits(observed):
        return learned
    learned = _with_pace(learned, ended, before)
    if learned.trial is not None:
        return _judged(learned, learned.trial, before, now)
    may_rise = now >= learned.raise_at and learned.pace.jobs >= FEWEST_JOBS
    if may_rise and fits(spec, learned, TO_SPARE) > before:
        return replace(learned, slots=before + 1, pace=Pace(), trial=Trial(since=now, before=learned.pace))
    return learned


def fits(spec: PoolSpec, learned: LearnedSlots, factor: float = 1.0) -> int:
    """Slots that memory has room for, at least 1 and never more than maxPerReplica.

    8 GiB usable, 2 GiB base, 95 % of the jobs below 1 GiB: 6.
    """
    peaks = {"host": learned.peak_bytes, "gpu": learned.gpu_peak_bytes}
    spaces = (_fit(space, peaks.get(space.kind, Histogram()), factor) for space in spec.memory_spaces)
    return max(1, min([spec.max_slots, *spaces]))


def _fit(space: MemorySpace, peaks: Histogram, factor: float) -> int:
    job = float(space.per_job_bytes)
    if samples(peaks) >= ENOUGH_PEAKS:
        job = quantile(peaks, BYTES, HIGH) * factor
    return int(max(0, space.usable_bytes - space.base_bytes) / max(1.0, job))


def _rules(spec: PoolSpec) -> str:
    """What the number of slots follows from, apart from what is learned."""
    spaces = (f"{one.kind} {one.usable_bytes} {one.base_bytes} {one.per_job_bytes}" for one in spec.memory_spaces)
    return "; ".join((f"{spec.slots_per_replica} of {spec.max_slots}", *spaces))


def _work_waits(observed: Observed) -> bool:
    """Only then every slot is busy, and run times tell what one slot more does to the others."""
    reading = observed.reading
    return isinstance(reading, Reading) and any(one.waiting for one in reading.queues.values())


# --- memory -------------------------------------------------------------------------------------------------------


def _with_peaks(learned: LearnedSlots, ended: Sequence[Ended]) -> LearnedSlots:
    host, gpu = learned.peak_bytes, learned.gpu_peak_bytes
    for one in ended:
        if one.peak_bytes > 0:
            host = add(host, BYTES.index(one.peak_bytes), decay=DECAY)
        if one.gpu_peak_bytes > 0:
            gpu = add(gpu, BYTES.index(one.gpu_peak_bytes), decay=DECAY)
    return replace(learned, peak_bytes=host, gpu_peak_bytes=gpu)


def _out_of_memory_at(observed: Observed, ended: Sequence[Ended], learned: LearnedSlots, slots: int) -> float | None:
    """When memory last ran out, if that is news: not the same incident again, nor a replica that still had more slots."""
    times = [one.at for one in ended if one.outcome is RunOutcome.OUT_OF_MEMORY and one.slots <= slots]
    if observed.out_of_memory_at is not None:
        times.append(observed.out_of_memory_at)
    known = -math.inf if learned.out_of_memory_at is None else learned.out_of_memory_at + INCIDENT_SECONDS
    return max((at for at in times if at > known), default=None)


def _lowered(learned: LearnedSlots, slots: int, at: float, now: float) -> LearnedSlots:
    """Twice as long a ban each time, unless the last one is long over."""
    again = learned.out_of_memory_at is not None and at - learned.out_of_memory_at < 2 * _ban(learned.out_of_memory)
    in_a_row = learned.out_of_memory + 1 if again else 1
    return replace(
        learned,
        slots=max(1, slots - 1),
        out_of_memory_at=at,
        out_of_memory=in_a_row,
        raise_at=max(learned.raise_at, now + _ban(in_a_row)),
        pace=Pace(),
        trial=None,
    )


def _ban(in_a_row: int) -> float:
    return min(LONGEST_BAN_SECONDS, FIRST_BAN_SECONDS * 2.0 ** min(max(0, in_a_row - 1), 10))


# --- throughput ---------------------------------------------------------------------------------------------------


def _with_pace(learned: LearnedSlots, ended: Sequence[Ended], slots: int) -> LearnedSlots:
    """Runs that were wholly run at the present number."""
    since = -math.inf if learned.trial is None else learned.trial.since
    pace = learned.pace
    for one in ended:
        if one.outcome is RunOutcome.FINISHED and one.slots == slots and one.at - one.seconds >= since:
            pace = _taken_in(pace, math.log(max(1e-3, one.seconds)))
    return replace(learned, pace=pace)


def _taken_in(pace: Pace, value: float) -> Pace:
    """Welford's update; what is older than the last few hundred fades."""
    keep = min(1.0, (MOST_JOBS - 1) / max(1.0, pace.jobs))
    jobs = pace.jobs * keep + 1.0
    mean = pace.mean + (value - pace.mean) / jobs
    return Pace(jobs=jobs, mean=mean, squares=pace.squares * keep + (value - pace.mean) * (value - mean))


def _judged(learned: LearnedSlots, trial: Trial, slots: int, now: float) -> LearnedSlots:
    """Does one slot more pay? Undecided until the run times are known well enough."""
    before, after = trial.before, learned.pace
    most = math.log(slots / (slots - 1))  # the gain if run times stayed as they were
    error = math.sqrt(_variance(before) / before.jobs + _variance(after) / max(1.0, after.jobs))
    known = after.jobs >= FEWEST_JOBS and SURE * error <= most
    if not known and after.jobs < MOST_JOBS:
        return learned
    if most - (after.mean - before.mean) >= math.log(GAIN):
        return replace(learned, trial=None)
    return replace(learned, slots=slots - 1, pace=before, trial=None, raise_at=now + LONGEST_BAN_SECONDS)


def _variance(pace: Pace) -> float:
    return pace.squares / max(1.0, pace.jobs - 1.0)
