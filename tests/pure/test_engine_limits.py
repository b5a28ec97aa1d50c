"""Limits: their order, the one that is told, and what there would be without each."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.pure.engine_builders import FRESH, NOW, reading, replica, seen, spec

from pool_operator.engine.allowance import Allowance
from pool_operator.engine.decide import decide
from pool_operator.engine.fleet import fleet_of
from pool_operator.engine.limits import Limits, limit
from pool_operator.engine.schedule import Bounds
from pool_operator.engine.state import Memory, RunTimes
from pool_operator.names import Limit


def limited(wish, *, low=0, high=10, room=None, money=None, busy=0, slots=1, run_seconds=120.0, **changes):
    fleet = fleet_of(seen(reading(), *(replica(claims=1) for _ in range(busy))), FRESH, NOW)
    limits = Limits(
        bounds=Bounds(minimum=low, maximum=high),
        slots=slots,
        run_seconds=run_seconds,
        room=room,
        allowance=Allowance(replicas=money),
    )
    return limit(spec(min_replicas=low, max_replicas=high, **changes), fleet, wish, limits)


def test_the_worked_examples():
    running = limited(12, busy=11)
    assert (running.goal, running.replicas, running.limited_by) == (10, 11, Limit.RUNNING)
    poor = limited(12, money=4)
    assert (poor.replicas, poor.limited_by) == (4, Limit.BUDGET)
    assert dict(poor.without) == {Limit.BUDGET: 10, Limit.MAXIMUM: 4}


@pytest.mark.parametrize(
    ("changes", "replicas", "by"),
    [
        ({}, 9, None),
        ({"low": 12, "high": 20}, 12, Limit.MINIMUM),
        ({"high": 8}, 8, Limit.MAXIMUM),
        ({"high": 8, "max_concurrent": 7}, 7, Limit.CONCURRENCY),
        ({"high": 8, "max_concurrent": 7, "rate_per_minute": 3}, 6, Limit.RATE),
        ({"high": 8, "max_concurrent": 7, "rate_per_minute": 3, "room": 5}, 5, Limit.CAPACITY),
        ({"high": 8, "max_concurrent": 7, "rate_per_minute": 3, "room": 5, "money": 4}, 4, Limit.BUDGET),
        ({"high": 8, "room": 5, "money": 4, "busy": 6}, 6, Limit.RUNNING),
    ],
)
def test_the_last_that_binds_is_told(changes, replicas, by):
    found = limited(9, **changes)
    assert (found.replicas, found.limited_by) == (replicas, by)


@pytest.mark.parametrize(
    ("changes", "replicas"),
    [
        ({"max_concurrent": 10, "slots": 4}, 3),
        ({"max_concurrent": 1, "slots": 4}, 1),
        ({"rate_per_minute": 50, "run_seconds": 120.0, "slots": 4, "high": 50}, 25),
        ({"rate_per_minute": 1, "run_seconds": 1.0}, 1),  # one at least
        ({"rate_per_minute": 1, "run_seconds": 1.0, "low": 3}, 3),  # caps the work, not the minimum
        ({"max_concurrent": 1, "low": 3}, 3),
    ],
)
def test_concurrency_and_rate_in_replicas(changes, replicas):
    assert limited(40, **changes).replicas == replicas


bound = st.none() | st.integers(0, 20)


@given(st.integers(0, 30), st.integers(0, 10), st.integers(0, 10), bound, bound, st.integers(0, 12), bound)
def test_for_each_that_binds_there_is_what_would_be_without_it(wish, low, more, room, money, busy, concurrent):
    concurrent = concurrent or None
    found = limited(wish, low=low, high=low + more, room=room, money=money, busy=busy, max_concurrent=concurrent)
    assert found.replicas == max(found.goal, busy)
    names = [name for name, _ in found.without]
    assert len(set(names)) == len(names)
    assert (found.limited_by is None) == (not names)
    assert found.limited_by is None or names[-1] is found.limited_by or found.limited_by is Limit.CAPACITY
    for name, number in found.without:
        if name in {Limit.MINIMUM, Limit.RUNNING}:
            assert number <= found.replicas
        else:
            assert number >= found.replicas


def test_the_words_of_rate_and_concurrency():
    memory = Memory(run_times=RunTimes(jobs=50, mean_seconds=60.0))
    found = decide(spec(rate_per_minute=3.0), seen(reading(500)), memory, NOW)[0]
    assert (found.replicas, found.limited_by) == (3, Limit.RATE)
    assert "spec.jobs.ratePerMinute 3 keeps 3 replicas busy" in found.message
    found = decide(spec(max_concurrent=2), seen(reading(500)), memory, NOW)[0]
    assert (found.replicas, found.limited_by) == (2, Limit.CONCURRENCY)
    assert "spec.jobs.maxConcurrent 2 fills 2 replicas" in found.message
