"""Our engine in the world: the product's protocol in virtual time. What it decides is tested with the engine."""

import math
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.pure.simulate_builders import ours, terms, trace

from pool_operator.engine.types import Budget
from pool_operator.simulate.claims import Claims
from pool_operator.simulate.ours import REACTION_SECONDS, run_ours
from pool_operator.simulate.run import simulate
from pool_operator.simulate.scheduled import Scheduled
from pool_operator.simulate.terms import Terms


def test_a_hundred_jobs_make_ten_replicas_then_none():
    jobs = trace(*[(0.0, 60.0)] * 100)

    result = simulate(jobs, ours(), terms())

    assert (result.jobs, len(result.waits), result.unfinished) == (100, 100, 0)
    assert (result.peak_replicas, result.pod_starts, result.unused_starts, result.jobs_hit) == (10, 10, 0, 0)
    # ten at a time after the reaction and the cold start
    assert Counter(round(wait - REACTION_SECONDS) for wait in result.waits) == {10 + 60 * k: 10 for k in range(10)}
    assert result.ended_at >= 610
    assert result.series.replicas[-1] == 0


def test_replicas_of_two_slots_run_two_jobs_at_once():
    result = simulate(trace(*[(0.0, 60.0)] * 100), ours(), terms(slots=2))

    assert result.peak_replicas == 10
    assert Counter(round(wait - REACTION_SECONDS) for wait in result.waits) == {10 + 60 * k: 20 for k in range(5)}


def test_the_result_says_which_setting_it_was():
    summary = simulate(trace((0, 5)), ours(wait_value=16.0), terms()).summary()

    assert (summary["policy"], summary["profile"], summary["wait_value"]) == ("processingpool", None, 16.0)


def test_queues_are_served_by_priority_and_told_apart():
    jobs = trace(*[(0.0, 60.0)] * 4, queues=[0, 0, 1, 1], queue_names=("low", "high"))

    result = simulate(jobs, ours("high", "low"), terms(max_replicas=2))

    assert max(result.queue_waits["high"]) < min(result.queue_waits["low"])
    assert [len(result.queue_waits[name]) for name in ("high", "low")] == [2, 2]


def test_at_most_so_many_jobs_run_at_once_in_the_whole_pool():
    world, _ = run_ours(trace(*[(0.0, 60.0)] * 6), ours(max_concurrent=2), terms())

    assert sorted(round(at - REACTION_SECONDS) for at in world.began) == [10, 10, 70, 70, 130, 130]


def test_at_most_so_many_jobs_start_in_any_minute():
    world, _ = run_ours(trace(*[(0.0, 1.0)] * 7), ours(rate_per_minute=3.0), terms())

    began = sorted(world.began)
    assert all(later - earlier >= 60 for earlier, later in zip(began, began[3:], strict=False))
    assert world.ended == 7


def test_claims_take_from_the_grant_and_stop_where_it_ends():
    budget = Budget(price_per_replica_hour=1.0, daily_hard=100.0)
    claims = Claims(ours(budget=budget, job_timeout_seconds=3600.0).spec)

    assert not claims.take(0.0, running=0)
    claims.grant(2.5)
    assert [claims.take(0.0, running=0) for _ in range(3)] == [True, True, False]
    assert claims.used == 2.0
    claims.grant(3.0)
    assert claims.take(0.0, running=0)


def test_a_scheduled_job_is_known_from_when_it_was_scheduled_until_it_is_due():
    scheduled = Scheduled(trace((10, 1), (20, 1), (30, 1), known=[2.0, 20.0, 5.0]), [0, 0, 0])

    seen = {}
    for at in (1.0, 2.0, 5.0, 10.0, 30.0):
        scheduled.pass_to(at)
        seen[at] = scheduled.of(0, 100.0)

    assert seen == {1.0: (), 2.0: (110.0,), 5.0: (110.0, 130.0), 10.0: (130.0,), 30.0: ()}
    assert scheduled.next_at == math.inf


