"""House is kept for claims of pools as they were: a queue taken out of the spec, a pool deleted while nobody led."""

from __future__ import annotations

import asyncio

import pytest
from redis.asyncio import Redis
from tests.fakes.harness import enqueue, running

from pool_contract import keys
from pool_contract.scripts import AsyncScripts, claim, register
from pool_operator.runtime.housekeeping import Housekeeper


@pytest.fixture(autouse=True)
def _at_once(monkeypatch):
    """The tests let no lease run out by an outage: nobody has to be watched first."""
    monkeypatch.setattr(Housekeeper, "quarantined", lambda _self, _seen: False)


async def claim_and_die(redis, pool_uid, queue):
    """A job taken by a replica that is never heard of again."""
    (job,) = await enqueue(redis, queue=queue)
    run = AsyncScripts(redis).run
    await run(register("rq", pool=pool_uid, replica="dead", incarnation="i", max_losses=2))
    call = claim(
        "rq",
        pool=pool_uid,
        replica="dead",
        incarnation="i",
        worker="w",
        queues=[queue],
        execution_id="e",
        lease_seconds=2,
    )
    assert (await run(call)).claimed.job_id == job
    return job


@pytest.mark.parametrize("restarted", [False, True], ids=["same operator", "operator restarted"])
def test_a_claim_on_a_queue_taken_out_of_the_spec_is_taken_back(server, restarted):
    async def main():
        async with Redis(host="127.0.0.1", port=server.port) as redis:
            options = {"backend_options": {"work": False}}
            async with running(server.port, **options) as it:
                pool = it.pool(queues=("default", "old"))
                it.controller.upsert(pool)
                await it.until(lambda: it.last(), "a decision")
                job = await claim_and_die(redis, pool.uid, "old")
                smaller = it.pool(uid=pool.uid, generation=2, created_at=pool.created_at, queues=("default",))
                it.controller.upsert(smaller)
                if not restarted:
                    await returned(it, redis, job)
                    return
            async with running(server.port, **options) as it:
                it.controller.upsert(smaller)
                await returned(it, redis, job)

    async def returned(it, redis, job):
        await it.until_async(lambda: redis.llen("rq:queue:old"), "the job stands in its queue again")
        assert await redis.lrange("rq:queue:old", 0, -1) == [job.encode()]
        assert not await redis.exists(keys.owner("rq", job), keys.claims("rq", "dead"))

    asyncio.run(main())
