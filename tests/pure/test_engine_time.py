"""What holds for any pool in the middle of its life, as time passes: calm, bounded, exact for any spacing of calls."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.pure.engine_builders import FRESH, NOW, reading, replica, seen, spec, starting
from tests.pure.engine_states import random_memory, random_observed, random_pool

from pool_operator.engine.checkpoint import memory_text, read_memory
from pool_operator.engine.decide import decide
from pool_operator.engine.demand import Learned, demand_of
from pool_operator.engine.fleet import fleet_of
from pool_operator.engine.headroom import break_even_seconds
from pool_operator.engine.retention import SHORTEST_STAY
from pool_operator.engine.state import CapacityTruth, ColdStarts, LearnedSlots, Memory, RunTimes
from pool_operator.engine.types import Budget, ReplicaPhase, Run, Threshold
from pool_operator.names import Direction, Limit, ThresholdMetric

seeds = st.integers(0, 10**9).map(Random)
STATES = 20_000


def random_state(draw):
    pool = random_pool(draw)
    return pool, random_observed(draw, pool.slots_per_replica), random_memory(draw)


@pytest.mark.timeout(900)  # 5 s on a quiet machine
def test_on_frozen_input_nothing_ever_goes_back():
    """Replicas that go up when nothing has happened but time do not come down again, and the other way round."""
    draw, moved, turned = Random(4), 0, []
    memories = [random_memory(draw) for _ in range(STATES // 20)]
    for number in range(STATES):
        pool, memory = random_pool(draw), draw.choice(memories)
        observed = random_observed(draw, pool.slots_per_replica)
        found = []
        for at in (0.0, *sorted(draw.uniform(0.0, 300.0) for _ in range(2))):
            decision, memory = decide(pool, observed, memory, NOW + at)
            found.append(decision.replicas)
        moved += len(set(found)) > 1
        if found not in (sorted(found), sorted(found, reverse=True)):
            turned.append((number, found))
    assert turned == []
    assert moved > STATES / 50  # else this would show nothing


@given(seeds)
def test_to_be_asked_again_at_the_same_instant_changes_nothing(draw):
    pool, observed, memory = random_state(draw)
    first, once = decide(pool, observed, memory, NOW)
    assert decide(pool, observed, once, NOW) == (first, once)


@given(seeds)
def test_the_memory_survives_as_json(draw):
    pool, observed, memory = random_state(draw)
    for at in (0.0, 3.0, 60.0):
        _, memory = decide(pool, observed, memory, NOW + at)
    again = read_memory(memory_text(memory))
    assert again == memory
    assert decide(pool, observed, again, NOW + 70) == decide(pool, observed, memory, NOW + 70)


@given(seeds)
def test_without_work_all_go_within_a_break_even_time_and_a_shortest_stay(draw):
    """By the engine's own alarm clock alone; what it drains goes at once."""
    pool, _, memory = random_state(draw)
    pool = replace(pool, min_replicas=0)
    cold = memory.cold_starts.mean_seconds
    now, replicas = NOW, [replica(slots=pool.slots_per_replica) for _ in range(draw.randint(1, 12))]
    memory = replace(memory, traffic=replace(memory.traffic, in_system=0))
    for _ in range(1000):
        decision, memory = decide(pool, seen(reading(at=now), *replicas), memory, now)
        replicas = [one for one in replicas if one.id not in decision.drain]
        if not replicas:
            break
        assert decision.wake_at is not None
        now = decision.wake_at
    assert replicas == []
    assert now - NOW <= break_even_seconds(pool.wait_value, cold) + SHORTEST_STAY * cold + 1e-3


def test_at_rest_it_sleeps():
    found, memory = decide(spec(), seen(reading()), FRESH, NOW)
    assert found.wake_at is None
    memory = replace(memory, traffic=replace(memory.traffic, last_arrival_at=NOW - 1, fast_per_second=0.001))
    assert decide(spec(min_replicas=2), seen(reading(), replica(), replica()), memory, NOW)[0].wake_at is None


def demand(observed, memory, *, wait_value=2.0, slots=1, now=NOW, **changes):
    learned = Learned(
        run_times=memory.run_times,
        cold_seconds=memory.cold_starts.mean_seconds,
        wait_value=wait_value,
        slots=slots,
    )
    fleet = fleet_of(observed, memory, now)
    return demand_of(spec(**changes), observed.reading, fleet, learned, now)


def waits(observed, waiting, oldest):
    queue = replace(observed.reading.queues["jobs"], waiting=waiting, oldest_wait_seconds=oldest)
    return replace(observed, reading=replace(observed.reading, queues={"jobs": queue}))


@given(seeds, st.integers(0, 300), st.integers(0, 50), st.floats(0, 500), st.floats(0, 200))
def test_demand_grows_with_the_backlog_and_with_the_oldest_wait(draw, waiting, more, oldest, longer):
    pool, observed, memory = random_state(draw)
    slots, v = pool.slots_per_replica, pool.wait_value
    less = demand(waits(observed, waiting, oldest), memory, wait_value=v, slots=slots).slots
    assert demand(waits(observed, waiting + more, oldest), memory, wait_value=v, slots=slots).slots >= less
    assert demand(waits(observed, waiting, oldest + longer), memory, wait_value=v, slots=slots).slots >= less


