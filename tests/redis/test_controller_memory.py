"""What is learned, promised and granted, on a real server: over restarts, memory shortage and days."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import replace
from types import SimpleNamespace

from redis.asyncio import Redis
from tests.fakes.harness import enqueue, running

from pool_contract import keys
from pool_contract.messages import PoolSettings
from pool_operator.backends.base import Problem
from pool_operator.engine.decide import decide
from pool_operator.engine.state import Memory, RunTimes
from pool_operator.names import ConditionReason
from pool_operator.observe.problems import EndpointError
from pool_operator.runtime import reconciler
from pool_operator.runtime.redis_recorder import RedisRecorder

LEARNED = Memory(run_times=RunTimes(mean_seconds=7.0))


def recorder(it):
    return RedisRecorder(epoch=lambda _uid: it.epoch, clock=it.clock)


def play(scenario, server, **options):
    async def main():
        async with leading(server, **options) as (it, redis):
            await scenario(it, redis)

    asyncio.run(main())


@asynccontextmanager
async def leading(server, *, epoch=7, **options):
    async with (
        Redis(host="127.0.0.1", port=server.port) as redis,
        running(server.port, epoch=epoch, recorder=recorder, **options) as it,
    ):
        yield it, redis


def memory(it, pool):
    return it.controller._store.get(pool.uid).memory


async def settings(redis, pool):
    raw = await redis.hget(keys.pools("rq"), pool.uid)
    return PoolSettings.model_validate_json(raw) if raw else None


# --- what was learned ---------------------------------------------------------------------------------------------


def test_the_next_leader_goes_on_with_what_the_last_one_had_learned(server):
    async def main():
        async with leading(server) as (it, redis):
            pool = it.pool(max_replicas=3)
            it.controller.upsert(pool)
            await enqueue(redis, 9)
            await it.until(lambda: len(it.backend.done) == 9 and it.count(pool) == 0, "done, and down to nothing")
            await it.until(lambda: memory(it, pool).run_times.seconds.total > 0, "runs are learned")
            learned = memory(it, pool)
            replicas = it.backend.replicas
        async with leading(server, epoch=8) as (it, _):
            it.backend.replicas = replicas
            it.controller.upsert(pool)
            await it.until(lambda: it.last(), "a decision")
            found = memory(it, pool)
            assert found.cursor >= learned.cursor > Memory().cursor
            assert found.run_times == learned.run_times != Memory().run_times
            assert (
                found.cold_starts.mean_seconds == learned.cold_starts.mean_seconds != Memory().cold_starts.mean_seconds
            )

    asyncio.run(main())


def test_nothing_is_decided_on_a_reading_before_it_is_known_what_was_learned(server):
    async def scenario(it, redis):
        asked = asyncio.Event()

        async def silent(_pool, _endpoint):
            asked.set()
            await asyncio.Event().wait()

        it.controller._recorder.restore = silent
        it.controller.upsert(it.pool())
        await enqueue(redis, 2)
        await asked.wait()
        await it.steadily(lambda: not it.decisions and not it.backend.applied, "no decision", seconds=1)

    play(scenario, server)


def test_what_cannot_be_told_now_is_asked_for_again_before_the_first_decision(server):
    async def scenario(it, redis):
        answers = [EndpointError(Problem(reason=ConditionReason.QUEUE_UNREACHABLE, message="busy")), LEARNED]

        async def restore(_pool, _endpoint):
            answer = answers.pop(0)
            if isinstance(answer, Exception):
                raise answer
            return answer

        it.controller._recorder.restore = restore
        pool = it.pool()
        it.controller.upsert(pool)
        await it.until(lambda: it.last(), "a decision")
        assert answers == []
        assert memory(it, pool).run_times == LEARNED.run_times

    play(scenario, server)


def test_a_ledger_that_can_never_be_read_keeps_no_pool_from_being_served(server, monkeypatch):
    monkeypatch.setattr(reconciler, "LEARNED_WAIT_SECONDS", 0.5)

    async def scenario(it, redis):
        it.controller._recorder = it.controller._reconciler._recorder = recorder(it)
        pool = it.pool()
        await redis.set(keys.ledger("rq", pool.uid), "text")
        await enqueue(redis, 1)
        it.controller.upsert(pool)
        await it.until(lambda: it.last() and it.last().replicas == 1, "a replica")
        assert it.controller._store.get(pool.uid).remembered

    play(scenario, server)


def test_time_in_which_redis_was_away_is_no_time_in_which_it_could_have_told(server):
    async def scenario(it, redis):
        async def restore(_pool, _endpoint):
            raise EndpointError(Problem(reason=ConditionReason.QUEUE_UNREACHABLE, message="busy"))

        it.controller._recorder.restore = restore
        entry, _ = it.controller._store.put(it.pool())
        there, away = (SimpleNamespace(pool=entry.pool, asked_monotonic=at) for at in (1.0, None))
        remember = it.controller._reconciler._remember
        assert not await remember(entry, there)
        entry.forgetful_since -= reconciler.LEARNED_WAIT_SECONDS
        assert await remember(entry, away)
        assert not await remember(entry, there)
        entry.forgetful_since -= reconciler.LEARNED_WAIT_SECONDS
        assert await remember(entry, there)
        assert entry.remembered

    play(scenario, server)


# --- slots --------------------------------------------------------------------------------------------------------


def test_slots_follow_what_memory_has_taught(server):
    async def scenario(it, redis):
        pool = it.pool(concurrency={"max_per_replica": 4, "memory": {"base": "100Mi", "per_job": "100Mi"}})
        it.controller.upsert(pool)

        async def slots():
            found = await settings(redis, pool)
            return found.slots if found else None

        await it.until_async(slots, "settings")
        assert await slots() == 4
        it.backend.out_of_memory_at = it.clock.unix()
        it.controller.wake(pool.key)

        async def fewer():
            found = await slots()
            return found is not None and found < 4

        await it.until_async(fewer, "fewer slots after one ran out of memory")
        lowered = await slots()
        await it.until(lambda: it.reporter.latest("pool")["slotsPerReplica"] == lowered, "told")

    play(scenario, server)


# --- time ---------------------------------------------------------------------------------------------------------


def test_a_moment_that_has_passed_is_no_reason_to_spin(server, monkeypatch):
    def hurried(spec, observed, before, now):
        decision, after = decide(spec, observed, before, now)
        return replace(decision, wake_at=now - 5), after

    monkeypatch.setattr(reconciler, "decide", hurried)

    async def scenario(it, redis):
        it.controller.upsert(it.pool())
        await it.until(lambda: len(it.decisions) >= 4, "it looks again all the same")
        before, began = len(it.decisions), it.clock.monotonic()
        await asyncio.sleep(1)
        assert len(it.decisions) - before <= 2 * (it.clock.monotonic() - began) + 1

    play(scenario, server)
