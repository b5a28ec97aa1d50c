"""Losses: kills, freezes, Redis that goes and comes back. Every job ends with exactly one result."""

from __future__ import annotations

import signal
import time

import pytest
from rq import Retry
from tests.redis.worker_harness import Bench, eventually, workers
from tests.servers import redis_server

from pool_contract.scripts import Scripts, reclaim, register

POOL = {"PROCESSINGPOOL_POOL": "media/speech", "PROCESSINGPOOL_POOL_UID": "uid-1"}
REPLICA_1 = {**POOL, "PROCESSINGPOOL_REPLICA": "r1"}
REPLICA_2 = {**POOL, "PROCESSINGPOOL_REPLICA": "r2"}


@pytest.fixture
def server():
    with redis_server("valkey", "--appendonly", "yes", "--appendfsync", "always") as it:
        yield it


@pytest.fixture
def bench(server):
    bench = Bench(server)
    yield bench
    bench.redis.close()


@pytest.fixture
def start(server, tmp_path):
    with workers(server, tmp_path) as start:
        yield start


def reclaimed(bench, max_losses=2):
    """What the operator's housekeeping does, until it finds something."""
    call = reclaim("rq", queues=["default"], max_losses=max_losses)
    return eventually(lambda: Scripts(bench.redis).run(call), "a lease ends")


def test_a_killed_worker_s_job_is_taken_back_once_its_lease_ends_and_runs_alone(bench, start):
    worker = start(environment=REPLICA_1)
    job = bench.enqueue("until", "test:go", retry=Retry(max=1))
    bench.until_noted("waiter begins")
    worker.signal(signal.SIGKILL)
    worker.ended()
    assert [(one.job_id, one.losses, one.exhausted) for one in reclaimed(bench)] == [(job.id, 1, False)]
    other = start("--slots", "2", environment=REPLICA_2)
    bench.until_noted("waiter begins", times=2)
    assert bench.redis.hget(f"rq:pp:owner:{job.id}", "alone") == b"1"
    beside = bench.enqueue("remember", "beside")
    bench.redis.set("test:go", 1)
    bench.finished(beside)
    assert bench.noted()[-2:] == ["waiter ends", "beside"]  # a free slot waited until the job was done alone
    found = bench.finished(job)
    assert len(found.results()) == 1
    assert found.retries_left == 1
    bench.nothing_is_left()
    assert other.process.poll() is None


def test_a_restarted_container_takes_its_jobs_back_at_once(bench, start):
    worker = start("--lease-seconds", "600", environment=REPLICA_1)
    job = bench.enqueue("until", "test:go")
    bench.until_noted("waiter begins")
    worker.signal(signal.SIGKILL)
    worker.ended()
    bench.redis.set("test:go", 1)
    start(environment=REPLICA_1).said("was held by an earlier process of this replica")
    assert len(bench.finished(job).results()) == 1
    bench.nothing_is_left()


def test_a_job_that_kills_its_workers_is_given_up_with_one_sentence(bench, start):
    job = bench.enqueue("die", retry=Retry(max=5))
    for _ in range(3):
        assert start(environment=REPLICA_1).ended() == -signal.SIGKILL
        bench.redis.delete("rq:pp:incarnation:r1")  # as if its node had gone: nobody registers again
        reclaimed(bench, max_losses=1)
    start(environment=REPLICA_1)
    text = bench.failed(job)
    assert text.startswith("the job was lost 3 times (its worker was killed, ran out of memory or crashed)")
    assert bench.noted() == ["die begins"] * 3
    assert bench.finished(bench.enqueue("add", 1, 1)).return_value() == 2
    bench.nothing_is_left()


