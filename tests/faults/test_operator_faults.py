"""What may happen to the operator, its Redis and its API server while real workers run: the same end, and nobody is killed.

The operator is a process with the shipped rights on a real API server; pods are KWOK's, and each has a real worker.
"""

from __future__ import annotations

import os
import signal
import time

import pytest
from rq import Queue
from rq.serializers import JSONSerializer
from tests.apiserver.operator_process import kill, pool_body, steadily, until
from tests.faults.crew import JOBS
from tests.faults.pods import pod_workers
from tests.faults.results import PREFIX, killed, look, unfinished

from pool_contract import keys

PATIENCE_SECONDS = 90.0
STALE_SECONDS = 2.0
QUICK = ("--poll-seconds", "0.5", "--housekeeping-seconds", "0.5", "--stale-seconds", str(STALE_SECONDS))
AWAY_SECONDS = 2.0

pytestmark = pytest.mark.timeout(240)


@pytest.fixture
def redis(durable):
    with durable.client() as client:
        yield client


@pytest.fixture
def workers(control_plane, namespace, durable, tmp_path):
    with pod_workers(control_plane, namespace, durable, tmp_path) as made:
        yield made


@pytest.fixture
def pool(it, durable):
    """An operator that leads, and a pool of at most three replicas."""
    it.start(*QUICK, quick=True)
    it.apply(pool_body(durable.port, maxReplicas=3))
    it.wait_ready()
    return it


def enqueue(redis, number, seconds):
    queue = Queue("default", connection=redis, serializer=JSONSerializer)
    return [queue.enqueue(f"{JOBS}.work", seconds, result_ttl=-1).id for _ in range(number)]


def wanted(it):
    return it.get("deployment")["spec"]["replicas"]


def done(redis, jobs):
    return len(jobs) - len(unfinished(redis, jobs))


def until_busy(redis, number):
    until(lambda: redis.zcard(keys.leases(PREFIX, "default")) == number, what="all run", seconds=PATIENCE_SECONDS)


def comes_to_a_good_end(it, redis, workers, jobs, *, alive=lambda: None):
    """All done once, no replica left, and no job was ended with its replica."""

    def over():
        alive()
        return not unfinished(redis, jobs) and wanted(it) == 0 and not it.pods() and not workers.running

    until(over, what="all is done and none is left", seconds=PATIENCE_SECONDS)
    seen = look(redis, jobs)
    print(seen)
    assert seen["successes"] == {1: len(jobs)}
    assert (seen["failures"], seen["left behind"]) == (0, [])
    assert killed(redis, workers.removed) == []
    assert len(workers.removed) >= 1


def test_redis_that_hangs_is_unknown_and_nothing_is_lowered(pool, durable, redis, workers):
    jobs = enqueue(redis, 3, 2.0)
    until_busy(redis, 3)
    os.kill(durable.process.pid, signal.SIGSTOP)
    try:
        pool.told("QueueReachable", "QueueUnreachable")
        steadily(lambda: wanted(pool) == 3, what="three are kept", seconds=2 * STALE_SECONDS)
        assert pool.status()["decision"]["reason"] == "HoldUnknown"
    finally:
        os.kill(durable.process.pid, signal.SIGCONT)
    comes_to_a_good_end(pool, redis, workers, jobs)


def test_redis_that_forgets_everything_lowers_nothing_while_jobs_run(pool, redis, workers):
    enqueue(redis, 9, 300.0)
    until_busy(redis, 3)
    redis.flushall()
    pool.told("QueueReachable", "QueueUnreachable", words="lost keys")
    assert wanted(pool) == 3
    # the workers learn from their leases that their jobs are nobody's any more, end them, and only then may they go
    until(lambda: wanted(pool) == 0 and not pool.pods(), what="none is needed", seconds=PATIENCE_SECONDS)
    comes_to_a_good_end(pool, redis, workers, enqueue(redis, 6, 0.2))


def test_redis_that_is_killed_and_started_again_loses_nothing(pool, durable, redis, workers):
    jobs = enqueue(redis, 24, 0.5)
    until(lambda: done(redis, jobs) >= 3, what="work is on its way", seconds=PATIENCE_SECONDS)
    durable.kill()
    steadily(lambda: wanted(pool) == 3, what="three are kept", seconds=AWAY_SECONDS)
    durable.start()
    comes_to_a_good_end(pool, redis, workers, jobs)


def test_an_api_server_that_is_killed_stops_no_work(it, control_plane, durable, redis, workers):
    it.start(*QUICK)
    it.apply(pool_body(durable.port, maxReplicas=3))
    it.wait_ready()
    jobs = enqueue(redis, 40, 0.5)
    until(lambda: done(redis, jobs) >= 3, what="work is on its way", seconds=PATIENCE_SECONDS)
    server = next(one for one in control_plane.children if one.name == "kube-apiserver")
    os.kill(server.pid, signal.SIGKILL)
    server.stop()
    control_plane.children.remove(server)
    before = done(redis, jobs)
    until(lambda: done(redis, jobs) >= before + 6, what="work goes on", seconds=PATIENCE_SECONDS)
    control_plane._spawn("kube-apiserver", control_plane._apiserver())
    control_plane._until(lambda: control_plane.get("/readyz") == "ok", "the API server is back")

    def alive():
        """As a kubelet: an operator that could not renew its Lease in time has ended, and is started again."""
        if it.processes[-1].poll() is not None:
            assert it.processes[-1].returncode == 1
            it.start(*QUICK)

    comes_to_a_good_end(it, redis, workers, jobs, alive=alive)


def test_an_operator_that_is_killed_between_its_marks_and_the_lower_number(pool, redis, workers):
    jobs = enqueue(redis, 3, 1.0)
    until_busy(redis, 3)
    end = time.monotonic() + PATIENCE_SECONDS
    while not redis.keys(keys.drain(PREFIX, "*")):
        assert time.monotonic() < end
        time.sleep(0.005)
    kill(pool.processes[0])
    marked = redis.keys(keys.drain(PREFIX, "*"))
    assert wanted(pool) == 3
    assert len(pool.pods()) == 3
    jobs += enqueue(redis, 60, 0.5)
    pool.start(*QUICK, quick=True)
    pool.leads(1)
    until(lambda: not redis.exists(*marked), what="the marks are taken away again", seconds=PATIENCE_SECONDS)
    comes_to_a_good_end(pool, redis, workers, jobs)


def test_a_leader_that_is_frozen_at_work_ends_when_it_wakes(it, durable, redis, workers):
    first = it.start(*QUICK, quick=True)
    it.apply(pool_body(durable.port, maxReplicas=3))
    it.wait_ready()
    it.start(*QUICK, quick=True)
    jobs = enqueue(redis, 12, 0.5)
    until(lambda: done(redis, jobs) >= 3, what="work is on its way", seconds=PATIENCE_SECONDS)
    os.kill(first.pid, signal.SIGSTOP)
    it.leads(1)
    jobs += enqueue(redis, 12, 0.5)
    until(lambda: done(redis, jobs) >= 18, what="the second serves the pool", seconds=PATIENCE_SECONDS)
    os.kill(first.pid, signal.SIGCONT)
    assert first.wait(PATIENCE_SECONDS) == 1
    comes_to_a_good_end(it, redis, workers, jobs)
