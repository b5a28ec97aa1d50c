"""While nothing happens, time alone moves in one direction: towards more for work that waits, towards fewer spares.

Without this, ages that pass from one bin of what was learned into the next would make replicas go up and down for
nothing: a bet on jobs that will surely end soon is withdrawn when they do not, and never made again before one has.
"""

from __future__ import annotations

from pool_operator.engine.demand import Demand
from pool_operator.engine.fleet import Fleet
from pool_operator.engine.headroom import Headroom
from pool_operator.engine.state import Memory, Stillness
from pool_operator.engine.types import PoolSpec


def scene_of(spec: PoolSpec, fleet: Fleet, demand: Demand, memory: Memory, slots: int) -> tuple[float, ...]:
    """Everything that can happen changes one of these."""
    return (
        *memory.cursor,
        demand.calls,
        demand.running,
        len(fleet.active),
        len(fleet.starting),
        fleet.ready_slots,
        fleet.free_slots,
        fleet.new_slots,
        memory.cold_starts.samples,
        slots,
        spec.wait_value,
        *(target or 0.0 for target in (spec.target_wait_seconds, *(one.target_wait_seconds for one in spec.queues))),
    )


def settled_demand(before: Stillness, scene: tuple[float, ...], demand: Demand) -> int:
    """Slots: at least as many as before, if nothing has happened and something waits."""
    return max(before.demand_slots, demand.slots) if demand.calls and scene == before.scene else demand.slots


def settled_headroom(before: Stillness, scene: tuple[float, ...], headroom: Headroom) -> Headroom:
    """At most as before, if nothing has happened."""
    if scene != before.scene:
        return headroom
    return Headroom(start=min(before.start, headroom.start), hold=min(before.hold, headroom.hold))


def settled_replicas(before: Stillness, scene: tuple[float, ...], demand: Demand, replicas: int) -> int:
    """If nothing has happened: at least as many as before while something waits, at most as many when nothing does.

    A job waits, 2 replicas were wanted, then 1: 2. Nothing waits, 1 was wanted as a spare, then 2: 1.
    """
    if scene != before.scene:
        return replicas
    return max(before.replicas, replicas) if demand.calls else min(before.replicas, replicas)
