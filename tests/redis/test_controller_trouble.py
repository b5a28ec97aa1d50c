"""What goes wrong: each trouble is told in one sentence, holds what is there, harms no other pool, and ends."""

from __future__ import annotations

import asyncio

import pytest
from redis.asyncio import Redis
from tests.fakes.backend import FakeSecrets
from tests.fakes.harness import enqueue, running, secret
from tests.servers import redis_server

from pool_operator.backends.base import PoolObject, Problem
from pool_operator.names import ConditionReason, Reason
from pool_operator.runtime import controller


def play(scenario, server, **options):
    async def main():
        async with Redis(host="127.0.0.1", port=server.port) as redis, running(server.port, **options) as it:
            await scenario(it, redis)

    asyncio.run(main())


async def two_busy(it, client, **changes):
    """A pool with two replicas that run long jobs."""
    pool = it.pool(**changes)
    it.controller.upsert(pool)
    await enqueue(client, 2)
    await it.until(
        lambda: sum(bool(one.running) for one in it.backend.replicas.get(pool.uid, {}).values()) == 2, "two run"
    )
    return pool


LONG = {"job_seconds": 600.0}


@pytest.fixture(autouse=True)
def _impatient(monkeypatch):
    """A Secret that may have changed is read again sooner than in production."""
    monkeypatch.setattr(controller, "LOGIN_AGAIN_SECONDS", 0.3)


def test_flushall_under_load_holds_the_replicas(server):
    async def scenario(it, redis):
        pool = await two_busy(it, redis)
        await asyncio.sleep(0.5)
        await redis.flushall()
        await it.condition("pool", "QueueReachable", ("False", "QueueUnreachable"), words="lost keys")
        # the replicas report again, and Redis shows no claim of theirs: they are not idle
        await it.steadily(lambda: it.count(pool) == 2, "two replicas", seconds=3)
        await it.condition("pool", "QueueReachable", ("True", "Ok"))
        await it.steadily(lambda: it.count(pool) == 2, "two replicas", seconds=1)
        assert it.backend.killed == []

    play(scenario, server, backend_options=LONG)


def test_flushall_between_short_jobs_ends_nobody_and_work_goes_on(server):
    async def scenario(it, redis):
        pool = it.pool(max_replicas=4)
        it.controller.upsert(pool)
        await enqueue(redis, 8)
        await it.until(lambda: len(it.backend.done) >= 2, "work runs")
        await redis.flushall()
        later = await enqueue(redis, 4)
        await it.until(lambda: set(later) <= set(it.backend.done), "what came later is done")
        await it.until(lambda: it.count(pool) == 0, "none left", seconds=60)
        assert it.backend.killed == []

    play(scenario, server, backend_options={"job_seconds": 0.5})


def test_a_server_that_comes_back_empty_holds_the_replicas(server):
    async def scenario(it, redis):
        pool = await two_busy(it, redis)
        server.kill()
        await it.condition("pool", "QueueReachable", ("False", "QueueUnreachable"))
        server.start()
        await it.condition("pool", "QueueReachable", ("True", "Ok"))
        await it.steadily(lambda: it.count(pool) == 2, "two replicas", seconds=2)
        assert it.backend.killed == []

    play(scenario, server, backend_options=LONG)


def test_junk_in_a_queue_is_looked_past(server):
    async def scenario(it, redis):
        await redis.rpush("rq:queue:default", "no-such-job", b"\xff\x00", "a" * 5000)
        pool = it.pool()
        it.controller.upsert(pool)
        jobs = await enqueue(redis, 2)
        await it.until(lambda: sorted(it.backend.done) == sorted(jobs), "the real jobs are done")
        await it.until(lambda: it.count(pool) == 0, "none left")
        assert await redis.llen("rq:queue:default") == 0
        await it.condition("pool", "QueueReachable", ("True", "Ok"))

    play(scenario, server)


@pytest.mark.parametrize("key", ["rq:pp:pools", "rq:pp:leases:default", "rq:wip:default", "rq:scheduled:default"])
def test_any_key_of_the_wrong_type_is_named_and_its_removal_heals(server, key):
    async def scenario(it, redis):
        await redis.set(key, "junk")
        pool = it.pool(min_replicas=1)
        it.controller.upsert(pool)
        await it.condition("pool", "QueueReachable", ("False", "QueueWrongType"), words=key)
        await redis.delete(key)
        await it.condition("pool", "QueueReachable", ("True", "Ok"))
        await enqueue(redis, 1)
        await it.until(lambda: it.backend.done, "work is done")

    play(scenario, server)


