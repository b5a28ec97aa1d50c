"""Jobs and money read off a ledger, against a world that knows the truth."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from tests.pure.engine_builders import FRESH, NOW, reading, seen, unknown
from tests.pure.recorded_pool import SPEC, START, RecordedPool

from pool_contract.messages import RunOutcome
from pool_operator.app.account import account
from pool_operator.app.workload import workload, write_trace
from pool_operator.engine.record import Call, Checkpoint, Gap, read_records
from pool_operator.engine.state import Spend
from pool_operator.engine.types import Budget, Ended
from pool_operator.simulate.trace import read

QUEUES = ("urgent", "default")


def call(at, what, *replicas, **changes):
    return Call(at=at, observed=seen(what, *replicas, **changes), check_sum=0, decision=None)


def ended(number, at, seconds, **changes):
    return Ended((1, number), at, seconds, queue="jobs")._replace(**changes)


# --- arrivals ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(4))
def test_every_job_is_found_at_about_its_time(seed):
    pool = RecordedPool(seed).run(800)
    found = workload(read_records(pool.flush()))
    assert len(found.jobs) + found.unfinished == len(pool.arrivals)
    for queue in QUEUES:
        truth = sorted(at for at, name in pool.arrivals if name == queue)
        told = [job.arrived_at for job in found.jobs if job.queue == queue]
        errors = [abs(one - other) for one, other in zip(truth, told, strict=False)]
        assert math.fsum(errors) / len(errors) < 5.0  # readings are up to 30 s apart here, and Redis is away at times
        assert max(errors) < 200.0
    assert all(job.wait_seconds >= 0 for job in found.jobs)


def test_the_head_of_a_queue_tells_its_own_time():
    entries = [
        call(NOW, reading(0, at=NOW)),
        call(NOW + 10, reading(3, at=NOW + 10, oldest_wait_seconds=6.0)),
        call(
            NOW + 60, reading(0, at=NOW + 60), ended=tuple(ended(place, NOW + 60, 30.0 - place) for place in range(3))
        ),
    ]
    assert [job.arrived_at - NOW for job in workload(entries).jobs] == [4.0, 7.0, 10.0]


def test_a_job_that_came_and_ended_between_two_readings_is_found():
    entries = [
        call(NOW, reading(0, at=NOW)),
        call(NOW + 60, reading(0, at=NOW + 60), ended=(ended(1, NOW + 50, 30.0),)),
    ]
    (job,) = workload(entries).jobs
    assert (job.arrived_at, job.run_seconds, job.wait_seconds) == (NOW + 20, 30.0, 0.0)


def test_a_run_is_counted_once_however_often_it_is_told():
    one = ended(1, NOW + 50, 30.0)
    entries = [
        call(NOW, reading(1, at=NOW)),
        *(call(NOW + at, reading(0, at=NOW + at), ended=(one,)) for at in (60, 70)),
    ]
    assert len(workload(entries).jobs) == 1


def test_a_lost_run_is_no_job_and_a_retried_one_is():
    entries = [
        call(NOW, reading(0, at=NOW)),
        call(NOW + 1, reading(1, at=NOW + 1, oldest_wait_seconds=0.5)),
        call(NOW + 20, reading(1, at=NOW + 20), ended=(ended(1, NOW + 15, 10.0, outcome=RunOutcome.LOST),)),
        call(NOW + 40, reading(1, at=NOW + 40), ended=(ended(2, NOW + 35, 10.0, outcome=RunOutcome.FAILED),)),
        call(NOW + 60, reading(0, at=NOW + 60), ended=(ended(3, NOW + 55, 10.0),)),
    ]
    found = workload(entries)
    assert [round(job.arrived_at - NOW, 3) for job in found.jobs] == [0.5, 40.0]
    assert found.unfinished == 0


def test_nothing_known_is_no_job():
    assert workload([]).jobs == ()
    assert workload([call(NOW, unknown())]).jobs == ()


@pytest.mark.parametrize("name", ["trace.csv", "trace.csv.gz"])
def test_a_written_trace_is_what_the_simulator_reads(tmp_path, name):
    found = workload(read_records(RecordedPool(1).run(300).flush()))
    write_trace(tmp_path / name, found)
    trace, own = read(tmp_path / name), found.trace("own")
    assert trace.arrivals == pytest.approx(own.arrivals, abs=1e-3)
    assert trace.services == pytest.approx(own.services, abs=1e-3)
    assert [trace.queue_names[place] for place in trace.queues] == [own.queue_names[place] for place in own.queues]


# --- money ------------------------------------------------------------------------------------------------------------


def test_runs_and_money_are_those_of_the_world():
    pool = RecordedPool(2).run(800)
    found = account(read_records(pool.flush()), month=None)
    told = {one.id: one for step in pool.steps for one in step.observed.ended}
    assert found.runs.total() == len(told)
    assert found.failed == sum(one.outcome is RunOutcome.FAILED for one in told.values())
    assert found.ended == sum(one.outcome is not RunOutcome.LOST for one in told.values())
    seconds = 0.0
    for before, after in zip(pool.steps, pool.steps[1:], strict=False):
        past = {one.id: one for one in before.observed.replicas}
        now, since = after.decision.at, before.decision.at
        both = past | {one.id: one for one in after.observed.replicas}
        seconds += sum(now - (since if name in past else max(since, one.created_at)) for name, one in both.items())
    assert found.replica_seconds == pytest.approx(seconds)
    assert found.cost == pytest.approx(seconds / 3600 * 0.36)
    assert found.cost_per_job == pytest.approx(found.cost / found.runs[RunOutcome.FINISHED])
    assert found.most_replicas == max(len(step.observed.replicas) for step in pool.steps)
    assert found.decisions == 800


def test_a_month_is_one_of_the_budget_s_time_zone():
    turn = datetime(2026, 12, 1, tzinfo=UTC).timestamp()
    budget = Budget(price_per_replica_hour=1.0, monthly_soft=100.0, time_zone="Pacific/Auckland")  # 13 hours ahead
    spec = replace(SPEC, budget=budget)
    entries = [
        Checkpoint(at=turn - 14 * 3600, why="start", spec=spec, memory=FRESH, about={}),
        *(call(turn - hours * 3600, reading(0, at=turn)) for hours in (14, 13.5, 12, 0)),
    ]
    assert account(entries, month="2026-11").decisions == 2
    assert account(entries, month="2026-12").decisions == 2
    assert account(entries, month="2026-10").decisions == 0
    assert account(entries, month=None).decisions == 4


def test_runs_of_before_the_ledger_are_not_counted():
    old, new = ended(1, NOW - 5, 30.0), ended(2, NOW + 5, 3.0)
    entries = [call(NOW, reading(0, at=NOW), ended=(old,)), call(NOW + 9, reading(0, at=NOW + 9), ended=(old, new))]
    found = account(entries, month=None)
    assert (found.ended, found.mean_run_seconds) == (1, 3.0)
    assert len(workload(entries).jobs) == 1


def test_without_a_price_nothing_is_priced():
    spec = replace(SPEC, budget=None)
    entries = [Checkpoint(at=NOW, why="start", spec=spec, memory=FRESH, about={}), call(NOW, reading(0))]
    found = account(entries, month=None)
    assert found.cost == 0
    assert found.cost_per_job is None
    assert found.budget is None


def test_what_the_budget_was_held_against_is_the_last_checkpoint_s():
    spend = Spend(at=START, month="2026-11", month_amount=12.5)
    entries = [
        Checkpoint(at=NOW, why="start", spec=SPEC, memory=FRESH, about={}),
        call(NOW, reading(0)),
        Checkpoint(at=NOW + 1, why="time", spec=SPEC, memory=replace(FRESH, spend=spend), about={}),
        call(NOW + 1, reading(0)),
        Gap(at=NOW + 2, until=NOW + 3, steps=4, why="Redis was away"),
    ]
    found = account(entries, month=None)
    assert found.spend == spend
    assert found.gaps == 1
