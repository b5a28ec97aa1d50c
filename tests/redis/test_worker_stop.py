"""How a worker ends: signals, deadlines, drain marks. A job is never lost and never stranded by it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest
from rq import Retry
from tests.redis.worker_harness import COMMAND, HERE, QUICK, Bench, clean_environment, eventually, workers

from pool_contract import keys
from pool_contract.messages import DrainOrder
from pool_contract.scripts import Scripts, drain, undrain

POOL = {"PROCESSINGPOOL_POOL": "media/speech", "PROCESSINGPOOL_POOL_UID": "uid-1", "PROCESSINGPOOL_REPLICA": "r1"}


@pytest.fixture
def bench(valkey):
    bench = Bench(valkey)
    yield bench
    bench.redis.close()


@pytest.fixture
def start(valkey, tmp_path):
    with workers(valkey, tmp_path) as start:
        yield start


def test_a_signal_that_meets_an_enqueue_strands_nothing(bench, start):
    """Stock RQ loses or strands most jobs here: the signal hits between the pop and the bookkeeping."""
    jobs = []
    for round_number in range(4):
        worker = start("a", "default").ready()
        for _ in range(10 + round_number):
            jobs.append(bench.enqueue("add", 1, 2))
        assert worker.stop() == 0
        for job in jobs:
            waits = job.id.encode() in bench.redis.lrange("rq:queue:default", 0, -1)
            assert (job.get_status() == "finished") != waits, job.get_status()
    bench.nothing_is_left()
    start("--burst", "a", "default")
    for job in jobs:
        assert len(bench.finished(job).results()) == 1


def test_a_busy_worker_finishes_and_takes_nothing_new(bench, start):
    worker = start()
    job = bench.enqueue("until", "test:go")
    bench.until_noted("waiter begins")
    worker.signal(signal.SIGTERM)
    worker.said("SIGTERM: no new jobs; 1 running")
    later = bench.enqueue("add", 1, 1)
    bench.redis.set("test:go", 1)
    assert worker.ended() == 0
    assert bench.job(job.id).return_value() == "waiter"
    assert later.get_status() == "queued"
    bench.nothing_is_left()


def test_at_the_deadline_jobs_go_back_to_the_head_in_order_and_no_retry_is_used(bench, start):
    worker = start("--slots", "2", "--grace-seconds", "2")
    first = bench.enqueue("spin", 300, retry=Retry(max=2), job_timeout=600)
    bench.until_noted("spin begins")
    second = bench.enqueue("spin", 300, job_timeout=600)
    bench.until_noted("spin begins", times=2)
    behind = bench.enqueue("add", 1, 1)
    assert worker.stop() == 0
    assert bench.queue().job_ids == [first.id, second.id, behind.id]
    assert first.get_status() == "queued"
    assert bench.job(first.id).retries_left == 2
    assert not bench.redis.hexists(first.key, "pp_losses")
    assert first.latest_result() is None
    bench.nothing_is_left()


def test_a_second_signal_hands_back_at_once(bench, start):
    worker = start("--grace-seconds", "600")
    job = bench.enqueue("spin", 300, job_timeout=600)
    bench.until_noted("spin begins")
    worker.signal(signal.SIGINT)
    worker.said("SIGINT: no new jobs")

    def again():
        worker.signal(signal.SIGINT)
        return "handed back now" in worker.log

    eventually(again, lambda: worker.log)
    assert worker.ended() == 0
    assert bench.queue().job_ids == [job.id]


def test_job_code_that_ignores_its_interruption_cannot_finish(bench, start):
    worker = start("--grace-seconds", "1")
    job = bench.enqueue("hang", job_timeout=600)
    bench.until_noted("hang begins")
    assert worker.stop() == 0
    assert bench.queue().job_ids == [job.id]


def test_the_signal_is_heard_before_anything_is_ready(start):
    worker = start()
    eventually(lambda: _handles_sigterm(worker.process.pid), "the handler is there")
    assert worker.stop() == 0


def _handles_sigterm(pid):
    with open(f"/proc/{pid}/status") as status:
        caught = next(line for line in status if line.startswith("SigCgt:"))
    return int(caught.split()[1], 16) >> (signal.SIGTERM - 1) & 1


def test_a_drained_worker_takes_nothing_until_the_mark_goes(bench, start):
    worker = start("--slots", "2", environment=POOL)
    running = bench.enqueue("until", "test:go")
    bench.until_noted("waiter begins")
    scripts = Scripts(bench.redis)
    order = DrainOrder(reason="test", at=time.time(), epoch=1)
    assert scripts.run(drain("rq", pool="uid-1", epoch=1, orders={"r1": order})) == {"r1": 1}
    waiting = bench.enqueue("add", 1, 1)
    bench.redis.set("test:go", 1)
    bench.finished(running)
    eventually(lambda: scripts.run(drain("rq", pool="uid-1", epoch=1, orders={"r1": order})) == {"r1": 0}, "no claims")
    assert waiting.get_status() == "queued"
    scripts.run(undrain("rq", pool="uid-1", epoch=1, replicas=["r1"]))
    bench.finished(waiting)
    assert worker.process.poll() is None


def test_the_real_deadline_may_come_before_the_grace_ends(bench, start):
    worker = start("--grace-seconds", "600", environment=POOL)
    job = bench.enqueue("spin", 300, job_timeout=600)
    bench.until_noted("spin begins")
    order = DrainOrder(reason="evicted", at=time.time(), epoch=1, release_at=time.time() + 600)
    scripts = Scripts(bench.redis)
    scripts.run(drain("rq", pool="uid-1", epoch=1, orders={"r1": order}))
    worker.signal(signal.SIGTERM)
    worker.said("SIGTERM: no new jobs")
    sooner = order.model_copy(update={"release_at": time.time()})
    scripts.run(drain("rq", pool="uid-1", epoch=1, orders={"r1": sooner}))
    assert worker.ended() == 0
    assert bench.queue().job_ids == [job.id]


PARENT = """
import os, subprocess, sys
child = subprocess.Popen([*sys.argv[1:], "--parent-pid", str(os.getpid())])
print(child.pid, flush=True)
child.wait()
"""


def test_a_worker_ends_with_its_parent_and_hands_its_job_back(bench, tmp_path):
    job = bench.enqueue("spin", 300, job_timeout=600)
    with (tmp_path / "log").open("wb") as log:
        arguments = ["--url", bench.server.url, "--path", str(HERE), "--allow", "worker_jobs:*", *QUICK]
        parent = subprocess.Popen(
            [sys.executable, "-S", "-c", PARENT, str(COMMAND), "worker", *arguments],
            stdout=subprocess.PIPE,
            stderr=log,
            env=clean_environment(),
        )
    with parent:
        child = int(parent.stdout.readline())
        bench.until_noted("spin begins")
        parent.kill()
    eventually(lambda: bench.queue().job_ids == [job.id], "the job waits again")
    eventually(lambda: _gone(child), "the worker has ended")


def _gone(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def test_at_the_time_of_a_drain_order_jobs_are_handed_back_without_a_signal(bench, start):
    worker = start("--grace-seconds", "600", environment=POOL)
    job = bench.enqueue("spin", 300, job_timeout=600)
    bench.until_noted("spin begins")
    order = DrainOrder(reason="node goes", at=time.time(), epoch=1, release_at=time.time())
    Scripts(bench.redis).run(drain("rq", pool="uid-1", epoch=1, orders={"r1": order}))
    eventually(lambda: bench.queue().job_ids == [job.id], "the job waits again")
    assert worker.process.poll() is None


def test_a_worker_in_burst_mode_ends_when_the_queues_are_empty(bench, start):
    jobs = [bench.enqueue("add", 1, n) for n in range(5)]
    worker = start("--burst", "--slots", "2")
    assert worker.ended() == 0
    assert [bench.job(job.id).return_value() for job in jobs] == [1, 2, 3, 4, 5]
    assert bench.redis.smembers("rq:workers") == set()
    assert bench.redis.exists(keys.queue("rq", "default")) == 0
