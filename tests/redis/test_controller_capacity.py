"""What the cluster gives and what memory allows, through the whole loop, on a real server."""

from __future__ import annotations

import asyncio

from redis.asyncio import Redis
from tests.fakes.harness import AheadClock, enqueue, running

from pool_contract import keys
from pool_contract.messages import PoolSettings


def play(scenario, server, **options):
    async def main():
        async with Redis(host="127.0.0.1", port=server.port) as redis, running(server.port, **options) as it:
            await scenario(it, redis)

    asyncio.run(main())


def test_a_quota_is_asked_again_after_a_while_and_the_status_keeps_its_words(server):
    async def scenario(it, redis):
        pool, it.backend.most = it.pool(max_replicas=6), 2
        it.controller.upsert(pool)
        await enqueue(redis, 6)
        await it.until(lambda: it.backend.wanted.get(pool.uid) == 2, "only what is there is asked for")
        told = await it.condition("pool", "CapacityAvailable", ("False", "CapacityShort"))
        assert told.startswith(
            "6 replicas wanted, 2 can be had: the cluster refuses new replicas: exceeded quota: gpus"
        )
        assert "next try at" in told
        assert it.reporter.latest("pool")["decision"]["limitedBy"] == "Capacity"
        it.backend.most = None
        it.clock.ahead_seconds += 61
        it.controller.wake(pool.key)
        await it.until(lambda: it.count(pool) == 6, "the probe is given, and so are the others")

    play(scenario, server, clock=AheadClock(), backend_options={"job_seconds": 60.0})


def test_a_kill_for_memory_takes_a_slot_from_the_workers_at_once(server):
    async def scenario(it, redis):
        memory = {"base": "0", "perJob": "1Gi", "marginPercent": 0}
        pool = it.pool(concurrency={"maxPerReplica": 4, "memory": memory})

        async def slots():
            raw = await redis.hget(keys.pools("rq"), pool.uid)
            return PoolSettings.model_validate_json(raw).slots if raw else None

        async def is_slots(number):
            return await slots() == number

        it.controller.upsert(pool)
        await it.until_async(lambda: is_slots(4), "four slots are published")
        it.backend.out_of_memory_at = it.clock.unix()
        it.controller.wake(pool.key)
        await it.until_async(lambda: is_slots(3), "three slots are published")
        await it.until(lambda: it.reporter.latest("pool")["slotsPerReplica"] == 3, "the status tells")

    play(scenario, server)
