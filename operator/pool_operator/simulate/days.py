"""What each calendar day of a run took: jobs, replica time, money."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from pool_operator.simulate.result import Day
from pool_operator.simulate.terms import Terms
from pool_operator.simulate.world import World

MOST_DAYS = 4_000


def days_of(world: World, terms: Terms, end: float) -> list[Day]:
    """From the first day to the last; a replica's time is split at midnight of the terms' time zone."""
    midnights = _midnights(terms, end)
    count = len(midnights) - 1
    if count > MOST_DAYS:
        return []
    whole, cold, work = [0.0] * count, [0.0] * count, [0.0] * count
    for pod in world.gone:
        _spread(whole, midnights, pod.created, pod.exited)
        _spread(cold, midnights, pod.created, min(pod.ready_at, pod.exited))
    for began, ended in zip(world.began, world.finished, strict=True):
        if 0 <= began <= ended:
            _spread(work, midnights, began, ended)
    started, finished = _counts(world.began, midnights), _counts(world.finished, midnights)
    return [
        Day(
            date=datetime.fromtimestamp(terms.epoch + midnights[day], ZoneInfo(terms.time_zone)).date().isoformat(),
            started=started[day],
            ended=finished[day],
            replica_seconds=whole[day],
            cold_start_seconds=cold[day],
            work_seconds=work[day],
            cost=whole[day] / 3600 * terms.price_per_replica_hour,
        )
        for day in range(count)
    ]


def _midnights(terms: Terms, end: float) -> list[float]:
    """Beginnings of the days, in seconds since the trace began; the last is after the end."""
    zone = ZoneInfo(terms.time_zone)
    day = datetime.fromtimestamp(terms.epoch, zone).replace(hour=0, minute=0, second=0, microsecond=0)
    found = [day.timestamp() - terms.epoch]
    while found[-1] <= end and len(found) <= MOST_DAYS + 1:
        day += timedelta(days=1)  # wall time: a day of 23 or 25 hours is one day
        found.append(day.timestamp() - terms.epoch)
    return found


def _spread(into: list[float], midnights: list[float], since: float, until: float) -> None:
    """Split an interval at midnight."""
    day = bisect_right(midnights, since) - 1
    while since < until:
        end = min(until, midnights[day + 1])
        into[day] += end - since
        since, day = end, day + 1


def _counts(times: Iterable[float], midnights: list[float]) -> list[int]:
    found = [0] * (len(midnights) - 1)
    for at in times:
        if at >= 0:
            found[bisect_right(midnights, at) - 1] += 1
    return found
