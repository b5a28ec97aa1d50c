"""The world and the peers' driver, against examples worked out by hand."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.pure.simulate_builders import Plan, terms, trace

from pool_operator.simulate.peers import PEERS
from pool_operator.simulate.policy import Victim
from pool_operator.simulate.run import simulate
from pool_operator.simulate.terms import Terms
from pool_operator.simulate.ticking import run_peer
from pool_operator.simulate.world import World


def test_one_job_waits_for_the_tick_and_the_cold_start_and_the_replica_is_billed_from_creation_to_exit():
    plan = Plan((0, 0), (4, 1), (100, 0))

    result = simulate(trace((2, 30)), plan, terms(price_per_replica_hour=3.6))

    # created at 4, ready and claims at 14, ends at 44, goes at 100
    assert result.waits == [12.0]
    assert result.replica_seconds == 96.0
    assert result.cold_start_seconds_billed == 10.0
    assert result.cost == pytest.approx(0.096)
    assert (result.pod_starts, result.unused_starts, result.scale_actions, result.jobs_hit) == (1, 0, 2, 0)
    assert (result.work_seconds, result.ended_at, result.unfinished) == (30.0, 100.0, 0)


def test_jobs_are_served_first_come_first_served_by_as_many_slots_as_there_are():
    jobs = trace((0, 30), (1, 30), (2, 30), (3, 30))

    result = simulate(jobs, Plan((0, 2), (60, 0)), terms())
    two_slots = simulate(jobs, Plan((0, 1), (60, 0)), terms(slots=2))

    assert result.waits == two_slots.waits == [10.0, 9.0, 38.0, 37.0]
    assert two_slots.replica_seconds == 70.0  # busy at 60, it went as soon as its last job ended
    assert two_slots.work_seconds == 60.0


def test_a_starting_replica_that_is_not_wanted_any_more_is_cancelled_the_youngest_first():
    plan = Plan((0, 1), (3, 2), (5, 1), (60, 0))

    result = simulate(trace((0, 40)), plan, terms())

    assert result.waits == [10.0]
    assert result.replica_seconds == 60.0 + 2.0
    assert result.unused_starts == 1


def test_a_victim_that_kubernetes_picks_may_be_busy_and_that_is_counted_as_a_hit():
    jobs = trace((0, 100), (0, 100))

    idle = simulate(jobs, Plan((0, 2), (50, 0), victim=Victim.IDLE), terms())
    random = simulate(jobs, Plan((0, 2), (50, 0), victim=Victim.RANDOM), terms())
    killed = simulate(
        jobs, Plan((0, 2), (50, 1), (130, 2), (400, 0), victim=Victim.RANDOM), terms(kill_after_seconds=30)
    )

    assert (idle.jobs_hit, random.jobs_hit, random.kills) == (0, 2, 0)
    assert idle.replica_seconds == random.replica_seconds == 220.0
    # hit at 50, ended at 80 after 70 s of run time for nothing; runs anew when the other is done, at 110
    assert (killed.jobs_hit, killed.kills, killed.killed_seconds) == (1, 1, 70.0)
    assert sorted(killed.waits) == [10.0, 110.0]
    assert killed.unfinished == 0


def test_a_job_is_given_up_when_it_was_killed_for_the_fourth_time():
    plan = Plan((0, 1), *[(20 + 40 * k, (k + 1) % 2) for k in range(12)], victim=Victim.RANDOM)

    result = simulate(trace((0, 1000)), plan, terms(kill_after_seconds=5))

    assert (result.kills, result.given_up, result.unfinished) == (4, 1, 0)


def test_a_replica_that_ends_itself_does_so_the_moment_nothing_waits():
    result = simulate(trace((0, 20), (25, 20)), Plan((0, 1), (26, 1), (28, 0), self_exit=True), terms())

    # ready at 10, ends at 30 with a job waiting: takes it, ends at 50 and exits
    assert result.waits == [10.0, 5.0]
    assert result.replica_seconds == 50.0


def test_a_policy_sees_what_is_there_at_its_tick_and_means_since_the_call_before():
    plan = Plan((0, 1), (60, 0), tick=20.0)

    simulate(trace((5, 30), (6, 30)), plan, terms())

    # at 10 the replica is ready and takes the first job
    assert plan.calls == [0.0, 20.0, 40.0, 60.0, 80.0]
    assert plan.seen[20.0] == (1, 1, 1, 0, 2, pytest.approx((15 + 14) / 20))
    assert plan.seen[40.0] == (0, 1, 1, 0, 0, 2.0)


def test_a_policy_is_left_alone_while_nothing_exists_and_told_how_many_ticks_it_missed():
    plan = Plan((0, 0), (1000, 1), (1100, 0), tick=2.0)

    simulate(trace((999, 10)), plan, terms())

    assert plan.calls[:3] == [0.0, 1000.0, 1002.0]
    assert plan.idled == 499


def test_a_policy_that_rests_is_not_called_and_one_that_keeps_quiet_only_when_something_happens():
    jobs = trace((1, 40))
    rest = Plan((0, 1), (60, 0), rest=30.0)
    quiet = Plan((0, 1), (60, 0), quiet=60.0)

    simulate(jobs, rest, terms())
    simulate(jobs, quiet, terms())

    assert rest.calls == [0.0, 30.0, 60.0]
    # the job at 1, ready and claimed at 10, ended at 50
    assert quiet.calls == [0.0, 1.0, 10.0, 50.0, 110.0]


def test_what_is_left_an_hour_after_the_last_job_is_billed_until_then():
    result = simulate(trace((0, 20)), Plan((0, 1)), terms())

    assert result.replica_seconds == 30.0 + 3600.0


def test_cold_starts_are_the_same_for_every_policy_by_number_of_the_start():
    one, two = (
        simulate(trace((0, 1), (0, 1)), Plan((0, 0), (since, 2), (500, 0)), Terms(max_replicas=9)) for since in (0, 50)
    )

    assert [wait - 50 for wait in two.waits] == pytest.approx(one.waits)
    assert one.waits[0] != one.waits[1]


def test_days_and_series_add_up_to_the_run():
    jobs = trace(*((3_600.0 * k, 1_800) for k in range(60)))

    result = simulate(jobs, Plan((0, 1)), terms(price_per_replica_hour=1.0))

    assert [day.date for day in result.days] == ["2026-01-05", "2026-01-06", "2026-01-07"]
    assert sum(day.started for day in result.days) == sum(day.ended for day in result.days) == 60
    assert math.fsum(day.replica_seconds for day in result.days) == pytest.approx(result.replica_seconds)
    assert math.fsum(day.work_seconds for day in result.days) == pytest.approx(result.work_seconds)
    assert math.fsum(day.cost for day in result.days) == pytest.approx(result.cost)
    assert max(result.series.replicas) == result.peak_replicas == 1
    assert max(result.series.busy) == 1
    assert result.series.at == sorted(result.series.at)


def test_a_summary_has_the_keys_that_are_promised():
    summary = simulate(trace((2, 30)), Plan((0, 0), (4, 1), (100, 0)), terms()).summary()

    assert list(summary) == [
        *("trace", "policy", "profile", "wait_value", "cold_start_seconds", "slots", "jobs", "wait_seconds"),
        *(
            "gpu_hours",
            "work_gpu_hours",
            "oracle_gpu_hours",
            "pod_starts",
            "unused_starts",
            "scale_actions",
            "jobs_hit",
        ),
    ]
    assert summary["wait_seconds"] == {"mean": 12.0, "p50": 12.0, "p95": 12.0, "p99": 12.0}
    assert (summary["gpu_hours"], summary["work_gpu_hours"]) == (round(96 / 3600, 4), round(30 / 3600, 4))


JOBS = st.lists(st.tuples(st.floats(0, 2_000), st.floats(0.1, 400)), min_size=1, max_size=40).map(sorted)


@settings(max_examples=30, deadline=None)
@given(jobs=JOBS, name=st.sampled_from(sorted(PEERS)), slots=st.integers(1, 3), grace=st.sampled_from([None, 30.0]))
def test_under_every_peer_each_job_starts_after_it_came_and_ends_once_and_no_slot_runs_two(jobs, name, slots, grace):
    world = World(trace(*jobs), Terms(cold_start_seconds=30, slots=slots, max_replicas=8, kill_after_seconds=grace))

    run_peer(world, PEERS[name]())

    assert world.ended == len(jobs)
    assert not world.in_system
    assert not world.pods
    assert world.peak <= 8
    for number, (arrival, service) in enumerate(jobs):
        assert world.began[number] >= arrival
        if grace is None:
            assert world.finished[number] == world.began[number] + service
    billed = sum(pod.exited - pod.created for pod in world.gone)
    assert billed * slots >= sum(service for _, service in jobs) * (0 if grace else 1) - 1e-6


@pytest.mark.parametrize("name", sorted(PEERS))
def test_the_same_run_twice_is_the_same(name):
    jobs = trace(*((7.0 * k * k, 50 + k) for k in range(30)))

    one, two = (simulate(jobs, PEERS[name](), Terms(max_replicas=8)) for _ in range(2))

    assert one == two