JOBS = st.lists(st.tuples(st.floats(0, 2_000), st.floats(0.1, 400)), min_size=1, max_size=40).map(sorted)


@settings(max_examples=40, deadline=None)
@given(jobs=JOBS, slots=st.integers(1, 3), value=st.sampled_from([0.1, 2.0, 16.0]))
def test_each_job_runs_once_to_its_end_and_no_replica_that_works_goes(jobs, slots, value):
    world, _ = run_ours(trace(*jobs), ours(wait_value=value), Terms(cold_start_seconds=30, slots=slots, max_replicas=5))

    assert world.ended == len(jobs)
    assert not world.pods
    assert world.peak <= 5
    assert (world.hits, world.kills) == (0, 0)
    for number, (arrival, service) in enumerate(jobs):
        assert world.began[number] >= arrival
        assert world.finished[number] == world.began[number] + service
    served_from = [(pod.ready_at, pod.exited) for pod in world.gone if pod.served]
    assert all(any(ready <= began < left for ready, left in served_from) for began in world.began)


@settings(max_examples=15, deadline=None)
@given(jobs=JOBS)
def test_jobs_of_one_queue_start_in_the_order_in_which_they_came(jobs):
    world, _ = run_ours(trace(*jobs), ours(), Terms(cold_start_seconds=30, max_replicas=3))

    assert world.began == sorted(world.began)


@settings(max_examples=25, deadline=None)
@given(
    jobs=st.lists(st.tuples(st.floats(0, 200_000), st.floats(1, 3_600)), min_size=1, max_size=60).map(sorted),
    hard=st.floats(2.5, 12),
    slots=st.integers(1, 3),
)
def test_no_day_costs_more_than_its_hard_budget_and_all_is_done_in_the_end(jobs, hard, slots):
    budget = Budget(price_per_replica_hour=1.0, daily_hard=hard)
    pool = ours(budget=budget, job_timeout_seconds=3_600.0)

    result = simulate(trace(*jobs), pool, Terms(max_replicas=10, slots=slots, price_per_replica_hour=1.0))

    assert max(day.cost for day in result.days) <= hard
    assert result.unfinished == 0


def test_a_backfill_goes_on_day_by_day_within_its_daily_money():
    budget = Budget(price_per_replica_hour=0.36, daily_soft=10.0, daily_hard=15.0)
    pool = ours(budget=budget, max_concurrent=10)

    result = simulate(trace(*[(0.0, 1_200.0)] * 200), pool, terms(cold_start_seconds=60.0, price_per_replica_hour=0.36))

    assert [day.ended for day in result.days] == [83, 83, 34]
    assert max(day.cost for day in result.days) == pytest.approx(10, abs=0.1)


@pytest.mark.parametrize(("soft", "starts"), [(4.0, 0), (17.0, 1)])
def test_money_that_pays_for_no_start_and_job_ends_the_run_and_what_never_ran_is_counted(soft, starts):
    """A start costs 6, and a job 12; before the first job has ended only the start is known."""
    pool = ours(budget=Budget(price_per_replica_hour=360.0, daily_soft=soft))

    result = simulate(trace(*[(0.0, 120.0)] * 3), pool, terms(cold_start_seconds=60.0, price_per_replica_hour=360.0))

    assert (result.unfinished, result.pod_starts) == (3 - starts, starts)
    assert result.cost == pytest.approx(18.0 * starts, abs=0.1)


def test_money_that_comes_again_with_the_next_month_is_waited_for():
    pool = ours(budget=Budget(price_per_replica_hour=360.0, daily_soft=30.0, monthly_soft=30.0))

    result = simulate(trace(*[(0.0, 120.0)] * 3), pool, terms(cold_start_seconds=60.0, price_per_replica_hour=360.0))

    assert (result.unfinished, result.pod_starts) == (0, 2)


def test_the_same_run_twice_is_the_same():
    jobs = trace(*((7.0 * k * k, 50 + k) for k in range(40)))

    one, two = (simulate(jobs, ours(), Terms(max_replicas=8)) for _ in range(2))

    assert one == two
