"""A running worker records its runs, and keeps to the limits of its pool."""

from __future__ import annotations

import signal

import pytest
from rq import Retry
from tests.redis.worker_harness import Bench, eventually, workers

from pool_contract import keys
from pool_contract.messages import PoolSettings
from pool_contract.scripts import Scripts, grant, publish_settings, read, reclaim

UID = "uid-1"
POOL = {"PROCESSINGPOOL_POOL": "media/speech", "PROCESSINGPOOL_POOL_UID": UID, "PROCESSINGPOOL_REPLICA": "r1"}


@pytest.fixture
def bench(valkey):
    bench = Bench(valkey)
    yield bench
    bench.redis.close()


@pytest.fixture
def start(valkey, tmp_path):
    with workers(valkey, tmp_path) as start:
        yield start


def publish(bench, **fields):
    settings = PoolSettings(namespace="media", name="speech", queues=("default",), **fields)
    Scripts(bench.redis).run(publish_settings("rq", pool=UID, epoch=1, settings=settings))


def state(bench):
    return Scripts(bench.redis).run(read("rq", queues=["default"], pools=[UID])).pools[UID]


def runs(bench):
    return [(one.record.job, str(one.record.outcome)) for one in state(bench).ended]


def test_every_run_is_recorded_once_with_how_it_ended(bench, start):
    start(environment=POOL).ready()
    for name, function, options in (
        ("good", "add", {}),
        ("bad", "fail", {}),
        ("again", "fail_once", {"retry": Retry(max=1)}),
        ("asks", "ask_again", {}),
        ("big", "no_memory", {}),
        ("not-there", "missing", {}),
        ("not-allowed", "_private", {}),
        ("not-its-own", "getcwd", {}),
    ):
        arguments = (1, 2) if function == "add" else ()
        job = bench.enqueue(function, *arguments, job_id=name, **options)
        bench.wait(job, "finished", "failed")
    bench.nothing_is_left()
    assert runs(bench) == [
        ("good", "Finished"),
        ("bad", "Failed"),
        ("again", "Failed"),
        ("again", "Finished"),
        ("asks", "Failed"),
        ("asks", "Finished"),
        ("big", "OutOfMemory"),
        ("not-there", "Failed"),
    ], "what was refused is no run"
    assert {one.record.replica for one in state(bench).ended} == {"r1"}


def test_a_killed_worker_s_run_is_recorded_as_lost_and_the_next_one_as_what_it_is(bench, start):
    worker = start(environment=POOL).ready()
    job = bench.enqueue("until", "test:go")
    bench.until_noted("waiter begins")
    worker.signal(signal.SIGKILL)
    worker.ended()
    call = reclaim("rq", queues=["default"], max_losses=2)
    eventually(lambda: Scripts(bench.redis).run(call), "its lease ends")
    assert runs(bench) == [(job.id, "Lost")]
    bench.redis.set("test:go", 1)
    start(environment=POOL | {"PROCESSINGPOOL_REPLICA": "r2"})
    bench.finished(job)
    bench.nothing_is_left()
    assert runs(bench) == [(job.id, "Lost"), (job.id, "Finished")]


def test_a_run_that_is_handed_back_is_none(bench, start):
    worker = start("--grace-seconds", "1", environment=POOL).ready()
    bench.enqueue("until", "test:go")
    bench.until_noted("waiter begins")
    assert worker.stop() == 0
    assert bench.queue().count == 1
    assert runs(bench) == []


def test_a_limited_worker_says_why_it_waits_once_and_goes_on_when_it_may(bench, start):
    publish(bench, slots=3, commitment=1.0)
    worker = start(environment=POOL).ready()
    jobs = [bench.enqueue("add", 1, 2) for _ in range(5)]
    worker.said("jobs wait, although a slot is free: the hard budget leaves no money")
    Scripts(bench.redis).run(grant("rq", pool=UID, epoch=1, granted=3.0, used=0.0, ttl_seconds=600))
    eventually(lambda: state(bench).allowance_used == 3.0, "three are paid for")
    eventually(lambda: bench.queue().count == 2, "two wait")
    publish(bench, slots=3, rate_per_minute=1)
    bench.redis.lpush(keys.starts("rq", UID), bench.redis.time()[0])
    worker.said("as many as jobs.ratePerMinute lets start have started within the last minute")
    publish(bench, slots=3, max_concurrent=1)
    for job in jobs:
        bench.finished(job)
    assert worker.log.count("hard budget leaves no money") == 1
    assert worker.log.count("ratePerMinute") == 1


def test_what_a_job_took_at_its_most_is_measured_also_when_it_lasts_a_moment(bench, start):
    worker = start(environment=POOL).ready()
    large, small = (bench.enqueue("take", size, job_id=str(size)) for size in (200, 1))
    for job in (large, small):
        bench.finished(job)
    peaks = {one.record.job: one.record.peak >> 20 for one in state(bench).ended}
    assert 190 < peaks["200"] < 300
    assert peaks["1"] < 100
    assert "processingpool_worker_job_memory_peak_bytes 2" in worker.get("/metrics")[1]


def test_jobs_at_once_share_what_they_take(bench, start):
    publish(bench, slots=2)
    start(environment=POOL).ready()
    jobs = [bench.enqueue("hold", 150, "test:go") for _ in range(2)]
    eventually(lambda: reported_peak(bench) > 130, "both are looked at together")
    bench.redis.set("test:go", 1)
    for job in jobs:
        bench.finished(job)
    assert all(130 < one.record.peak >> 20 < 220 for one in state(bench).ended)


def reported_peak(bench):
    """The least of two jobs', in MiB."""
    jobs = state(bench).replicas["r1"].report.jobs
    return min((one.peak_memory_bytes or 0 for one in jobs), default=0) >> 20 if len(jobs) == 2 else 0
