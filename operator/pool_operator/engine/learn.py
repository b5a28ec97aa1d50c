"""What a decision takes in before it decides: one function for each part of the memory; and what it hands on.

Memory is made field by field here, because replace() takes several times as long.
"""

from __future__ import annotations

from itertools import takewhile

from pool_operator.engine.capacity import learn_capacity
from pool_operator.engine.cold_start import learn_cold_starts
from pool_operator.engine.fleet import Fleet
from pool_operator.engine.retention import Wish
from pool_operator.engine.run_times import learn_run_times
from pool_operator.engine.slots import learn_slots
from pool_operator.engine.spend import accrue
from pool_operator.engine.state import Memory
from pool_operator.engine.thresholds import learn_thresholds
from pool_operator.engine.traffic import learn_traffic
from pool_operator.engine.types import Ended, Observed, PoolSpec
from pool_operator.engine.window import Proposals


def learn(spec: PoolSpec, observed: Observed, fleet: Fleet, memory: Memory, now: float) -> Memory:
    """Also while nothing can be read: replicas cost money, start, and run out of memory all the same."""
    ended = ended_since(observed.ended, memory.cursor)
    cold_starts = learn_cold_starts(memory.cold_starts, fleet)
    return Memory(
        at=now,
        cursor=ended[-1].id if ended else memory.cursor,
        proposals=memory.proposals,
        unknown_since=memory.unknown_since,
        run_times=learn_run_times(memory.run_times, ended) if ended else memory.run_times,
        cold_starts=cold_starts,
        traffic=learn_traffic(
            spec, observed.reading, fleet, memory.traffic, ended, cold_seconds=cold_starts.mean_seconds, now=now
        ),
        levels=memory.levels,
        stillness=memory.stillness,
        capacity=learn_capacity(observed, fleet, memory.capacity, cold_starts, now),
        spend=accrue(spec, observed, memory.spend, now),
        met_since=learn_thresholds(spec, observed.reading, fleet, memory.met_since, now),
        overflow_since=memory.overflow_since,
        learned=learn_slots(spec, observed, memory.learned, ended, now=now),
    )


def handed_on(memory: Memory, wish: Wish, proposals: Proposals) -> Memory:
    """What was learned before a decision, with what it has found out itself."""
    return Memory(
        at=memory.at,
        cursor=memory.cursor,
        proposals=proposals,
        unknown_since=None,
        run_times=memory.run_times,
        cold_starts=memory.cold_starts,
        traffic=memory.traffic,
        levels=wish.levels,
        stillness=wish.stillness,
        capacity=memory.capacity,
        spend=memory.spend,
        met_since=memory.met_since,
        overflow_since=memory.overflow_since,
        learned=memory.learned,
    )


def ended_since(ended: tuple[Ended, ...], cursor: tuple[int, int]) -> tuple[Ended, ...]:
    """The new ones of runs that ended lately, oldest first."""
    if not ended or ended[-1].id <= cursor:
        return ()
    return tuple(takewhile(lambda run: run.id > cursor, reversed(ended)))[::-1]