def test_a_frozen_worker_s_result_is_dropped(bench, start):
    frozen = start(environment=REPLICA_1)
    job = bench.enqueue("until", "test:go")
    bench.until_noted("waiter begins")
    frozen.signal(signal.SIGSTOP)
    reclaimed(bench)
    start(environment=REPLICA_2)
    bench.until_noted("waiter begins", times=2)
    bench.redis.set("test:go", 1)
    found = bench.finished(job)
    frozen.signal(signal.SIGCONT)
    frozen.said(f"job={job.id}")
    eventually(lambda: "lost in" in frozen.log, lambda: frozen.log)
    assert [one.execution_id for one in bench.job(job.id).results()] == [found.latest_result().execution_id]
    assert bench.finished(bench.enqueue("add", 1, 1)).return_value() == 2
    bench.nothing_is_left()


def test_redis_may_restart_while_a_job_runs(bench, start):
    worker = start("--lease-seconds", "60")
    short = bench.enqueue("spin", 0.5)
    bench.until_noted("spin begins")
    bench.server.kill()
    worker.said("cannot be reached")
    time.sleep(0.6)  # the job ends while Redis is away
    bench.server.start()
    found = bench.finished(short)
    assert found.return_value() == "spun"
    assert len(found.results()) == 1
    worker.said("is back")
    assert bench.finished(bench.enqueue("add", 1, 1)).return_value() == 2
    assert "Traceback" not in worker.log
    assert worker.log.count("cannot be reached") < 10
    bench.nothing_is_left()


def test_an_end_that_redis_does_not_take_before_the_worker_ends_is_told_and_the_job_runs_again(bench, start):
    worker = start("--lease-seconds", "2", "--heartbeat-seconds", "0.5", "--grace-seconds", "3")
    job = bench.enqueue("spin", 0.2)
    bench.until_noted("spin begins")
    bench.server.kill()
    worker.said("cannot be reached")
    worker.signal(signal.SIGTERM)
    assert worker.ended() == 0
    assert f"job={job.id} has ended, which Redis did not take: it runs again" in worker.log
    bench.server.start()
    start("--lease-seconds", "2", "--heartbeat-seconds", "0.5")
    found = bench.finished(job)
    assert len(found.results()) == 1
    bench.nothing_is_left()


def test_flushed_redis_ends_the_running_job_and_the_worker_goes_on(bench, start):
    worker = start("--slots", "2")
    job = bench.enqueue("spin", 300, job_timeout=600)
    bench.until_noted("spin begins")
    bench.redis.flushall()
    worker.said(f"job={job.id} is not this replica's any more")
    assert bench.finished(bench.enqueue("add", 1, 1)).return_value() == 2
    assert not bench.redis.exists(job.key)
    eventually(lambda: bench.redis.scard("rq:workers") == 2, "both slots are visible again")


def test_a_job_that_hangs_in_c_ends_the_process_and_frees_the_others(bench, start):
    worker = start("--slots", "2", "--stuck-seconds", "0.5", "--lease-seconds", "60", "--grace-seconds", "2")
    stuck = bench.enqueue("hang", job_timeout=1)
    other = bench.enqueue("spin", 300, job_timeout=600)
    bench.until_noted("hang begins")
    bench.until_noted("spin begins")
    assert worker.ended() == 1
    assert "ignores its time-out" in worker.log
    assert set(bench.queue().job_ids) == {stuck.id, other.id}
    bench.nothing_is_left()


def test_a_newer_process_of_the_same_replica_ends_the_older(bench, start):
    worker = start(environment=REPLICA_1).ready()
    Scripts(bench.redis).run(register("rq", pool="uid-1", replica="r1", incarnation="newer", max_losses=2))
    assert worker.ended() == 1
    assert "another process has registered as replica=r1" in worker.log


def test_outside_a_pool_workers_take_lost_jobs_back_themselves(bench, start):
    worker = start()
    job = bench.enqueue("until", "test:go")
    bench.until_noted("waiter begins")
    worker.signal(signal.SIGKILL)
    worker.ended()
    bench.redis.set("test:go", 1)
    start().said(f"job={job.id} queue=default was lost")
    assert len(bench.finished(job).results()) == 1
    bench.nothing_is_left()
