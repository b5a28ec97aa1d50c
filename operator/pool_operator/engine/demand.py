"""How many slots the work at hand needs: what waits, what runs, and what will be free in time.

A job that waits is patient for a while: as long as a wait is cheaper than a cold start. So a slot that is free, starts or
becomes free within that time counts, and with jobs that are short against it one slot does for several.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final, NamedTuple

from pool_operator.engine.fleet import Fleet
from pool_operator.engine.run_times import counted_on
from pool_operator.engine.state import RunTimes
from pool_operator.engine.types import PoolSpec, QueueReading, QueueSpec, Reading

CAUTION: Final = 3.0
"""Standard deviations that busy slots may disappoint by."""
SLACK: Final = 0.05
"""Jobs. So much of one may be missing before another replica is asked for."""
SPARE: Final = 0.5
"""Jobs. So much must be left over when a starting replica is given back."""
CHEAPEST_WAIT: Final = 1e-3

NOTHING: Final = QueueReading(waiting=0)


@dataclass(slots=True, kw_only=True)
class Demand:
    """Jobs, which are slots: a slot runs one job."""

    waiting: int  # could start now, in queues that call for replicas: waiting and due
    running: int  # in flight: claimed, or claimed by a replica that was lost (it will have to run again)
    fillers: int  # wait in queues with scaleUp Never
    upcoming: int = 0  # scheduled, due within one cold start
    work_seconds: float = 0.0  # of what waits, about
    oldest_wait_seconds: float = 0.0
    calls: int = 0  # jobs that want a slot: those that wait, were lost, or are due within one cold start
    slots: int
    moves_in: float = math.inf  # seconds after which time alone may change them


@dataclass(slots=True, kw_only=True)
class Learned:
    """What demand needs to know of the pool's past, and of its wishes."""

    run_times: RunTimes
    cold_seconds: float
    wait_value: float
    slots: int  # of a new replica


class _Line(NamedTuple):
    """Jobs of one priority that wait."""

    jobs: int
    work_seconds: float
    oldest_seconds: float
    target_seconds: float


class _Need(NamedTuple):
    """Slots that are needed, and in how many seconds that may change although nothing happens."""

    slots: int
    moves_in: float


def demand_of(spec: PoolSpec, reading: Reading, fleet: Fleet, learned: Learned, now: float) -> Demand:
    """Count the work, and the slots that it needs.

    - A job in a queue with `scaleUp: Never` that waits needs nothing. One that runs occupies its slot while others
      wait, so it counts; when nothing else waits it keeps no replica: its replica is drained, finishes it, and goes.
    - A job whose lease has ended counts: it will have to run again.
    - A job on a replica that is told to end does not: it ends there, or comes back to the queue and counts then.
    - What foreign workers run, or have just popped, needs no slot of ours.
    - A scheduled job counts when it is due within one cold start: it is as good as here.

    Nothing is learned yet. Three jobs wait, two run in replicas that stay, one in a replica that is told to end: five
    slots. When jobs are known to take 10 s, a cold start takes 60 s and 100 wait: each new slot will do two of them
    while they are patient (75 s, v = 2): 50 slots.
    """
    waiting = fillers = upcoming = leased_called = leased_filling = 0
    lines: list[_Line] = []
    soon = now + learned.cold_seconds
    for queue in spec.queues:
        one = reading.queues.get(queue.name, NOTHING)
        leased = one.running + one.expired
        jobs = one.waiting + one.due
        if not queue.triggers:
            leased_filling += leased
            fillers += jobs
            continue
        leased_called += leased
        waiting += jobs
        coming = sum([at <= soon for at in one.upcoming]) if one.upcoming else 0
        upcoming += coming
        if jobs + coming:
            lines.append(_line(spec, queue, one, jobs + coming, now - reading.at, learned.run_times))
    # claims are counted too: after a change of spec.queues, jobs of a queue that left it still run
    running = max(leased_called + leased_filling - fleet.ending_claims, fleet.claims)
    if not waiting:
        running = max(0, running - leased_filling)
    lost = min(running, leased_called, max(0, running - fleet.claims - fleet.new_slots))
    need = _Need(running, math.inf)
    if lines or lost:
        unseen = max(0, running - lost - fleet.claims)  # run where nobody has looked yet
        free = fleet.free_slots + max(0, fleet.new_slots - unseen)
        need = _need(lines, lost, running - lost, free, fleet, learned, now)
    return Demand(
        waiting=waiting,
        running=running,
        fillers=fillers,
        upcoming=upcoming,
        work_seconds=sum([line.work_seconds for line in lines]),
        oldest_wait_seconds=max([line.oldest_seconds for line in lines], default=0.0),
        calls=waiting + lost + upcoming,
        slots=need.slots,
        moves_in=need.moves_in,
    )


def patience_seconds(learned: Learned, target_seconds: float = math.inf) -> float:
    """How long a job may wait rather than a replica be started for it: S·(1 + 1/(2v)), and no longer than its target.

    A cold start of 60 s, v = 2: 75 s. Less than a cold start would ask for the impossible.
    """
    worth_it = learned.cold_seconds * (1.0 + 0.5 / max(learned.wait_value, CHEAPEST_WAIT))
    return max(learned.cold_seconds, min(worth_it, target_seconds))


