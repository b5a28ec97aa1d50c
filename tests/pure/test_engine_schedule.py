"""Schedules: which bounds hold when, where clocks change too, and what the decision says of them."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.pure.engine_builders import FRESH, reading, replica, seen, spec, unknown

from pool_operator.engine.decide import decide
from pool_operator.engine.schedule import bounds_at
from pool_operator.engine.types import Schedule
from pool_operator.names import Limit, OnUnknown, Reason

BERLIN = "Europe/Berlin"
HOUR = 3600.0


def at(text, zone=BERLIN, fold=0):
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone), fold=fold).timestamp()


def nights(start="0 1 * * *", hours=6.0, *, name="nights", low=2, high=20, zone=BERLIN):
    return Schedule(
        name=name, start=start, duration_seconds=hours * HOUR, time_zone=zone, min_replicas=low, max_replicas=high
    )


def bounds(text, *schedules, fold=0, **changes):
    found = bounds_at(spec(schedules=schedules, **changes), at(text, fold=fold))
    return found.minimum, found.maximum


def until(text, *schedules, fold=0):
    found = bounds_at(spec(schedules=schedules), at(text, fold=fold)).until
    return None if found is None else datetime.fromtimestamp(found, ZoneInfo(BERLIN)).strftime("%d %H:%M")


@pytest.mark.parametrize(
    ("now", "expected", "change"),
    [
        ("2026-11-10T00:59:59", (0, 10), "10 01:00"),
        ("2026-11-10T01:00:00", (2, 20), "10 07:00"),
        ("2026-11-10T06:59:59", (2, 20), "10 07:00"),
        ("2026-11-10T07:00:00", (0, 10), "11 01:00"),
    ],
)
def test_a_window_opens_and_closes(now, expected, change):
    assert bounds(now, nights()) == expected
    assert until(now, nights()) == change


@pytest.mark.parametrize(
    ("now", "is_open"),
    [
        ("2026-03-29T01:59:59", False),
        ("2026-03-29T03:00:00", True),  # 02:30 does not exist: it comes when the clock has skipped it
        ("2026-03-29T03:59:59", True),
        ("2026-03-29T04:00:00", False),
    ],
)
def test_a_start_that_the_clock_skips_in_spring_comes_right_after(now, is_open):
    assert (bounds(now, nights("30 2 * * *", 1)) == (2, 20)) is is_open


@pytest.mark.parametrize(
    ("now", "fold", "is_open"),
    [
        ("2026-10-25T02:29:00", 0, False),
        ("2026-10-25T02:30:00", 0, True),
        ("2026-10-25T02:10:00", 1, True),  # the second 02:10, forty minutes after the first 02:30
        ("2026-10-25T02:29:59", 1, True),
        ("2026-10-25T02:30:00", 1, False),  # an hour has passed, and the second 02:30 is no second start
    ],
)
def test_the_hour_that_comes_twice_in_autumn_starts_once(now, fold, is_open):
    assert (bounds(now, nights("30 2 * * *", 1), fold=fold) == (2, 20)) is is_open


def test_a_window_over_the_change_lasts_its_seconds():
    assert until("2026-03-29T01:30", nights()) == "29 08:00", "01:00 to 08:00 by the clock, six hours in truth"
    assert until("2026-10-25T01:30", nights()) == "25 06:00"


def test_of_several_the_highest_minimum_and_the_highest_maximum_win():
    both = (nights(low=2, high=12), nights("0 2 * * *", name="more", low=5, high=8))
    found = bounds_at(spec(schedules=both), at("2026-11-10T03:00"))
    assert (found.minimum, found.maximum, found.minimum_of, found.maximum_of) == (5, 12, "more", "nights")


@pytest.mark.parametrize(
    ("low", "high", "own", "expected"),
    [
        (None, 20, (3, 10), (3, 20)),
        (4, None, (0, 10), (4, 10)),
        (12, None, (0, 10), (12, 12)),  # asked for more than the pool's own maximum: that is the maximum then
        (None, 0, (2, 10), (0, 0)),  # switched off at night, whatever the pool's own minimum is
        (0, None, (2, 10), (0, 10)),
    ],
)
def test_a_bound_that_a_schedule_names_beats_the_pools_own(low, high, own, expected):
    found = bounds("2026-11-10T03:00", nights(low=low, high=high), min_replicas=own[0], max_replicas=own[1])
    assert found == expected


def test_days_of_the_week_and_a_window_longer_than_its_period():
    assert bounds("2026-11-13T12:00", nights("0 8 * * MON-FRI", 10)) == (2, 20)  # a Friday
    assert bounds("2026-11-14T12:00", nights("0 8 * * MON-FRI", 10)) == (0, 10)
    assert bounds("2026-11-14T12:00", nights("*/5 * * * *", 1)) == (2, 20)


@given(
    st.sampled_from(["30 2 * * *", "0 1 * * *", "*/7 * * * *", "15 */2 * * *", "0 0 1 * *", "45 1 * * SUN"]),
    st.sampled_from([BERLIN, "America/New_York", "Australia/Lord_Howe", "UTC"]),
    st.floats(60.0, 90_000.0),
    st.sampled_from(["2026-03-29", "2026-10-25", "2026-03-08", "2026-11-01", "2026-04-05", "2026-10-04"]),
    st.floats(-6 * HOUR, 30 * HOUR),
)
def test_until_it_says_nothing_changes(start, zone, seconds, day, offset):
    pool = spec(schedules=[nights(start, seconds / HOUR, zone=zone)])
    now = at(f"{day}T00:00", "UTC") + offset
    found = bounds_at(pool, now)
    assert found.until is not None
    assert found.until > now
    for part in (0.0, 0.3, 0.9, 0.999):
        when = min(now + (found.until - now) * part, math.nextafter(found.until, 0.0))
        later = bounds_at(pool, when)
        assert (later.minimum, later.maximum) == (found.minimum, found.maximum)


@settings(max_examples=25)
@given(st.sampled_from(["2026-03-29", "2026-10-25"]), st.integers(0, 59), st.integers(0, 22))
def test_once_a_day_is_once_a_day(day, minute, hour):
    """Over three days with a change of clocks a window of an hour is open for an hour a day."""
    pool = spec(schedules=[nights(f"{minute} {hour} * * *", 1)])
    first = datetime.fromisoformat(day) - timedelta(days=1)
    begin, end = (int((first + timedelta(days=n)).replace(tzinfo=ZoneInfo(BERLIN)).timestamp()) for n in (0, 3))
    assert sum(bounds_at(pool, now).minimum == 2 for now in range(begin, end, 600)) == 3 * 6


# --- what the decision makes of it ---------------------------------------------------------------------------------------


def decided(waiting, now, *fleet, **changes):
    when = at(now)
    return decide(spec(schedules=(nights(),), **changes), seen(reading(waiting, at=when), *fleet), FRESH, when)[0]


def test_the_minimum_of_a_schedule_is_kept_and_named():
    found = decided(0, "2026-11-10T03:00")
    assert (found.replicas, found.limited_by, found.reason) == (2, Limit.SCHEDULE, Reason.AT_MINIMUM)
    assert "the schedule 'nights' keeps 2" in found.message
    assert dict(found.without) == {Limit.SCHEDULE: 0}


def test_the_maximum_of_a_schedule_exceeds_the_pools_own():
    assert decided(50, "2026-11-10T03:00").replicas == 20
    found = decided(50, "2026-11-10T03:00", *[replica() for _ in range(20)])
    assert (found.limited_by, found.reason) == (Limit.SCHEDULE, Reason.AT_MAXIMUM)
    assert "the schedule 'nights' allows 20" in found.message


def test_a_schedule_that_allows_less_than_the_pools_minimum_allows_and_does_not_keep():
    closed = replace(nights(), min_replicas=None, max_replicas=0)
    pool, when = spec(min_replicas=2, schedules=(closed,)), at("2026-11-10T03:00")
    found = decide(pool, seen(reading(5, at=when)), FRESH, when)[0]
    assert found.replicas == 0
    assert "the schedule 'nights' allows 0" in found.message


@pytest.mark.parametrize(("waiting", "low", "without"), [(50, 0, 10), (0, 1, 1)])
def test_without_the_schedule_the_pools_own_bounds_hold(waiting, low, without):
    found = decided(waiting, "2026-11-10T03:00", min_replicas=low)
    assert dict(found.without) == {Limit.SCHEDULE: without}


def test_it_wakes_when_the_window_opens():
    assert decided(0, "2026-11-10T00:30").wake_at == at("2026-11-10T01:00")


def test_while_nothing_can_be_read_the_minimum_is_the_schedules():
    pool = spec(schedules=(nights(),), on_unknown=OnUnknown.MINIMUM)
    found = decide(pool, seen(unknown()), FRESH, at("2026-11-10T03:00"))[0]
    assert (found.replicas, found.wake_at) == (2, at("2026-11-10T07:00"))