@given(seeds)
def test_no_victim_is_busy_whatever_was_learned(draw):
    pool, observed, memory = random_state(draw)
    # a replica with one slot; wider ones may be drained while others have room, and finish what they run
    observed = replace(
        observed, replicas=tuple(replace(one, slots=1, claims=min(1, one.claims)) for one in observed.replicas)
    )
    running = sum(one.claims for one in observed.replicas)
    pool = replace(pool, slots_per_replica=1, max_replicas=max(pool.max_replicas, running))
    found, _ = decide(pool, observed, memory, NOW)
    busy = {one.id for one in observed.replicas if one.claims}
    assert not busy & set(found.drain)
    assert len(busy) <= found.replicas <= pool.max_replicas


@given(seeds)
def test_work_that_waits_gets_a_replica_whatever_was_learned(draw):
    pool, observed, memory = random_state(draw)
    pool = replace(pool, max_replicas=max(1, pool.max_replicas))
    found, _ = decide(pool, waits(observed, draw.randint(1, 9), draw.uniform(0, 999)), memory, NOW)
    assert found.replicas >= 1


@pytest.mark.parametrize("factor", [0.1, 3.0, 8.0])
@given(seeds)
def test_when_all_times_are_longer_by_a_factor_it_is_the_same(factor, draw):
    """As long as nothing is learned that has bins, all that counts is how times compare."""
    cold, mean, oldest = draw.uniform(20, 90), draw.uniform(20, 200), draw.uniform(0, 90)
    ages = [draw.uniform(0, 200) for _ in range(draw.randint(0, 9))]
    young = [draw.uniform(0, 60) for _ in range(draw.randint(0, 4))]
    waiting = draw.randint(0, 40)
    found = []
    for scale in (1.0, factor):
        memory = Memory(
            run_times=RunTimes(mean_seconds=scale * mean), cold_starts=ColdStarts(mean_seconds=scale * cold, samples=9)
        )
        busy = [replica(claims=1, runs=(Run(NOW - scale * age),)) for age in ages]
        new = [starting(created_at=NOW - scale * age) for age in young]
        observed = seen(reading(waiting, len(ages), oldest_wait_seconds=scale * oldest), *busy, *new)
        found.append(demand(observed, memory).slots)
    assert found[0] == found[1]


@given(seeds)
def test_what_time_moves_it_wakes_up_for(draw):
    """Asked before its alarm, it says what it said."""
    pool, observed, memory = random_state(draw)
    observed = replace(observed, replicas=tuple(one for one in observed.replicas if one.phase is ReplicaPhase.READY))
    first, memory = decide(pool, observed, memory, NOW)
    if first.wake_at is None:
        for at in (10.0, 100.0, 500.0):
            assert decide(pool, observed, memory, NOW + at)[0].replicas == first.replicas


def test_a_minimum_that_is_above_what_is_needed_does_not_end_the_looking():
    """Work that waits may come to need more than the minimum; a maximum that binds already, it cannot pass."""
    pool = spec(min_replicas=3, wait_value=0.1, target_wait_seconds=600.0)
    memory = Memory(cold_starts=ColdStarts(mean_seconds=145.0, samples=9))
    busy = [replica(claims=1, runs=(Run(NOW - 10.0),)) for _ in range(2)]
    observed = seen(reading(3, 2, oldest_wait_seconds=70.0), *busy)
    assert decide(pool, observed, memory, NOW)[0].wake_at is not None
    assert decide(replace(pool, min_replicas=0, max_replicas=1), observed, memory, NOW)[0].wake_at is None


@pytest.mark.parametrize("back", [5.0, 3600.0, 86_400.0])
def test_a_clock_that_is_set_back_holds_nothing_up(back):
    """A window, thresholds, and the next look at what the cluster gives: each runs on from there."""
    up = Threshold(metric=ThresholdMetric.WAITING, direction=Direction.UP, level=20.0, for_seconds=300.0)
    pool = spec(scale_down_window_seconds=60.0, thresholds=(up,))
    memory = Memory(
        at=NOW + back,
        proposals=((NOW + back - 20.0, 8),),
        met_since=(NOW + back - 200.0,),
        capacity=CapacityTruth(ceiling=9, probe_at=NOW + back + 50.0),
        learned=LearnedSlots(raise_at=NOW + back + 30.0),
    )
    eight = [replica() for _ in range(8)]
    found, after = decide(pool, seen(reading(30), *eight), memory, NOW)
    assert (after.met_since, after.capacity.probe_at) == ((NOW - 200.0,), NOW + 50.0)
    assert after.learned.raise_at == NOW + 30.0
    found, after = decide(spec(scale_down_window_seconds=60.0), seen(reading(), *eight), memory, NOW)
    assert (found.replicas, found.wake_at) == (8, NOW + 40.0)
    found, _ = decide(spec(scale_down_window_seconds=60.0), seen(reading(at=NOW + 40.0), *eight), after, NOW + 40.0)
    assert found.replicas == 0


@pytest.mark.parametrize("limit", ["daily_hard", "monthly_hard"])
@pytest.mark.parametrize("days", [[1], [2], [40], [1, 1], [1, 40]])
def test_a_clock_that_is_set_back_by_days_forgets_no_money(limit, days):
    pool = spec(budget=Budget(**{"price_per_replica_hour": 1.0, limit: 9.0}))
    fleet = [replica(created_at=NOW - 36_000.0) for _ in range(2)]
    _, memory = decide(pool, seen(reading(), *fleet), Memory(), NOW)
    assert memory.spend.day_amount > 9.0
    now = NOW
    for back in days:
        now -= back * 86_400.0
        for _ in range(2):
            now += 1.0
            found, memory = decide(pool, seen(reading(5, at=now)), memory, now)
            assert (found.replicas, found.limited_by, found.granted) == (0, Limit.BUDGET, 0.0)