def _line(spec: PoolSpec, queue: QueueSpec, one: QueueReading, jobs: int, age_seconds: float, times: RunTimes) -> _Line:
    pool_target, target, oldest = spec.target_wait_seconds, queue.target_wait_seconds, one.oldest_wait_seconds
    return _Line(
        jobs=jobs,
        work_seconds=jobs * _mean_work_seconds(one, times),
        oldest_seconds=0.0 if oldest is None else max(0.0, oldest + age_seconds),
        target_seconds=min(math.inf if pool_target is None else pool_target, math.inf if target is None else target),
    )


def _mean_work_seconds(one: QueueReading, times: RunTimes) -> float:
    """By the hints of the jobs that wait, if there are any and hints have been learned to mean something."""
    if one.hinted and times.hinted_jobs:
        return max(1.0, one.hinted_seconds / one.hinted * times.mean_stretch)
    return max(1.0, times.mean_seconds)


def _need(lines: list[_Line], lost: int, busy: int, free: int, fleet: Fleet, learned: Learned, now: float) -> _Need:
    """The most that any priority needs: whoever is to start within its time needs all before it started, too."""
    if not lines:
        lines = [_Line(0, 0.0, 0.0, math.inf)]
    elif len(lines) > 1 and len({line.target_seconds for line in lines}) == 1:
        lines = [
            _Line(
                jobs=sum(line.jobs for line in lines),
                work_seconds=sum(line.work_seconds for line in lines),
                oldest_seconds=max(line.oldest_seconds for line in lines),
                target_seconds=lines[0].target_seconds,
            )
        ]
    most, moves_in = 0, math.inf
    jobs, work = lost, lost * max(1.0, learned.run_times.mean_seconds)
    for line in lines:
        jobs += line.jobs
        work += line.work_seconds
        left = patience_seconds(learned, line.target_seconds) - line.oldest_seconds
        need = _need_of(jobs, max(1.0, work / jobs), left, busy, free, fleet, learned, now)
        most, moves_in = max(most, need.slots), min(moves_in, need.moves_in)
    return _Need(most, moves_in)


def _need_of(
    jobs: int, job_seconds: float, left: float, busy: int, free: int, fleet: Fleet, learned: Learned, now: float
) -> _Need:
    """Slots so that so many jobs are started within the time that is left to the oldest, or as soon as they can be."""
    if jobs <= free:
        return _Need(busy + jobs, math.inf)  # they are taken this moment
    cold, slots = learned.cold_seconds, learned.slots
    horizon = max(cold, left)
    surely = free * (1 + int(horizon / job_seconds)) + sum(
        [slots * _jobs_begun(horizon, cold, now - created, job_seconds) for created in fleet.starting]
    )
    # of the slots that are busy now: who ends in time; and what they do then, where jobs are short
    times = learned.run_times
    hoped = counted_on(times, fleet.runs, now, left, CAUTION)
    if horizon > job_seconds:
        ending = hoped if left >= cold else counted_on(times, fleet.runs, now, horizon, CAUTION)
        hoped += (horizon - job_seconds) / job_seconds * ending
    missing = jobs - surely - hoped
    capacity = fleet.ready_slots + slots * len(fleet.starting)
    if missing > SLACK:
        needed = capacity + math.ceil((missing - SLACK) / (1 + int((horizon - cold) / job_seconds)))
    else:
        needed = capacity - slots * _given_back(-missing, horizon, job_seconds, fleet, learned, now)
    # time takes away only what was hoped for, or a long horizon promised
    moves_in = math.inf
    if jobs > free + slots * len(fleet.starting) and (hoped > 0.0 or horizon > cold):
        moves_in = max(cold / 30.0, left / 8.0) if left > 0.0 else cold / 4.0
    return _Need(needed, moves_in)


def _jobs_begun(horizon: float, cold: float, age: float, job_seconds: float) -> int:
    """Jobs that a slot of a starting replica will have begun by then."""
    return 1 + int(max(0.0, horizon - max(0.0, cold - max(0.0, age))) / job_seconds)


def _given_back(spare: float, horizon: float, job_seconds: float, fleet: Fleet, learned: Learned, now: float) -> int:
    """Starting replicas, youngest first, that the queue does not need after all."""
    back = 0
    for created in sorted(fleet.starting, reverse=True):
        spare -= learned.slots * _jobs_begun(horizon, learned.cold_seconds, now - created, job_seconds)
        if spare < SPARE:
            break
        back += 1
    return back


def replicas_for(slots_needed: int, fleet: Fleet, slots: int) -> int:
    """Replicas with so many slots; those that are there may have another number each than a new one.

    2 replicas of 4 slots are there, new ones have 1: for 8 slots 2, for 9 slots 3.
    """
    there, capacity = fleet.usable - fleet.silent, fleet.ready_slots + slots * len(fleet.starting)
    if slots_needed > capacity:
        return there - (capacity - slots_needed) // slots
    return -(-slots_needed * there // capacity) if capacity else 0
