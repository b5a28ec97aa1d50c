"""Spares: how many are worth it, how long they stay, and what is said of them."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.pure.engine_builders import FRESH, NOW, reading, replica, seen, spec
from tests.pure.engine_states import random_memory

from pool_operator.engine.decide import decide
from pool_operator.engine.growth import context_of, keys
from pool_operator.engine.headroom import Headroom, break_even_seconds, headroom_of
from pool_operator.engine.retention import OFF, idle_clocks, kept, needed_clocks, up_to_the_guard
from pool_operator.engine.state import Clocks, ColdStarts, Histogram, Memory, Traffic
from pool_operator.names import Reason

ONE_A_MINUTE = Traffic(at=NOW, fast_per_second=1 / 60, slow_per_second=1 / 60, in_system=0, last_arrival_at=NOW)


def test_a_second_of_waiting_that_is_worth_two_keeps_an_idle_replica_for_three_cold_starts():
    assert break_even_seconds(2.0, 60.0) == 180.0


@pytest.mark.parametrize(
    ("wait_value", "want"),
    [
        (0.0, Headroom()),
        (0.1, Headroom()),  # keep from 0.91 on
        (2.0, Headroom(start=0, hold=1)),  # Poisson(1): 0.63 0.26 0.08 0.02; keep from 1/3 on, start from 2/3 on
        (4.0, Headroom(start=1, hold=2)),  # 1/5, 2/5
        (16.0, Headroom(start=2, hold=3)),  # 1/17, 2/17
    ],
)
def test_before_anything_is_learned_work_is_thought_to_come_at_random(wait_value, want):
    assert headroom_of(wait_value, ONE_A_MINUTE, 60.0, NOW) == want


def test_what_was_seen_in_such_traffic_outweighs_that():
    bursts = Histogram(weights=(0.0,) * 5 + (200.0,), total=200.0)  # always five at once
    growth = dict.fromkeys(keys(context_of(ONE_A_MINUTE, 60.0, NOW)), bursts)
    traffic = Traffic(
        at=NOW, fast_per_second=1 / 60, slow_per_second=1 / 60, in_system=0, last_arrival_at=NOW, growth=growth
    )
    assert headroom_of(2.0, traffic, 60.0, NOW) == Headroom(start=5, hold=5)


def test_no_spares_when_nothing_has_come_for_a_break_even_time():
    assert headroom_of(16.0, ONE_A_MINUTE, 60.0, NOW + 1019.0).hold >= 0
    assert headroom_of(16.0, ONE_A_MINUTE, 60.0, NOW + 1020.0) == Headroom()


@given(st.integers(0, 10**6).map(Random), st.floats(0.01, 100))
def test_what_is_worth_starting_is_worth_keeping(draw, wait_value):
    memory = random_memory(draw)
    found = headroom_of(wait_value, memory.traffic, memory.cold_starts.mean_seconds, NOW)
    assert 0 <= found.start <= found.hold <= 63


def test_a_level_that_no_work_needs_is_switched_off_until_work_reaches_it():
    clocks = idle_clocks(Clocks(floor=3), base=1, have=3, limit=180.0, now=100.0)
    assert clocks == Clocks(floor=1, times=(100.0, 100.0))  # two and three idle since now
    clocks = idle_clocks(clocks, base=1, have=3, limit=180.0, now=279.0)
    assert up_to_the_guard(Headroom(start=1, hold=5), clocks, 1, 1) == Headroom(start=1, hold=5)
    clocks = idle_clocks(clocks, base=1, have=3, limit=180.0, now=280.0)
    assert clocks.times == (OFF, OFF)
    assert up_to_the_guard(Headroom(start=1, hold=5), clocks, 1, 1) == Headroom()
    clocks = idle_clocks(clocks, base=1, have=1, limit=180.0, now=900.0)
    assert clocks.times == (OFF, OFF)  # gone, and not forgotten
    clocks = idle_clocks(clocks, base=2, have=2, limit=180.0, now=901.0)
    assert up_to_the_guard(Headroom(hold=5), clocks, 1, 2) == Headroom()
    assert OFF not in idle_clocks(clocks, base=3, have=3, limit=180.0, now=902.0).times


def test_a_level_that_was_not_there_has_not_idled():
    clocks = idle_clocks(Clocks(floor=1, times=(100.0, 100.0)), base=1, have=1, limit=180.0, now=200.0)
    assert idle_clocks(clocks, base=1, have=3, limit=180.0, now=300.0).times == (300.0, 300.0)


def test_between_what_is_needed_and_what_is_worth_keeping_nothing_moves():
    clocks = Clocks(floor=3)
    assert [kept(clocks, need=3, top=5, have=have, stay=3.0, now=NOW) for have in (2, 3, 4, 5, 8)] == [3, 3, 4, 5, 5]


def test_a_level_stays_a_moment_after_it_was_needed():
    clocks = needed_clocks(Clocks(floor=8), need=3, have=8, now=NOW)
    assert kept(clocks, need=3, top=5, have=8, stay=3.0, now=NOW + 2.9) == 8
    assert kept(clocks, need=3, top=5, have=8, stay=3.0, now=NOW + 3.0) == 5


def lived(traffic):
    return Memory(at=NOW, traffic=traffic, cold_starts=ColdStarts(mean_seconds=60.0, samples=5, ready_until=NOW))


def test_a_spare_is_told_with_its_reason():
    found, _ = decide(spec(), seen(reading(), replica()), lived(ONE_A_MINUTE), NOW)
    assert (found.replicas, found.reason) == (1, Reason.HEADROOM)
    assert found.message == (
        "no job waits or runs; 1 replica is kept ready for work expected within a cold start of 60 s (profile value 2)"
    )
    assert found.steps[:2] == (("demand", 0), ("headroom", 1))
    assert found.wake_at == NOW + 30.0


def test_a_spare_that_is_worth_its_cold_start_is_started():
    found, _ = decide(spec(wait_value=16.0), seen(reading()), lived(ONE_A_MINUTE), NOW)
    assert (found.replicas, found.reason) == (2, Reason.HEADROOM)
    assert "2 replicas are started for work expected" in found.message


def test_one_that_only_stays_a_moment_is_told_as_that():
    busy = seen(reading(0, 1), replica("a", 1))
    _, memory = decide(spec(), busy, FRESH, NOW)
    found, memory = decide(spec(), seen(reading(at=NOW + 1), replica("a")), memory, NOW + 1)
    assert (found.replicas, found.reason, found.wake_at) == (1, Reason.STABILIZING, NOW + 4)
    assert found.message == "no job waits or runs; 1 replica stays a moment, should work come back"
    found, _ = decide(spec(), seen(reading(at=NOW + 4), replica("a")), memory, NOW + 4)
    assert (found.replicas, found.reason, found.drain) == (0, Reason.IDLE, ("a",))


def test_nothing_stays_where_waiting_is_worth_nothing():
    pool = spec(wait_value=0.0)
    _, memory = decide(pool, seen(reading(0, 1), replica("a", 1)), FRESH, NOW)
    assert decide(pool, seen(reading(), replica("a")), memory, NOW + 1)[0].replicas == 0
