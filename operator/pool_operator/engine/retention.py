"""Which replicas beyond the work's need are wanted: spares, the dead band, the shortest stay, the ski-rental guard.

Level k is the k-th replica. Replicas are alike, so it is levels that are needed and idle, and not single replicas.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from pool_operator.engine.demand import Demand, replicas_for
from pool_operator.engine.fleet import Fleet
from pool_operator.engine.headroom import Headroom, break_even_seconds, headroom_of
from pool_operator.engine.state import Clocks, Levels, Memory, Stillness
from pool_operator.engine.stillness import scene_of, settled_demand, settled_headroom, settled_replicas
from pool_operator.engine.types import Observed, PoolSpec

SHORTEST_STAY: Final = 0.05
"""In cold starts. It costs next to nothing, and swallows the gap between a job's end and the next claim."""
OFF: Final = -1.0


@dataclass(slots=True, kw_only=True)
class Wish:
    """Replicas before limits: `for_work`, and all."""

    replicas: int
    for_work: int
    slots: int  # for work
    expected: int  # replicas for work that is expected within a cold start; others only stay a moment
    levels: Levels
    stillness: Stillness
    until: float | None = None  # when the next clock of a replica that only waits runs out

    @property
    def spares(self) -> int:
        return self.replicas - self.for_work


def wish_of(
    spec: PoolSpec,
    observed: Observed,
    fleet: Fleet,
    demand: Demand,
    memory: Memory,
    *,
    slots: int,
    minimum: int,
    now: float,
) -> Wish:
    """From slots that are needed, and spares worth their cost, to replicas; `slots`: of a new one; `minimum`: kept anyway.

    4 jobs run on 6 replicas of 1 slot, 1 spare is worth starting and 3 are worth keeping: all 6 stay; of 9, 7 would; with
    4 there, 5 are wanted.
    """
    cold, before = memory.cold_starts.mean_seconds, memory.stillness
    scene = scene_of(spec, fleet, demand, memory, slots)
    needed = settled_demand(before, scene, demand)
    for_work = replicas_for(needed, fleet, slots)
    have = max(fleet.usable, observed.wanted - fleet.stuck)

    limit = break_even_seconds(spec.wait_value, cold)
    base = max(minimum, for_work)
    idle = idle_clocks(memory.levels.idle, base=base, have=have, limit=limit, now=now)
    headroom = up_to_the_guard(headroom_of(spec.wait_value, memory.traffic, cold, now), idle, slots, needed)
    headroom = settled_headroom(before, scene, headroom)

    need = max(for_work, replicas_for(needed + headroom.start, fleet, slots)) if headroom.start else for_work
    top = max(need, replicas_for(needed + headroom.hold, fleet, slots)) if headroom.hold else need
    times = needed_clocks(memory.levels.needed, need=need, have=have, now=now)
    stay = SHORTEST_STAY * cold if spec.wait_value > 0.0 else 0.0
    replicas = kept(times, need=need, top=top, have=have, stay=stay, now=now)
    replicas = settled_replicas(before, scene, demand, replicas)

    ends = [at + stay for at in times.times[: replicas - need]]
    ends += [at + limit for at in idle.times[: max(0, replicas - base)] if at != OFF]
    if replicas > for_work and memory.traffic.last_arrival_at is not None:
        ends.append(memory.traffic.last_arrival_at + limit)
    return Wish(
        replicas=replicas,
        for_work=for_work,
        slots=min(needed, demand.running + demand.calls),  # a job never needs more than one
        expected=max(0, min(replicas, max(need, min(have, top))) - for_work),
        levels=Levels(needed=times, idle=idle),
        stillness=Stillness(
            scene=scene, demand_slots=needed, start=headroom.start, hold=headroom.hold, replicas=replicas
        ),
        until=min([at for at in ends if at > now], default=None),
    )


def idle_clocks(idle: Clocks, *, base: int, have: int, limit: float, now: float) -> Clocks:
    """Since when each level above `base` idles; a level that no work has needed for `limit` seconds is switched off.

    What traffic has taught may be wrong for long; this bounds what that costs: an idle level costs no more than its next
    cold start and the wait for it would have. It stays off until work, or the minimum, reaches it: that is the base.
    3 replicas, 1 needed since second 100, limit 180 s: at 280 the levels 2 and 3 are switched off.
    """
    times, on = _above(idle, base, now), max(0, have - base)
    if len(times) < on:
        times += (now,) * (on - len(times))
    elif len(times) > on:  # the clock of a level runs only while it is there; that it was switched off is kept
        last = next((count for count in range(len(times), on, -1) if times[count - 1] == OFF), on)
        times = (*times[:on], *(OFF if one == OFF else now for one in times[on:last]))
    if times and min(times) + limit <= now:
        times = tuple([OFF if one == OFF or one + limit <= now else one for one in times])
    return Clocks(floor=base, times=times)


def up_to_the_guard(headroom: Headroom, idle: Clocks, slots: int, slots_needed: int) -> Headroom:
    """No spares at or above a level that is switched off."""
    if OFF not in idle.times:
        return headroom
    most = max(0, (idle.floor + idle.times.index(OFF)) * slots - slots_needed)
    return Headroom(start=min(headroom.start, most), hold=min(headroom.hold, most))


def needed_clocks(needed: Clocks, *, need: int, have: int, now: float) -> Clocks:
    """When each level above `need` was last needed, as far as that was ever so."""
    return Clocks(floor=need, times=_above(needed, need, now)[: max(0, have - need)])


def kept(needed: Clocks, *, need: int, top: int, have: int, stay: float, now: float) -> int:
    """At least `need`; of what is there, up to `top`; and no level goes before its shortest stay.

    Needed 3, worth keeping up to 5: of 8 replicas 5 stay, of 4 all; with 2 there, 3 are wanted. The levels 6 to 8 go
    when `stay` seconds have passed since each was last needed.
    """
    if have <= need:
        return need
    replicas = min(have, top)
    for level in range(need + len(needed.times), replicas, -1):
        if needed.times[level - need - 1] + stay > now:  # the very sum that wakes us: rounding must not miss it
            return level
    return replicas


def _above(clocks: Clocks, floor: int, now: float) -> tuple[float, ...]:
    """The times of the levels above a new floor; levels that were below the old one were needed until now."""
    known = clocks.times
    if known and max(known) > now:  # the clock has jumped back
        known = tuple([min(at, now) for at in known])
    if floor >= clocks.floor:
        return known[floor - clocks.floor :]
    return (now,) * (clocks.floor - floor) + known
