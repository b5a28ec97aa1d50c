"""How fast work comes: arrivals, told apart from what went, and their rates.

Exact for any spacing of calls: the engine is called when something happens, and between two calls nothing does. So what
a steady clock would have seen in a gap is known, and is made up for when the gap ends (engine/growth.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from pool_operator.engine.fleet import Fleet
from pool_operator.engine.growth import FAST_SECONDS, SLOW_SECONDS, made_up, raised, rates
from pool_operator.engine.run_times import ENDED_BY_ITSELF
from pool_operator.engine.state import Traffic
from pool_operator.engine.types import Ended, PoolSpec, QueueReading, Reading, Unknown

UNTOLD_SECONDS: Final = 30.0
"""So late may it be told that a job has ended, which is gone from the queues."""

NOTHING: Final = QueueReading(waiting=0)


def jobs_in_system(spec: PoolSpec, reading: Reading) -> int:
    """Of queues that call for replicas: what waits, and what runs."""
    found = 0
    for queue in spec.queues:
        if queue.triggers:
            one = reading.queues.get(queue.name, NOTHING)
            found += one.waiting + one.due + one.running + one.expired
    return found


def learn_traffic(
    spec: PoolSpec,
    what: Reading | Unknown,
    fleet: Fleet,
    traffic: Traffic,
    ended: Sequence[Ended],
    *,
    cold_seconds: float,
    now: float,
) -> Traffic:
    """Bring it up to date: make up for the gap since the call before, then take in what has happened.

    Arrivals are what the work has grown by, and what has ended: 5 jobs, then 6, and 2 have ended: 3 have come.
    While nothing can be read, nothing is learned; afterwards it starts from what is found then.
    """
    if isinstance(what, Unknown):
        return traffic if traffic.in_system is None else replace(traffic, in_system=None, owed=0, pending=())
    jobs = jobs_in_system(spec, what)
    if traffic.at is None or traffic.in_system is None or now < traffic.at:
        fast, slow = rates(traffic, now)
        return replace(
            traffic,
            at=now,
            fast_per_second=fast,
            slow_per_second=slow,
            in_system=jobs,
            owed=0,
            last_arrival_at=traffic.last_arrival_at and min(traffic.last_arrival_at, now),
            sampled_at=now,
            pending=(),
        )
    gone = _ended_here(spec, ended) if ended else 0
    if now == traffic.at and jobs == traffic.in_system and not gone:
        return traffic
    growth, pending, sampled_at = made_up(traffic, cold_seconds, now)
    owed = traffic.owed if now - traffic.at < UNTOLD_SECONDS else 0
    balance = jobs - traffic.in_system + gone + owed
    arrived = max(0, balance)
    fast, slow = rates(traffic, now)
    return Traffic(
        at=now,
        fast_per_second=fast + arrived / FAST_SECONDS,
        slow_per_second=slow + arrived / SLOW_SECONDS,
        in_system=jobs,
        owed=max(min(0, balance), -fleet.ready_slots),
        last_arrival_at=now if arrived else traffic.last_arrival_at,
        sampled_at=sampled_at,
        pending=raised(pending, jobs),
        growth=growth,
    )


def _ended_here(spec: PoolSpec, ended: Sequence[Ended]) -> int:
    filling = {queue.name for queue in spec.queues if not queue.triggers}
    return sum(run.outcome in ENDED_BY_ITSELF and run.queue not in filling for run in ended)
