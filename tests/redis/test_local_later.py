"""Work that comes later, on one machine through the whole operator: while it is not due its pool is at zero."""

from __future__ import annotations

import signal
import time
from datetime import timedelta

import pytest
from rq import Queue, Retry
from rq.job import Job
from rq.serializers import JSONSerializer
from tests.redis.local_run import finished_runs, machine, statuses, until

from pool_contract import keys

HOUR_SECONDS = 3600


@pytest.fixture
def redis(valkey):
    with valkey.client() as client:
        yield client


def queue(redis):
    return Queue("quick", connection=redis, serializer=JSONSerializer)


def changes(it):
    """(from, to) of each decision that the run has shown."""
    words = [line.split(" replicas, ")[0].split()[-3:] for line in it.log().splitlines() if " replicas, " in line]
    return [(int(before), int(after)) for before, arrow, after in words if arrow == "->"]


def an_hour_passes(redis, job):
    """However slow this machine is, a job is due after its pool went to zero, and not before."""
    scheduled = "rq:scheduled:quick"
    assert redis.zscore(scheduled, job.id) > time.time() + HOUR_SECONDS / 2
    redis.zadd(scheduled, {job.id: time.time()})


def ended(it, process):
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 0, it.log()


def test_a_retry_with_an_interval_and_its_dependent_wake_a_pool_that_is_at_zero(valkey, redis, tmp_path):
    first = queue(redis).enqueue("quick_jobs.fail_first", retry=Retry(max=1, interval=HOUR_SECONDS), job_timeout=60)
    second = queue(redis).enqueue("quick_jobs.work", 0.1, depends_on=first, job_timeout=60)
    with machine(tmp_path, port=valkey.port, maxReplicas=1) as it:
        process = it.start()
        until(lambda: changes(it) == [(0, 1), (1, 0)], "up, and down again")
        assert statuses(redis, [first.id, second.id]) == ["scheduled", "deferred"]
        an_hour_passes(redis, first)
        until(lambda: changes(it) == [(0, 1), (1, 0)] * 2, "up and down once more")
        assert statuses(redis, [first.id, second.id]) == ["finished", "finished"]
        ended(it, process)
    assert finished_runs(redis) == {first.id: 1, second.id: 1}
    assert redis.zcard("rq:scheduled:quick") == redis.zcard("rq:deferred:quick") == redis.zcard("rq:failed:quick") == 0


def test_a_scheduled_job_wakes_a_pool_that_is_at_zero(valkey, redis, tmp_path):
    now = queue(redis).enqueue("quick_jobs.work", 0.1, job_timeout=60)
    later = queue(redis).enqueue_in(timedelta(seconds=HOUR_SECONDS), "quick_jobs.work", 0.1, job_timeout=60)
    with machine(tmp_path, port=valkey.port, maxReplicas=1) as it:
        process = it.start()
        until(lambda: changes(it) == [(0, 1), (1, 0)], "up, and down again")
        assert statuses(redis, [now.id, later.id]) == ["finished", "scheduled"]
        an_hour_passes(redis, later)
        until(lambda: changes(it) == [(0, 1), (1, 0)] * 2, "up and down once more")
        ended(it, process)
    assert finished_runs(redis) == {now.id: 1, later.id: 1}


def test_a_dependent_whose_dependency_ended_beside_every_worker_is_found_at_zero(valkey, redis, tmp_path):
    """As when a worker dies between the end of a job and its dependents."""
    first = queue(redis).enqueue("quick_jobs.work", 0.1, job_timeout=60)
    second = queue(redis).enqueue("quick_jobs.work", 0.1, depends_on=first, job_timeout=60)
    redis.lrem(keys.queue("rq", "quick"), 0, first.id)
    redis.hset(keys.job("rq", first.id), "status", "finished")
    redis.zadd("rq:finished:quick", {first.id: 2e10})
    with machine(tmp_path, port=valkey.port, maxReplicas=1) as it:
        process = it.start()
        until(lambda: changes(it) == [(0, 1), (1, 0)], "up, and down again")
        assert Job.fetch(second.id, connection=redis, serializer=JSONSerializer).get_status() == "finished"
        ended(it, process)
    assert finished_runs(redis) == {second.id: 1}
