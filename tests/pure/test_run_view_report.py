"""The report of a run, from evidence that a test makes up."""

from __future__ import annotations

import pytest

from pool_operator.app.local_record import Change
from pool_operator.app.local_report import Evidence, Lifetime, build_report, percentile, timeline


def run(job, event, at, replica="r1", **more):
    return {"job": job, "event": event, "at": at, "pid": 1, "replica": replica, **more}


def whole(job, start, end, replica="r1"):
    return [run(job, "start", start, replica), run(job, "end", end, replica, outcome="finished")]


def evidence(statuses, runs, *, where=None):
    return Evidence(
        statuses=statuses,
        created=dict.fromkeys(statuses, 100.0),
        runs=runs,
        where=dict.fromkeys(statuses, 1) | (where or {}),
    )


def report(found, *, replicas=(), changes=(), price=None, **more):
    return build_report(found, replicas=replicas, changes=changes, price_per_hour=price, now=200.0, **more)


REMOVED = Lifetime(id="r1", created_at=100.0, ended_at=160.0, removed=True)
STOPPED = Lifetime(id="r2", created_at=110.0, ended_at=None, removed=False)


def verdicts(found):
    names = ("finished", "failed", "waiting", "lost", "duplicated", "killed", "interrupted")
    return {name: found[name] for name in names if found[name]}


def test_what_ran_to_its_end_once_is_finished():
    found = report(evidence({"a": "finished", "b": "failed"}, [*whole("a", 110, 120), *whole("b", 110, 120)]))
    assert found["jobs"] == 2
    assert verdicts(found) == {"finished": 1, "failed": 1}


def test_a_job_that_redis_does_not_know_is_lost():
    assert verdicts(report(evidence({"a": ""}, whole("a", 1, 2), where={"a": 0}))) == {"lost": 1}


def test_a_queued_job_that_is_in_no_queue_is_lost_and_one_that_is_there_waits():
    assert verdicts(report(evidence({"a": "queued"}, [], where={"a": 0}))) == {"lost": 1}
    assert verdicts(report(evidence({"a": "queued"}, []))) == {"waiting": 1}


def test_a_job_marked_finished_that_never_ran_is_lost_unless_its_function_logs_nothing():
    assert verdicts(report(evidence({"a": "finished"}, []))) == {"lost": 1}
    assert verdicts(report(evidence({"a": "finished"}, []), unlogged=True)) == {"finished": 1}


def test_a_job_that_ran_to_its_end_twice_is_duplicated():
    found = report(evidence({"a": "finished"}, [*whole("a", 1, 2), *whole("a", 3, 4, "r2")]))
    assert verdicts(found) == {"finished": 1, "duplicated": 1}


def test_a_job_in_two_places_of_rq_is_duplicated():
    assert report(evidence({"a": "finished"}, whole("a", 1, 2), where={"a": 2}))["duplicated"] == 1


def test_a_run_that_was_handed_back_and_ran_again_is_no_duplicate():
    runs = [run("a", "start", 1), run("a", "end", 2, outcome="interrupted"), *whole("a", 3, 4, "r2")]
    assert verdicts(report(evidence({"a": "finished"}, runs))) == {"finished": 1}


def test_a_start_without_an_end_is_killed_on_a_removed_replica_and_interrupted_on_another():
    runs = [run("a", "start", 1, "r1"), run("b", "start", 1, "r2"), *whole("a", 5, 6, "r2"), *whole("b", 5, 6, "r2")]
    found = report(evidence({"a": "finished", "b": "finished"}, runs), replicas=[REMOVED, STOPPED])
    assert verdicts(found) == {"finished": 2, "killed": 1, "interrupted": 1}


def test_replica_time_money_and_peak():
    found = report(evidence({}, []), replicas=[REMOVED, STOPPED], price=36.0)
    assert found["replica_seconds"] == 150.0
    assert found["cost"] == pytest.approx(1.5)
    assert (found["peak_replicas"], found["final_replicas"]) == (2, 1)
    assert report(evidence({}, []))["cost"] is None


def test_waits_are_from_submission_to_the_first_start():
    runs = [*whole("a", 101, 102), *whole("b", 110, 111), run("b", "start", 120)]
    found = report(evidence({"a": "finished", "b": "finished"}, runs))
    assert found["wait_seconds"] == {"p50": 1.0, "p99": 10.0}
    assert report(evidence({}, []))["wait_seconds"] == {"p50": None, "p99": None}


def test_decisions_are_told_in_the_words_of_the_report():
    change = Change(at=1.0, before=0, after=10, reason="WorkWaiting", message="100 jobs wait")
    assert report(evidence({}, []), changes=[change])["decisions"] == [
        {"at": 1.0, "from": 0, "to": 10, "reason": "WorkWaiting", "message": "100 jobs wait"}
    ]


def test_runs_of_other_jobs_do_not_count():
    assert verdicts(report(evidence({"a": "finished"}, [*whole("a", 1, 2), run("z", "start", 1)]))) == {"finished": 1}


@pytest.mark.parametrize(("percent", "expected"), [(50, 5.0), (99, 10.0), (100, 10.0), (1, 1.0)])
def test_percentiles_are_nearest_rank(percent, expected):
    assert percentile([float(number) for number in range(1, 11)], percent) == expected


def test_replicas_that_follow_each_other_at_the_same_instant_are_never_two():
    assert timeline([(0.0, 5.0), (5.0, 9.0)]) == [(0.0, 1), (5.0, 0), (5.0, 1), (9.0, 0)]
