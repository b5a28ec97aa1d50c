"""The closed loop on a real server: work comes, replicas come, work ends, replicas go; nothing running is ended."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace

import pytest
from redis.asyncio import Redis
from tests.fakes.harness import enqueue, running, schedule

from pool_contract import keys
from pool_contract.messages import DrainOrder, PoolSettings
from pool_contract.scripts import AsyncScripts, StaleEpochError, publish_settings
from pool_operator.names import Reason


def play(scenario, server, **options):
    async def main():
        async with Redis(host="127.0.0.1", port=server.port) as redis, running(server.port, **options) as it:
            await scenario(it, redis)

    asyncio.run(main())


@pytest.mark.parametrize("events", ["Klz", ""], ids=["push", "poll"])
def test_from_zero_to_many_and_back_to_zero(server, events):
    async def scenario(it, redis):
        await redis.config_set("notify-keyspace-events", events)
        pool = it.pool(max_replicas=4)
        it.controller.upsert(pool)
        await it.until(lambda: it.reporter.latest("pool"), "a first status")
        assert it.count(pool) == 0
        jobs = await enqueue(redis, 12)
        await it.until(lambda: it.backend.peak == 4, "four replicas")
        assert it.backend.applied[0] == ("pool", 4), "the full target in the first write"
        await it.until(lambda: len(it.backend.done) == 12, "all done")
        await it.until(lambda: it.count(pool) == 0, "none left")
        assert sorted(it.backend.done) == sorted(jobs)
        assert it.backend.killed == []
        up = [one for one in it.reporter.events if one[1].message.startswith("0 -> 4")]
        assert len(up) == 1
        kinds = {one["type"] for one in it.reporter.latest("pool")["conditions"]}
        assert len(kinds) == 7

    play(scenario, server)


def test_what_replicas_cost_is_counted(server):
    async def scenario(it, redis):
        pool = it.pool(budget={"pricePerReplicaHour": "3600"})  # one a second
        it.controller.upsert(pool)
        await enqueue(redis, 2)
        await it.until(lambda: len(it.backend.done) == 2 and it.count(pool) == 0, "done and gone")

        def total(name):
            lines = it.metrics.exposition().decode().splitlines()
            return next((float(line.split()[-1]) for line in lines if line.startswith(f"processingpool_{name}{{")), 0)

        await it.until(lambda: total("cost_total") > 0, "a cost")
        assert total("cost_total") == pytest.approx(total("replica_seconds_total"))

    play(scenario, server)


def test_a_lowering_that_hits_a_replica_at_work_is_counted(server):
    """A backend that takes the wrong one, as a ReplicaSet would that ranks otherwise than we think."""

    async def scenario(it, redis):
        def replicas(pool):
            return it.backend.replicas[pool.uid].values()

        pool = it.pool()
        it.controller.upsert(pool)
        await enqueue(redis, 1)
        await it.until(lambda: it.count(pool) == 1 and any(one.running for one in replicas(pool)), "one at work")
        it.backend.job_seconds = 0.1
        done = await enqueue(redis, 1)
        lower = it.backend._lower

        def wrong(pool, target, mine):
            busy = frozenset(one.id for one in mine.values() if one.running)
            lower(pool, replace(target, drained=busy), mine)

        it.backend._lower = wrong
        assert it.metric("hits_total") == 0
        await it.until(lambda: it.backend.killed, "one is hit")
        assert it.backend.done == done
        await it.until(lambda: it.metric("hits_total") == 1, "it is counted")
        assert it.metric("scale_decisions_total", direction="up", reason="WorkWaiting") == 2
        assert it.metric("scale_decisions_total", direction="down", reason="WorkShrank") == 1

    play(scenario, server, backend_options={"job_seconds": 3600})


def test_push_is_found_out_and_brings_the_reading_before_the_poll(server):
    async def scenario(it, redis):
        await redis.config_set("notify-keyspace-events", "Kl")
        pool = it.pool()
        it.controller.upsert(pool)
        await it.until(lambda: it.last(), "a decision")
        endpoint = next(iter(it.controller._store)).endpoint
        await it.until(lambda: endpoint.push, "push found out", seconds=70)
        await enqueue(redis, 3)
        # the poll comes every 60 s here: only an event can have brought this within the test's patience
        await it.until(lambda: it.backend.peak == 3, "three replicas by push")

    play(scenario, server, poll_seconds=60.0, stale_seconds=120)


def test_running_jobs_survive_every_scale_down(server):
    async def scenario(it, redis):
        await redis.config_set("notify-keyspace-events", "Klz")
        pool = it.pool(max_replicas=6)
        it.controller.upsert(pool)
        for round_number in range(6):
            await enqueue(redis, 2 + 3 * (round_number % 2))
            await asyncio.sleep(0.15)
        await it.until(lambda: len(it.backend.done) == 21, "all done")
        await it.until(lambda: it.count(pool) == 0, "none left")
        assert it.backend.killed == []
        assert it.metric("hits_total") == 0
        assert len(set(it.backend.done)) == 21

    play(scenario, server, backend_options={"job_seconds": 0.3})


def test_a_conflict_is_answered_by_another_look(server):
    async def scenario(it, redis):
        it.backend.conflicts = 3
        pool = it.pool()
        it.controller.upsert(pool)
        await enqueue(redis, 2)
        await it.until(lambda: it.backend.peak == 2, "two replicas")
        assert 'reconcile_total{result="requeue"} 3.0' in it.metrics.exposition().decode()

    play(scenario, server)


def test_nothing_is_decided_before_the_backend_has_seen_everything(server):
    async def scenario(it, redis):
        it.backend.synced = False
        await enqueue(redis, 2)
        pool = it.pool()
        it.controller.upsert(pool)
        await it.steadily(lambda: not it.decisions and not it.backend.applied, "no decision", seconds=1)
        it.backend.synced = True
        it.controller.wake(pool.key)
        await it.until(lambda: it.backend.peak == 2, "two replicas")

    play(scenario, server)


def test_a_scheduled_job_wakes_a_pool_at_zero(server):
    async def scenario(it, redis):
        pool = it.pool()
        it.controller.upsert(pool)
        await it.until(lambda: it.last(), "a decision")
        job = await schedule(redis, time.time() + 2)
        await it.until(lambda: it.backend.done == [job], "the scheduled job ran")
        await it.until(lambda: it.count(pool) == 0, "none left")

    play(scenario, server)


def test_a_deleted_pool_drains_and_is_retired_after_its_last_claim(server):
    async def scenario(it, redis):
        pool = it.pool(min_replicas=2)
        it.controller.upsert(pool)
        await enqueue(redis, 1)
        running_now = await it.until(
            lambda: [one for one in it.backend.replicas.get(pool.uid, {}).values() if one.running], "a running job"
        )
        assert await redis.hexists(keys.pools("rq"), pool.uid)
        it.controller.remove(pool.uid)
        await it.until(lambda: it.backend.retired == [pool.uid], "retired")
        assert it.backend.killed == []
        assert len(it.backend.done) == 1
        assert running_now[0].id not in it.backend.replicas[pool.uid]
        assert not await redis.hexists(keys.pools("rq"), pool.uid)
        assert 'pool="pool"' not in it.metrics.exposition().decode()
        assert len(it.controller._store) == 0

    play(scenario, server, backend_options={"job_seconds": 1.0})


def test_house_is_kept_for_a_pool_deleted_while_no_operator_ran(server):
    async def scenario(it, redis):
        settings = PoolSettings(namespace="test", name="gone", queues=("left",))
        await AsyncScripts(redis).run(publish_settings("rq", pool="uid-of-gone", epoch=1, settings=settings))
        await schedule(redis, time.time() - 1, queue="left")
        it.controller.upsert(it.pool())
        await it.until_async(lambda: redis.llen("rq:queue:left"), "the due job was moved")

    play(scenario, server)


def test_a_newer_leader_ends_this_one(server):
    async def scenario(it, redis):
        pool = it.pool()
        it.controller.upsert(pool)
        await it.until(lambda: it.last(), "a decision")
        settings = PoolSettings(namespace="test", name="pool", queues=("default",))
        await AsyncScripts(redis).run(publish_settings("rq", pool=pool.uid, epoch=8, settings=settings))
        it.controller.upsert(
            it.pool(uid=pool.uid, generation=2, created_at=pool.created_at, queues=("default", "more"))
        )
        done, _ = await asyncio.wait([it.task], timeout=20)
        assert done, "the stale controller still runs"
        assert isinstance(it.task.exception(), StaleEpochError)
        it.task = None

    play(scenario, server)


def test_settings_reach_the_workers_and_follow_the_spec(server):
    async def scenario(it, redis):
        pool = it.pool()
        it.controller.upsert(pool)

        async def published():
            raw = await redis.hget(keys.pools("rq"), pool.uid)
            return PoolSettings.model_validate_json(raw) if raw else None

        await it.until_async(published, "settings")
        changed = it.pool(uid=pool.uid, generation=2, created_at=pool.created_at, jobs={"timeout_seconds": 99})
        it.controller.upsert(changed)

        async def followed():
            found = await published()
            return found and found.job_timeout_seconds == 99

        await it.until_async(followed, "changed settings")

    play(scenario, server)


def test_the_real_deadline_reaches_a_replica_that_is_told_to_end(server):
    async def scenario(it, redis):
        pool = it.pool(min_replicas=1)
        it.controller.upsert(pool)
        await enqueue(redis, 1)
        one = await it.until(
            lambda: next((one for one in it.backend.replicas.get(pool.uid, {}).values() if one.running), None), "runs"
        )
        deadline = time.time() + 30
        one.terminating = True
        it.backend.deadlines[one.id] = deadline
        it.controller.wake(pool.key)

        async def ordered():
            raw = await redis.get(keys.drain("rq", one.id))
            return raw and DrainOrder.model_validate_json(raw)

        order = await it.until_async(ordered, "an order")
        assert order.release_at == pytest.approx(deadline, abs=0.01)

    play(scenario, server, backend_options={"job_seconds": 3.0})


def test_paused_and_dry_run_touch_nothing(server):
    async def scenario(it, redis):
        it.controller.upsert(it.pool("paused", mode="Paused", queues=("a",)))
        it.controller.upsert(it.pool("dry", mode="DryRun", queues=("b",)))
        await enqueue(redis, 2, queue="a")
        await enqueue(redis, 2, queue="b")
        await it.until(lambda: (one := it.last("dry")) and one.replicas == 2, "DryRun decides")
        await it.condition("dry", "ScalingActive", ("False", "DryRun"))
        await it.condition("paused", "ScalingActive", ("False", "Paused"))
        assert it.backend.applied == []

    play(scenario, server)


def test_a_pool_that_is_paused_takes_its_marks_away(server):
    async def scenario(it, redis):
        pool = it.pool(max_replicas=2)
        it.controller.upsert(pool)
        await enqueue(redis, 2)
        mine = it.backend.replicas.setdefault(pool.uid, {})
        await it.until(lambda: sum(bool(one.running) for one in mine.values()) == 2, "two run")
        same = {"uid": pool.uid, "created_at": pool.created_at, "max_replicas": 1}
        it.controller.upsert(it.pool(generation=2, **same))

        async def marks():
            return await redis.keys("rq:pp:drain:*")

        async def no_marks():
            return not await marks()

        await it.until_async(marks, "one is marked, for the lower maximum")
        it.controller.upsert(it.pool(generation=3, mode="Paused", **same))
        await it.until_async(no_marks, "a held replica works")
        assert it.count(pool) == 2

    play(scenario, server, backend_options={"job_seconds": 600.0})


def test_idle_pools_write_nothing(server):
    async def scenario(it, redis):
        for number in range(30):
            it.controller.upsert(it.pool(f"p{number}", queues=(f"q{number}",)))
        names = [f"p{number}" for number in range(30)]
        settled = ("True", "Ok", "the template is accepted")  # the second status; the first was before the backend's
        await it.until(
            lambda: all(it.reporter.condition(name, "TemplateValid") == settled for name in names), "all settled"
        )
        before = {name: len(found) for name, found in it.reporter.statuses.items()}
        events = len(it.reporter.events)
        await asyncio.sleep(2)
        assert {name: len(found) for name, found in it.reporter.statuses.items()} == before
        assert len(it.reporter.events) == events
        assert it.backend.applied == []
        assert all(it.last(name).reason in {Reason.IDLE, Reason.AT_MINIMUM, Reason.WORK_FITS} for name in before)

    play(scenario, server)
