"""What a wish has to pass before the limits: an overflow pool's condition, then sustained thresholds."""

from __future__ import annotations

from dataclasses import dataclass, replace

from pool_operator.engine.demand import Demand
from pool_operator.engine.fleet import Fleet
from pool_operator.engine.overflow import help_out
from pool_operator.engine.state import Memory
from pool_operator.engine.thresholds import gate, thresholds_wake_at
from pool_operator.engine.types import Observed, PoolSpec
from pool_operator.names import Direction, Limit


@dataclass(slots=True, kw_only=True)
class Gated:
    """`held_by`: the gate that the wish did not pass; `blind`: it is an overflow pool that knows nothing of the other."""

    replicas: int
    held_by: Limit | None = None
    direction: Direction | None = None  # of the thresholds that hold it
    blind: bool = False
    wake_at: float | None = None


def pass_gates(
    spec: PoolSpec, observed: Observed, fleet: Fleet, demand: Demand, wish: int, memory: Memory, slots: int, now: float
) -> tuple[Gated, Memory]:
    """Most pools have neither, and nothing changes."""
    if spec.overflow_after_seconds is None and not spec.thresholds:
        return Gated(replicas=wish), memory
    aid = help_out(spec, observed, fleet, demand, wish, memory.overflow_since, slots=slots, now=now)
    memory = memory if aid.since == memory.overflow_since else replace(memory, overflow_since=aid.since)
    if aid.held:
        return Gated(replicas=aid.replicas, held_by=Limit.OVERFLOW, blind=aid.blind, wake_at=aid.wake_at), memory
    passed = gate(spec, fleet, aid.replicas, memory.met_since, wanted=observed.wanted, slots=slots, now=now)
    times = [at for at in (aid.wake_at, thresholds_wake_at(spec, memory.met_since, now)) if at is not None]
    held_by = Limit.THRESHOLD if passed.held is not None else None
    return Gated(
        replicas=passed.replicas, held_by=held_by, direction=passed.held, wake_at=min(times, default=None)
    ), memory
