"""The minimum and maximum that hold now: the pool's own, or those of the schedules whose window is open."""

from __future__ import annotations

import math
from bisect import bisect_right
from datetime import datetime
from functools import lru_cache
from typing import Final, NamedTuple
from zoneinfo import ZoneInfo

from cronsim import CronSim

from pool_operator.engine.types import PoolSpec, Schedule

_HOUR: Final = 3600
_SHIFT_SECONDS: Final = 3 * _HOUR
"""No clock is moved by more than that; so far may local times be out of order."""


class Bounds(NamedTuple):
    """`until`: when they may change, None if never; the names say whose they are, "" for the pool's own."""

    minimum: int
    maximum: int
    minimum_of: str = ""
    maximum_of: str = ""
    until: float | None = None
    own_minimum: int = 0  # the pool's, whatever a schedule says
    own_maximum: int | None = None


def bounds_at(spec: PoolSpec, now: float) -> Bounds:
    """What holds at `now`. Of several open windows the highest minimum and the highest maximum win.

    A schedule may exceed maxReplicas, and a bound that it names beats the pool's own other bound: at most 0 at night
    is 0 although minReplicas is 2, and at least 12 in the morning is 12 although maxReplicas is 10.

    A pool of 0 to 10, and `0 1 * * *` for six hours with 2 to 20: at 03:00 that is 2 to 20, until 07:00.
    """
    if not spec.schedules:
        return Bounds(minimum=spec.min_replicas, maximum=spec.max_replicas)
    low: tuple[int, str] | None = None
    high: tuple[int, str] | None = None
    until: float | None = None
    for one in spec.schedules:
        is_open, change = _window(one, now)
        until = change if until is None or (change is not None and change < until) else until
        if is_open and one.min_replicas is not None and (low is None or one.min_replicas > low[0]):
            low = (one.min_replicas, one.name)
        if is_open and one.max_replicas is not None and (high is None or one.max_replicas > high[0]):
            high = (one.max_replicas, one.name)
    minimum, minimum_of = (spec.min_replicas, "") if low is None else low
    maximum, maximum_of = (spec.max_replicas, "") if high is None else high
    if minimum > maximum and high is None:
        maximum, maximum_of = minimum, minimum_of
    elif minimum > maximum:
        minimum, minimum_of = maximum, maximum_of
    return Bounds(
        minimum=minimum,
        maximum=maximum,
        minimum_of=minimum_of,
        maximum_of=maximum_of,
        until=until,
        own_minimum=spec.min_replicas,
        own_maximum=spec.max_replicas,
    )


def _window(one: Schedule, now: float) -> tuple[bool, float | None]:
    """Is it open, and when may that change?"""
    starts = _starts(one.start, one.time_zone, int(now // _HOUR))
    following = bisect_right(starts, now)
    if following and now < starts[following - 1] + one.duration_seconds:
        # or later, if it starts again before; a look more does no harm
        return True, starts[following - 1] + one.duration_seconds
    return False, starts[following] if following < len(starts) else None


@lru_cache(maxsize=4096)
def _starts(expression: str, time_zone: str, hour: int) -> tuple[float, ...]:
    """The last start before this hour of unix time, those in it, and the first one after it.

    Local times are not in order where a clock is set back: the last start is looked for from some hours later on. A
    fixed time that the clock skips in spring comes when it has skipped; one that comes twice in autumn counts once,
    the first time.
    """
    zone, begin = zone_of(time_zone), hour * _HOUR
    later = datetime.fromtimestamp(begin + _SHIFT_SECONDS, zone)
    earlier = datetime.fromtimestamp(begin - _SHIFT_SECONDS, zone)
    before = (one.timestamp() for one in CronSim(expression, later, reverse=True))
    found = [next((at for at in before if at <= begin), -math.inf)]
    for one in CronSim(expression, earlier):
        if (at := one.timestamp()) > begin:
            found.append(at)
        if at > begin + _HOUR:
            break
    return tuple(found)


@lru_cache(maxsize=256)
def zone_of(name: str) -> ZoneInfo:
    return ZoneInfo(name)
