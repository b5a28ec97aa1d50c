"""Money, rates and overflow through the whole loop, on a real server."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from redis.asyncio import Redis
from tests.fakes.harness import AheadClock, enqueue, running

from pool_contract import keys
from pool_contract.messages import PoolSettings
from pool_operator.names import Limit, Mode

NOON = datetime(2030, 3, 14, 12, tzinfo=UTC).timestamp()
HALF_A_DAY = 12 * 3600.0


def play(scenario, server, **options):
    async def main():
        async with Redis(host="127.0.0.1", port=server.port) as redis, running(server.port, **options) as it:
            await scenario(it, redis)

    asyncio.run(main())


def at_noon():
    clock = AheadClock()
    clock.ahead_seconds = NOON - clock.unix()
    return clock


def busy(it, pool):
    return sum(bool(one.running) for one in it.backend.replicas.get(pool.uid, {}).values())


async def published(redis, pool):
    raw = await redis.hget(keys.pools("rq"), pool.uid)
    return PoolSettings.model_validate_json(raw) if raw else None


# --- money --------------------------------------------------------------------------------------------------------

# a tenth a second: a job of at most ten seconds may cost 1
BUDGET = {"pricePerReplicaHour": "360", "daily": {"hard": "20"}, "timeZone": "UTC"}
MONEY = {"budget": BUDGET, "jobs": {"timeout_seconds": 10}, "max_replicas": 1}


def test_a_spent_budget_starts_nothing_and_the_next_day_goes_on_by_itself(server):
    async def scenario(it, redis):
        pool = it.pool(**MONEY)
        it.controller.upsert(pool)
        await enqueue(redis, 1)
        await it.until(lambda: busy(it, pool) == 1, "a job runs, so claims are granted")
        await it.condition("pool", "BudgetAvailable", ("True", "Ok"))
        it.clock.ahead_seconds += 250  # 25 are spent
        it.controller.wake(pool.key)
        message = await it.condition("pool", "BudgetAvailable", ("False", "BudgetExhausted"))
        assert message.endswith("it goes on by itself when 2030-03-15 begins in UTC")
        late = await enqueue(redis, 2)
        await it.until(
            lambda: len(it.backend.done) == 1 and it.count(pool) == 0, "what ran has ended, and all are gone"
        )
        await it.steadily(lambda: it.count(pool) == 0 and len(it.backend.done) == 1, "nothing starts", seconds=1)
        assert it.reporter.latest("pool")["decision"]["limitedBy"] == "Budget"
        assert it.metric("limit_binding", limit="Budget") == 1
        assert it.metric("spend", period="day") >= 25
        it.clock.ahead_seconds += HALF_A_DAY
        it.controller.wake(pool.key)
        await it.until(lambda: set(late) <= set(it.backend.done), "the next day goes on")
        await it.condition("pool", "BudgetAvailable", ("True", "Ok"))
        assert it.backend.killed == []

    play(scenario, server, clock=at_noon(), backend_options={"job_seconds": 2.0})


def test_claims_stop_when_nobody_grants_any_more(server):
    async def scenario(it, redis):
        pool = it.pool(**MONEY, min_replicas=1)
        it.controller.upsert(pool)
        await enqueue(redis, 1)
        await it.until(lambda: len(it.backend.done) == 1, "one is done")
        await it.stop()
        it.task = None
        await redis.hset(keys.limits("rq", pool.uid), "granted_until", 1)  # the leader's word has ended
        await enqueue(redis, 1)
        await it.steadily(lambda: len(it.backend.done) == 1, "no claim", seconds=1)
        assert await redis.llen(keys.queue("rq", "default")) == 1

    play(scenario, server, clock=at_noon())


def test_what_is_spent_stands_in_the_status_and_time_alone_does_not_change_it(server):
    async def scenario(it, redis):
        pool = it.pool(budget=BUDGET, min_replicas=1, jobs={"timeout_seconds": 10})
        it.controller.upsert(pool)
        await it.until(lambda: it.count(pool) == 1, "one replica")
        await it.until(
            lambda: it.reporter.latest("pool").get("spend", {}).get("day", {}).get("ratePerHour") == "360", "told"
        )
        await it.until(lambda: it.reporter.latest("pool")["readyReplicas"] == 1, "ready")
        before = it.reporter.latest("pool")
        passes = len(it.decisions)
        it.clock.ahead_seconds += 30
        it.controller.wake(pool.key)
        await it.until(lambda: len(it.decisions) > passes, "another look")
        assert it.reporter.latest("pool") == before
        assert it.metric("spend", period="day") >= 3

    play(scenario, server, clock=at_noon())


def test_dry_run_grants_nothing_and_publishes_nothing(server):
    async def scenario(it, redis):
        pool = it.pool(**MONEY, mode="DryRun")
        it.controller.upsert(pool)
        await enqueue(redis, 1)
        await it.until(lambda: (one := it.last()) and one.replicas == 1 and one.granted is not None, "decided")
        await it.condition("pool", "ScalingActive", ("False", "DryRun"))
        assert [key for key in await redis.keys("rq:pp:*") if not key.startswith(b"rq:pp:probe:")] == []

    play(scenario, server, clock=at_noon())


def test_workers_of_a_pool_that_becomes_a_dry_run_are_not_starved(server):
    async def scenario(it, redis):
        pool = it.pool(**MONEY, min_replicas=1)
        it.controller.upsert(pool)
        await enqueue(redis, 1)
        await it.until(lambda: len(it.backend.done) == 1, "one is done")
        it.controller.upsert(replace(pool, generation=2, spec=pool.spec.model_copy(update={"mode": Mode.DRY_RUN})))
        await it.condition("pool", "ScalingActive", ("False", "DryRun"))
        await redis.hset(keys.limits("rq", pool.uid), "granted_until", 1)  # as after a minute
        it.controller.wake(pool.key)
        await enqueue(redis, 1)
        await it.until(lambda: len(it.backend.done) == 2, "the next one is done")

    play(scenario, server, clock=at_noon())


def test_limits_of_claims_are_published(server):
    async def scenario(it, redis):
        pool = it.pool(budget=BUDGET, jobs={"timeout_seconds": 10, "rate_per_minute": 50, "max_concurrent": 7})
        it.controller.upsert(pool)
        found = await it.until_async(lambda: published(redis, pool), "settings")
        assert (found.rate_per_minute, found.max_concurrent, found.commitment) == (50, 7, pytest.approx(1.0))

    play(scenario, server)


# --- overflow -----------------------------------------------------------------------------------------------------


def test_an_overflow_pool_helps_while_the_other_one_cannot_keep_up(server):
    async def scenario(it, redis):
        own = it.pool("own", max_replicas=1)
        cloud = it.pool("cloud", max_replicas=3, overflow={"forPoolRef": {"name": "own"}, "afterWaitSeconds": 0})
        it.controller.upsert(own)
        it.controller.upsert(cloud)
        for name in ("own", "cloud"):
            await it.condition(name, "Ready", ("True", "Ok"))
        jobs = await enqueue(redis, 4)
        await it.until(lambda: busy(it, cloud) > 0, "the other pool helps")
        assert it.count(own) == 1
        assert it.last("own").limited_by is Limit.MAXIMUM
        await it.until(lambda: sorted(it.backend.done) == sorted(jobs), "all done")
        await it.until(lambda: it.count(own) == it.count(cloud) == 0, "none left")
        assert it.backend.killed == []
        reasons = {one["reason"] for status in it.reporter.statuses["cloud"] for one in status["conditions"]}
        assert "QueueShared" not in reasons

    play(scenario, server, backend_options={"job_seconds": 1.0})


def test_what_an_overflow_pool_runs_needs_no_replica_of_the_other_one(server):
    async def scenario(it, redis):
        own = it.pool("own", max_replicas=1)
        cloud = it.pool("cloud", max_replicas=3, overflow={"forPoolRef": {"name": "own"}, "afterWaitSeconds": 0})
        it.controller.upsert(own)
        it.controller.upsert(cloud)
        await enqueue(redis, 2)
        await it.until(lambda: busy(it, cloud) == busy(it, own) == 1, "both work")
        it.backend.hurried |= it.backend.replicas[own.uid].keys()
        await it.until(lambda: it.count(own) == 0, "the own pool is done and gone")
        assert busy(it, cloud) == 1

    play(scenario, server, backend_options={"job_seconds": 600.0})


def test_an_overflow_pool_says_that_the_other_one_is_not_there(server):
    async def scenario(it, redis):
        cloud = it.pool("cloud", max_replicas=3, overflow={"forPoolRef": {"name": "own"}, "afterWaitSeconds": 0})
        missing = (
            f"spec.overflow.forPoolRef 'own': there is no such pool in namespace {cloud.key.namespace}: this pool holds"
        )
        it.controller.upsert(cloud)
        assert await it.condition("cloud", "ScalingActive", ("False", "HoldUnknown")) == missing
        await enqueue(redis, 2)
        assert await it.condition("cloud", "ScalingLimited", ("True", "Overflow")) == missing
        it.controller.upsert(it.pool("own", max_replicas=1))
        await it.condition("cloud", "ScalingActive", ("True", "Ok"))

    play(scenario, server)


def test_an_overflow_pool_for_itself_is_refused(server):
    async def scenario(it, _redis):
        it.controller.upsert(it.pool("own", overflow={"forPoolRef": {"name": "own"}}))
        assert await it.condition("own", "Ready", ("False", "SpecInvalid")) == (
            "spec.overflow.forPoolRef: 'own' is this pool itself; name the pool that it is to help out"
        )

    play(scenario, server)
