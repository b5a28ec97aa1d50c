"""What lifts or caps the wish, in order: minimum, maximum, capacity, never below what runs. The last that binds is told."""

from __future__ import annotations

from dataclasses import dataclass

from pool_operator.engine.fleet import Fleet
from pool_operator.engine.types import PoolSpec
from pool_operator.names import Limit


@dataclass(frozen=True, slots=True, kw_only=True)
class Limited:
    """`goal`: replicas that should be there when what runs has ended. `replicas`: the goal, never below what runs."""

    goal: int
    replicas: int
    limited_by: Limit | None = None
    uncapped: int = 0  # the goal if the cluster gave everything


def limit(spec: PoolSpec, fleet: Fleet, wish: int, *, room: int | None, capacity_short: str) -> Limited:
    """Apply the limits to a wish.

    `room` (engine/capacity.py) is what can be had, and a few to see whether there is more. Before that is known, what is
    asked for and does not come yet is told, and asked for still: it is what a cluster autoscaler acts on.

    Wish 12 of at most 10, while 11 run because the maximum was lowered: goal 10, replicas 11, limited by Running.
    """
    goal, bound = wish, None
    if goal < spec.min_replicas:
        goal, bound = spec.min_replicas, Limit.MINIMUM
    if goal > spec.max_replicas:
        goal, bound = spec.max_replicas, Limit.MAXIMUM
    uncapped = goal
    if room is not None and goal > room:
        goal, bound = room, Limit.CAPACITY
    elif goal > fleet.had and (fleet.had < len(fleet.active) or capacity_short):
        bound = Limit.CAPACITY
    if fleet.busy > goal:
        return Limited(goal=goal, replicas=fleet.busy, limited_by=Limit.RUNNING, uncapped=uncapped)
    return Limited(goal=goal, replicas=goal, limited_by=bound, uncapped=uncapped)