def test_a_secret_that_goes_holds_and_one_that_comes_back_heals(server):
    async def scenario(it, redis):
        await redis.execute_command("ACL", "SETUSER", "scaler", "on", ">pw", "~*", "&*", "+@all")
        it.secrets.secrets["login"] = secret("pw", username="scaler")
        pool = await two_busy(it, redis, redis={"credentialsSecretRef": {"name": "login"}})
        del it.secrets.secrets["login"]
        # asked for again at the latest at the next resync; a refused login asks at once
        await redis.execute_command("ACL", "SETUSER", "scaler", "resetpass", ">other")
        await redis.execute_command("CLIENT", "KILL", "USER", "scaler")
        await it.condition("pool", "QueueReachable", ("False", "SecretNotFound"), words="login")
        await it.steadily(lambda: it.count(pool) == 2, "two replicas", seconds=1)
        it.secrets.secrets["login"] = secret("other", username="scaler")
        await it.condition("pool", "QueueReachable", ("True", "Ok"))
        assert it.count(pool) == 2
        assert it.backend.killed == []

    play(scenario, server, backend_options=LONG, secrets=FakeSecrets())


def test_a_key_of_the_wrong_type_is_named_and_holds(server):
    async def scenario(it, redis):
        pool = await two_busy(it, redis)
        other = it.pool("other", queues=("fine",))
        it.controller.upsert(other)
        await redis.set("rq:queue:default", "junk")
        await it.condition("pool", "QueueReachable", ("False", "QueueWrongType"), words="rq:queue:default")
        assert it.last("pool").reason is Reason.HOLD_UNKNOWN
        await enqueue(redis, 1, queue="fine")
        await it.until(lambda: it.count(other) == 1, "the other pool works on")
        assert it.count(pool) == 2
        await redis.delete("rq:queue:default")
        await it.condition("pool", "QueueReachable", ("True", "Ok"))
        assert it.metric("errors_total", reason="QueueWrongType") == 1, "once, however long it stood"
        assert it.metric("errors_total", reason="QueueUnreachable") == 0
        assert it.metric("errors_total", pool="other", reason="QueueWrongType") == 0

    play(scenario, server, backend_options=LONG)


def test_the_younger_of_two_pools_on_a_queue_holds_until_the_older_is_gone(server):
    async def scenario(it, redis):
        younger = it.pool("younger", created_at=200.0)
        it.controller.upsert(younger)
        await it.condition("younger", "Ready", ("True", "Ok"))
        older = it.pool("older", created_at=100.0, queues=("other", "default"))
        it.controller.upsert(older)
        await it.condition("younger", "Ready", ("False", "QueueShared"), words="test/older")
        await it.condition("older", "Ready", ("True", "Ok"))
        await enqueue(redis, 2)
        await it.until(lambda: it.count(older) == 2, "the older serves")
        assert it.count(younger) == 0
        it.controller.remove(older.uid)
        await it.condition("younger", "Ready", ("True", "Ok"))
        await enqueue(redis, 1)
        await it.until(lambda: it.count(younger) >= 1, "now the younger serves")
        assert it.backend.killed == []

    play(scenario, server)


def test_an_unreadable_spec_holds_and_harms_nobody(server):
    async def scenario(it, redis):
        pool = await two_busy(it, redis)
        broken = PoolObject(
            key=pool.key,
            uid=pool.uid,
            generation=2,
            created_at=pool.created_at,
            spec=None,
            problem=Problem(reason=ConditionReason.SPEC_INVALID, message="spec.maxReplicas: must be a number"),
        )
        it.controller.upsert(broken)
        message = await it.condition("pool", "Ready", ("False", "SpecInvalid"))
        assert message == "spec.maxReplicas: must be a number"
        other = it.pool("other", queues=("fine",))
        it.controller.upsert(other)
        await enqueue(redis, 1, queue="fine")
        await it.until(lambda: it.count(other) == 1, "the other pool works on")
        assert it.count(pool) == 2

    play(scenario, server, backend_options=LONG)


