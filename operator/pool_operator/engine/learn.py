"""What a decision takes in before it decides: one function for each part of the memory."""

from __future__ import annotations

from dataclasses import replace

from pool_operator.engine.capacity import learn_capacity
from pool_operator.engine.fleet import Fleet
from pool_operator.engine.slots import learn_slots
from pool_operator.engine.spend import accrue
from pool_operator.engine.state import Memory
from pool_operator.engine.types import Observed, PoolSpec


def learn(spec: PoolSpec, observed: Observed, fleet: Fleet, memory: Memory, now: float) -> Memory:
    """Also while nothing can be read: replicas cost money, start, and run out of memory all the same."""
    return replace(
        memory,
        at=now,
        capacity=learn_capacity(observed, fleet, memory.capacity, memory.cold_starts, now),
        spend=accrue(spec, observed, memory.spend, now),
        learned=learn_slots(spec, observed, fleet, memory.learned, cursor=memory.cursor, now=now),
        cursor=max((one.id for one in observed.ended), default=memory.cursor),
    )
