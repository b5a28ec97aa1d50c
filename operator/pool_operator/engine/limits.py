"""What lifts or caps the wish, in order: minimum, maximum, concurrency, rate, capacity, budget, never below what runs."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, NamedTuple

from pool_operator.engine.allowance import NONE as NO_BUDGET
from pool_operator.engine.allowance import Allowance
from pool_operator.engine.fleet import Fleet
from pool_operator.engine.schedule import Bounds
from pool_operator.engine.types import PoolSpec
from pool_operator.names import Limit

_MINUTE: Final = 60.0


@dataclass(slots=True, kw_only=True)
class Limited:
    """`goal`: replicas that should be there when what runs has ended. `replicas`: the goal, never below what runs."""

    goal: int
    replicas: int
    limited_by: Limit | None = None
    goal_by: Limit | None = None  # the same, without what runs
    uncapped: int = 0  # the goal if the cluster gave everything
    without: tuple[tuple[Limit, int], ...] = ()  # for each that binds: replicas if it did not


class _Step(NamedTuple):
    limit: Limit
    least: int | None
    most: int | None


@dataclass(slots=True, kw_only=True)
class Limits:
    """What may bind, as it is now.

    `room` (engine/capacity.py) is what can be had, and a few to see whether there is more. Before that is known, what is
    asked for and does not come yet is told, and asked for still: it is what a cluster autoscaler acts on.
    """

    bounds: Bounds
    slots: int = 1
    run_seconds: float = math.inf
    room: int | None = None
    capacity_short: str = ""
    allowance: Allowance = NO_BUDGET


def limit(
    spec: PoolSpec, fleet: Fleet, wish: int, limits: Limits, *, ungated: int | None = None, held_by: Limit | None = None
) -> Limited:
    """Apply the limits to a wish; the last one that binds is told, and for each what there would be without it.

    Wish 12 of at most 10, while 11 run because the maximum was lowered: goal 10, replicas 11, limited by Running. Wish 12
    of at most 10, money for 4: 4, limited by Budget; without the budget 10, without the maximum 4.

    `held_by`: the gate (engine/gates.py) that made the wish out of another, `ungated`.
    """
    steps = _steps(spec, fleet, limits)
    replicas, bound = _through(steps, wish)
    goal, goal_bound, uncapped = replicas, bound, replicas
    without: list[tuple[Limit, int]] = []
    if bound:  # in most decisions nothing does
        goal, goal_bound = _through(steps[:-1], wish)
        uncapped, _ = _through([one for one in steps[:-1] if one.limit is not Limit.CAPACITY], wish)
        without = [(name, _through(_without(steps, name, limits.bounds), wish)[0]) for name in bound]
    if held_by is not None and ungated is not None:
        without = [(held_by, _through(steps, ungated)[0]), *without]
    goal_by = goal_bound[-1] if goal_bound else held_by
    if goal > fleet.had and (fleet.had < len(fleet.active) or limits.capacity_short):
        goal_by = Limit.CAPACITY
    return Limited(
        goal=goal,
        replicas=replicas,
        limited_by=Limit.RUNNING if replicas > goal else goal_by,
        goal_by=goal_by,
        uncapped=uncapped,
        without=tuple(without),
    )


def _steps(spec: PoolSpec, fleet: Fleet, limits: Limits) -> list[_Step]:
    bounds, slots = limits.bounds, limits.slots
    steps = [
        _Step(Limit.SCHEDULE if bounds.minimum_of else Limit.MINIMUM, bounds.minimum, None),
        _Step(Limit.SCHEDULE if bounds.maximum_of else Limit.MAXIMUM, None, bounds.maximum),
    ]
    if spec.max_concurrent is not None:
        steps.append(_Step(Limit.CONCURRENCY, None, _concurrency(spec.max_concurrent, bounds, slots)))
    if spec.rate_per_minute is not None and limits.run_seconds < math.inf:
        steps.append(_Step(Limit.RATE, None, _rate(spec.rate_per_minute, bounds, slots, limits.run_seconds)))
    if limits.room is not None:
        steps.append(_Step(Limit.CAPACITY, None, limits.room))
    if limits.allowance.replicas is not None:
        steps.append(_Step(Limit.BUDGET, None, limits.allowance.replicas))
    steps.append(_Step(Limit.RUNNING, fleet.busy, None))
    return steps


def _without(steps: list[_Step], name: Limit, bounds: Bounds) -> list[_Step]:
    """The others. Without schedules the pool's own bounds hold."""
    left = [one for one in steps if one.limit is not name]
    if name is not Limit.SCHEDULE:
        return left
    return [
        _Step(Limit.MINIMUM, bounds.own_minimum, None),
        _Step(Limit.MAXIMUM, None, bounds.own_maximum),
        *(one for one in left if one.limit not in {Limit.MINIMUM, Limit.MAXIMUM}),
    ]


def _through(steps: Iterable[_Step], wish: int) -> tuple[int, tuple[Limit, ...]]:
    """What is left of a wish, and the limits that changed it, in order."""
    number = wish
    bound: list[Limit] = []
    for name, least, most in steps:
        if least is not None and number < least:
            number = least
        elif most is not None and number > most:
            number = most
        else:
            continue
        if name not in bound:
            bound.append(name)
    return number, tuple(bound)


def _concurrency(max_concurrent: int, bounds: Bounds, slots: int) -> int:
    """Replicas that jobs.maxConcurrent can fill. It caps the work, not a minimum that somebody asked for."""
    return max(bounds.minimum, -(-max_concurrent // slots))


def _rate(rate_per_minute: float, bounds: Bounds, slots: int, run_seconds: float) -> int:
    """Replicas that jobs.ratePerMinute can keep busy, by Little's law: at least one.

    50 jobs a minute of 120 s each are 100 at once: 25 replicas of 4 slots.
    """
    return max(bounds.minimum, 1, math.ceil(rate_per_minute / _MINUTE * run_seconds / slots - 1e-9))
