"""What a running controller decided is in the ledger and can be decided again, to the bit; over a real Redis."""

from __future__ import annotations

import asyncio

from redis.asyncio import Redis as AsyncRedis
from tests.fakes.harness import enqueue, running

from pool_contract import ledger
from pool_operator.app.workload import workload
from pool_operator.engine.record import Call, read_records
from pool_operator.engine.replay import Replayed, replay
from pool_operator.runtime.redis_recorder import RedisRecorder

JOBS = 25


def test_every_decision_of_a_run_is_recorded_and_replayed_to_the_bit(server):
    async def go():
        def recorder(it):
            return RedisRecorder(epoch=lambda _uid: it.epoch, clock=it.clock)

        async with running(server.port, recorder=recorder) as it, AsyncRedis(port=server.port) as redis:
            pool = it.pool(max_replicas=3)
            it.controller.upsert(pool)
            await it.until(it.last, "a first decision")
            await enqueue(redis, JOBS)
            await it.until(lambda: len(it.backend.done) == JOBS, "all jobs done")
            await it.until(lambda: it.count(pool) == 0, "all replicas gone")
            return pool, [decision for _, decision, _ in it.decisions]

    pool, decisions = asyncio.run(go())
    with server.client() as client:
        entries = list(read_records(ledger.read_stream(client, "rq", pool.uid)))
    replayed = list(replay(entries))
    assert all(isinstance(one, Replayed) and one.equal for one in replayed)
    assert [one.decision for one in replayed][: len(decisions)] == decisions
    assert max(decision.replicas for decision in decisions) == 3
    assert len(replayed) == sum(isinstance(entry, Call) for entry in entries)
    found = workload(entries)
    assert len(found.jobs) + found.unfinished == JOBS