def test_a_wrong_password_is_told_and_a_changed_secret_heals_it(server):
    async def scenario(it, redis):
        await redis.execute_command("ACL", "SETUSER", "scaler", "on", ">right", "~*", "&*", "+@all")
        secrets = it.secrets.secrets
        pool = it.pool(redis={"credentialsSecretRef": {"name": "login"}})
        it.controller.upsert(pool)
        await it.condition("pool", "QueueReachable", ("False", "SecretNotFound"), words="login")
        secrets["login"] = secret("wrong", username="scaler")
        await it.condition("pool", "QueueReachable", ("False", "AuthenticationFailed"), words="credentialsSecretRef")
        assert "wrong" not in it.reporter.condition("pool", "QueueReachable")[2]
        secrets["login"] = secret("right", username="scaler")
        await it.condition("pool", "QueueReachable", ("True", "Ok"))
        await enqueue(redis, 1)
        await it.until(lambda: it.count(pool) == 1, "it scales")

    play(scenario, server, secrets=FakeSecrets())


def test_a_changed_secret_moves_the_connection(server):
    async def scenario(it, redis):
        for name in ("one", "two"):
            await redis.execute_command("ACL", "SETUSER", name, "on", ">pw", "~*", "&*", "+@all")
        it.secrets.secrets["login"] = secret("pw", username="one")
        pool = it.pool(redis={"credentialsSecretRef": {"name": "login"}})
        it.controller.upsert(pool)
        await it.condition("pool", "QueueReachable", ("True", "Ok"))
        it.secrets.secrets["login"] = secret("pw", username="two")

        async def as_two():
            users = {one["user"] for one in await redis.client_list() if one["name"] == "processingpool-operator"}
            return users == {"two"}

        await it.until_async(as_two, "connected as the second user alone")

    play(scenario, server, secrets=FakeSecrets())


def test_without_the_right_to_write_the_loop_still_reads_and_says_what_is_missing(server):
    async def scenario(it, redis):
        await redis.execute_command("ACL", "SETUSER", "reader", "on", ">pw", "~*", "&*", "+@all", "-hset", "-set")
        it.secrets.secrets["login"] = secret("pw", username="reader")
        pool = it.pool(redis={"credentialsSecretRef": {"name": "login"}})
        it.controller.upsert(pool)
        await it.condition("pool", "QueueReachable", ("False", "AuthenticationFailed"), words="forbids")

    play(scenario, server, secrets=FakeSecrets())


def test_a_server_that_knows_no_subscriptions_is_polled():
    async def scenario(it, redis):
        pool = it.pool()
        it.controller.upsert(pool)
        await enqueue(redis, 2)
        await it.until(lambda: it.count(pool) == 2, "two replicas")

    with redis_server("valkey", "--rename-command", "PSUBSCRIBE", "") as server:
        play(scenario, server)


def test_a_read_only_replica_is_told_and_holds(server, second_server):
    async def scenario(it, redis):
        await redis.execute_command("REPLICAOF", "127.0.0.1", str(second_server.port))
        it.controller.upsert(it.pool(min_replicas=1))
        await it.condition("pool", "QueueReachable", ("False", "ReadOnlyRedis"), words="primary")
        await redis.execute_command("REPLICAOF", "NO", "ONE")
        await it.condition("pool", "QueueReachable", ("True", "Ok"))

    play(scenario, server)


def test_nobody_listens_there(free_port):
    async def scenario():
        async with running(free_port) as it:
            pool = it.pool()
            it.controller.upsert(pool)
            await it.condition("pool", "QueueReachable", ("False", "QueueUnreachable"), words="refuses connections")
            assert it.last().reason is Reason.HOLD_UNKNOWN
            assert it.count(pool) == 0

    asyncio.run(scenario())


def test_redis_stopped_holds_and_back_again_goes_on(restartable):
    async def scenario():
        async with running(restartable.port, backend_options={"job_seconds": 1.0}) as it:
            async with Redis(host="127.0.0.1", port=restartable.port) as redis:
                pool = await two_busy(it, redis)
            restartable.stop()
            await it.condition("pool", "QueueReachable", ("False", "QueueUnreachable"))
            await it.steadily(lambda: it.count(pool) == 2, "two replicas", seconds=1.5)
            assert it.last().reason is Reason.HOLD_UNKNOWN
            restartable.start()
            await it.condition("pool", "QueueReachable", ("True", "Ok"))
            async with Redis(host="127.0.0.1", port=restartable.port) as redis:
                await enqueue(redis, 4)
            await it.until(lambda: len(it.backend.done) >= 4, "work goes on")
            await it.until(lambda: it.count(pool) == 0, "none left")
            assert it.backend.killed == []

    asyncio.run(scenario())
