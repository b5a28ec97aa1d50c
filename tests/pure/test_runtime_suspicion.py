"""A server that forgot looks empty and healthy: nobody is sent home on it."""

from __future__ import annotations

from pool_contract.messages import JobReport, ReplicaPhase, ReplicaReport
from pool_contract.scripts import EndpointState, PoolState, ReplicaState
from pool_operator.runtime.suspicion import LONGEST_DOUBT_SECONDS, Suspicion

START = 1_000_000.0


def state(at, *, started=START):
    return EndpointState(at=at, uptime_seconds=at - started, replication_role="master", queues={}, pools={})


def reported(name, *, age=0.0, jobs=(), claims=0):
    report = ReplicaReport(
        replica=name,
        pool="p",
        incarnation="i",
        phase=ReplicaPhase.READY,
        at=0,
        started_at=0,
        slots=1,
        jobs=tuple(JobReport(job_id=job, queue="q", started_at=0) for job in jobs),
    )
    return ReplicaState(replica=name, claims=claims, drained=False, report=report, age_seconds=age)


def known(*states):
    return PoolState(replicas={one.replica: one for one in states})


def look(it, at, pool=None, *, alive=("a",), lost=False, started=START):
    return it.look(state(at, started=started), pool or known(), alive, asked=at, settings_lost=lost)


def test_a_server_that_goes_on_is_trusted():
    it = Suspicion()
    assert not look(it, START + 100, known(reported("a")))
    assert not look(it, START + 105, known(reported("a")))
    assert not it.replicas


def test_lost_settings_make_every_living_replica_a_suspect_until_it_reports_without_a_job():
    it = Suspicion()
    assert look(it, START + 100, lost=True, alive=("a", "b"))
    assert it.replicas == {"a", "b"}
    assert look(it, START + 105, known(reported("a", age=1)), alive=("a", "b"))
    assert it.replicas == {"b"}
    assert not look(it, START + 110, known(reported("a"), reported("b")), alive=("a", "b"))
    assert not it.replicas


def test_a_replica_that_says_it_runs_a_job_that_redis_forgot_stays_a_suspect_and_the_rest_is_trusted_again():
    it = Suspicion()
    look(it, START + 100, lost=True)
    assert not look(it, START + 110, known(reported("a", jobs=("j",))))
    assert it.replicas == {"a"}
    assert not look(it, START + 500, known(reported("a", jobs=("j",))))
    assert it.replicas == {"a"}
    look(it, START + 510, known(reported("a")))
    assert not it.replicas


def test_a_report_from_before_the_loss_proves_nothing():
    it = Suspicion()
    look(it, START + 100, lost=True)
    assert look(it, START + 105, known(reported("a", age=10)))
    assert it.replicas == {"a"}


def test_claims_that_redis_shows_are_trusted_at_once():
    it = Suspicion()
    look(it, START + 100, lost=True)
    look(it, START + 105, known(reported("a", jobs=("j",), claims=1)))
    assert not it.replicas


def test_another_start_of_the_server_is_noticed_and_jitter_of_its_uptime_is_not():
    it = Suspicion()
    look(it, START + 100, known(reported("a")))
    assert not look(it, START + 105, known(reported("a")), started=START + 1)
    assert look(it, START + 130, known(reported("a", age=20)), started=START + 120)


def test_doubt_about_the_whole_reading_ends_after_a_while_but_not_the_doubt_about_the_silent_replica():
    it = Suspicion()
    look(it, START + 100, lost=True)
    assert not look(it, START + 100 + LONGEST_DOUBT_SECONDS, known())
    assert it.replicas == {"a"}


def test_replicas_that_are_gone_are_no_suspects():
    it = Suspicion()
    look(it, START + 100, lost=True)
    assert not look(it, START + 105, alive=())
    assert it.since is None
