"""Workers that are killed, frozen and told to stop at random while jobs run: each job ends with exactly one result."""

from __future__ import annotations

import random
import signal
import time
from collections import Counter

import pytest
from rq import Retry
from rq.results import Result
from tests.redis.worker_harness import Bench, workers
from tests.servers import redis_server

from pool_contract.scripts import Scripts, ready, reclaim, sweep

QUEUES = ("urgent", "default")
STEPS = 60
NO_LIMIT = 1000
SETTLE_SECONDS = 90.0


@pytest.fixture
def bench():
    with redis_server("valkey", "--notify-keyspace-events", "Kl") as server:
        bench = Bench(server)
        yield bench
        bench.redis.close()


def keep_house(scripts):
    """What the leader does."""
    scripts.run(reclaim("rq", queues=QUEUES, max_losses=NO_LIMIT))
    scripts.run(ready("rq", queues=QUEUES))
    scripts.run(sweep("rq", queues=QUEUES))


def enqueue_one(bench, chance, jobs):
    kind = chance.random()
    again, queue = Retry(max=100), chance.choice(QUEUES)
    if kind < 0.5:
        return bench.enqueue("add", 1, 2, retry=again, queue=queue)
    if kind < 0.8:
        return bench.enqueue("spin", chance.uniform(0, 1.5), retry=again, queue=queue)
    if kind < 0.9:
        return bench.enqueue("fail_once", retry=again, queue=queue)
    return bench.enqueue("add", 1, 2, retry=again, queue=queue, depends_on=jobs[-1])


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1])
def test_whatever_happens_to_workers_each_job_has_exactly_one_result(bench, tmp_path, seed):
    chance, scripts = random.Random(seed), Scripts(bench.redis)
    jobs, faults, frozen = [], Counter(), []
    with workers(bench.server, tmp_path) as start_worker:

        def start():
            replica = {
                "PROCESSINGPOOL_POOL": "media/speech",
                "PROCESSINGPOOL_POOL_UID": "uid-1",
                "PROCESSINGPOOL_REPLICA": f"r{time.monotonic_ns()}",
            }
            grace = str(chance.choice([1, 2, 8]))
            alive.append(start_worker(*QUEUES, "--slots", "2", "--grace-seconds", grace, environment=replica))

        alive = []
        for _ in range(3):
            start()
        for step in range(STEPS):
            jobs += [enqueue_one(bench, chance, jobs) if jobs else bench.enqueue("add", 1, 2) for _ in range(3)]
            if step % 4 == 3:
                victim = alive.pop(0)
                fault = chance.choice((signal.SIGTERM, signal.SIGKILL, signal.SIGSTOP))
                victim.signal(fault)
                faults[fault.name] += 1
                if fault is signal.SIGSTOP:
                    frozen.append(victim)
                    if len(frozen) > 2:
                        thawed = frozen.pop(0)  # mostly frozen longer than a lease
                        thawed.signal(signal.SIGCONT)
                        alive.append(thawed)
                if len(alive) < 3:
                    start()
            keep_house(scripts)
            time.sleep(0.15)  # the pace of faults, not a wait for anything
        for one in frozen:
            one.signal(signal.SIGCONT)
        end = time.monotonic() + SETTLE_SECONDS
        while (states := Counter(job.get_status().value for job in jobs)).keys() != {"finished"}:
            assert time.monotonic() < end, (states, faults)
            keep_house(scripts)
            time.sleep(0.05)
        wrong = [job.id for job in jobs if [one.type for one in job.results()].count(Result.Type.SUCCESSFUL) != 1]
        assert not wrong, (wrong, faults)
        bench.nothing_is_left()
