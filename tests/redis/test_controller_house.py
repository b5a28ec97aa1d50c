"""House is kept for claims of pools as they were: a queue taken out of the spec, a pool deleted while nobody led."""

from __future__ import annotations

import asyncio

import pytest
from redis.asyncio import Redis
from tests.fakes.harness import enqueue, running

from pool_contract import keys
from pool_contract.messages import PoolSettings
from pool_contract.scripts import AsyncScripts, claim, publish_settings, register
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


def test_a_follower_forgets_deleted_pools_and_house_is_kept_for_them_once_it_leads(server, monkeypatch):
    monkeypatch.setattr("pool_operator.runtime.controller.FOLLOWER_KEEPS_SECONDS", 0.0)

    async def main():
        async with Redis(host="127.0.0.1", port=server.port) as redis:
            gone, other = "uid-of-gone", "other"
            settings = PoolSettings(namespace="test", name="gone", queues=("left",), deleted=True)
            await AsyncScripts(redis).run(publish_settings("rq", pool=gone, epoch=1, settings=settings))
            job = await claim_and_die(redis, gone, "left")
            async with running(server.port, start=False, backend_options={"work": False}) as it:
                it.controller.upsert(it.pool("gone", uid=gone, queues=("left",)))
                it.controller.upsert(it.pool(other))
                it.controller.remove(gone)
                assert [entry.pool.key.name for entry in it.controller._store] == [other]
                it.start()  # the leader died before it had ended the pool
                await it.until_async(lambda: redis.llen("rq:queue:left"), "the job stands in its queue again")
                assert await redis.lrange("rq:queue:left", 0, -1) == [job.encode()]

    asyncio.run(main())


def test_a_follower_remembers_a_pool_that_was_just_deleted_and_ends_it_once_it_leads(server):
    async def main():
        async with (
            Redis(host="127.0.0.1", port=server.port) as redis,
            running(server.port, start=False, backend_options={"work": False}) as it,
        ):
            pool = it.pool()
            settings = PoolSettings(namespace="test", name="pool", queues=("default",))
            await AsyncScripts(redis).run(publish_settings("rq", pool=pool.uid, epoch=1, settings=settings))
            it.controller.upsert(pool)
            it.controller.remove(pool.uid)
            it.start()
            await it.until(lambda: len(it.controller._store) == 0, "it is retired")
            assert not await redis.hexists(keys.pools("rq"), pool.uid)

    asyncio.run(main())
