"""Days and months of a time zone, as spans of unix time."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from functools import lru_cache
from typing import Final, NamedTuple

from pool_operator.engine.schedule import zone_of

_QUARTER: Final = 900
"""Seconds. Every day begins with a whole one: no time zone is off by less."""


class Span(NamedTuple):
    """A day or a month: `2026-11-25` or `2026-11`, from its first instant to that of the next one."""

    name: str
    start: float
    end: float


class Today(NamedTuple):
    day: Span
    month: Span
    days_left: int  # of the month, with this one


def today(now: float, time_zone: str) -> Today:
    """The day and the month of `now`; where clocks change, a day has 23 or 25 hours."""
    return _today(int(now // _QUARTER), time_zone)


@lru_cache(maxsize=1024)
def _today(quarter: int, time_zone: str) -> Today:
    zone = zone_of(time_zone)

    def midnight(day: date) -> float:
        return datetime(day.year, day.month, day.day, tzinfo=zone).timestamp()

    here = datetime.fromtimestamp(quarter * _QUARTER, zone).date()
    first = here.replace(day=1)
    following = (first + timedelta(days=32)).replace(day=1)
    return Today(
        day=Span(here.isoformat(), midnight(here), midnight(here + timedelta(days=1))),
        month=Span(first.isoformat()[:7], midnight(first), midnight(following)),
        days_left=(following - here).days,
    )
