"""What only the newest leader may do: drain, undrain, publish. And what anybody may see: read."""

from __future__ import annotations

import asyncio

import pytest
from redis.asyncio import Redis as AsyncRedis
from tests.redis.contract_harness import POOL, PREFIX, Office

from pool_contract import keys, scripts
from pool_contract.messages import DrainOrder, PoolSettings
from pool_contract.scripts import AsyncScripts, StaleEpochError

SETTINGS = PoolSettings(namespace="media", name="speech", queues=("default",), slots=3)


@pytest.fixture
def office(server):
    office = Office(server)
    office.register("r1")
    yield office
    office.redis.close()


def publish(office, settings, epoch):
    office.run(scripts.publish_settings(PREFIX, pool=POOL, epoch=epoch, settings=settings))


def snapshot(office):
    return {key: office.redis.dump(key) for key in office.redis.keys("*")}


def test_a_mark_and_the_count_of_claims_are_one_step(office):
    office.enqueue()
    claim = office.claim("r1")
    assert office.drain("r1", "r2") == {"r1": 1, "r2": 0}
    order = DrainOrder.model_validate_json(office.redis.get(keys.drain(PREFIX, "r1")))
    assert order.reason == "Idle"
    office.finish(claim)
    assert office.drain("r1") == {"r1": 0}
    assert office.undrain("r1", "r2", "r3") == 2
    assert office.drain() == {}


@pytest.mark.parametrize("newest", [7, 10, 2**53 - 1])
def test_an_older_epoch_is_refused_and_writes_nothing(office, newest):
    office.drain("r1", epoch=newest)
    before = snapshot(office)
    for act in (
        lambda: office.drain("r2", epoch=newest - 1),
        lambda: office.undrain("r1", epoch=newest - 1),
        lambda: publish(office, SETTINGS, newest - 1),
        lambda: publish(office, None, 6),
    ):
        with pytest.raises(StaleEpochError, match=f"epoch {newest}"):
            act()
    assert snapshot(office) == before
    office.undrain("r1", epoch=newest)


def test_epochs_are_fenced_per_pool(office):
    office.drain("r1", epoch=9)
    other = scripts.drain(PREFIX, pool="other", epoch=1, orders={"x": DrainOrder(reason="Idle", at=0, epoch=1)})
    assert office.run(other) == {"x": 0}


def test_settings_come_and_go_and_a_late_leader_cannot_bring_them_back(office):
    publish(office, SETTINGS, 3)
    assert PoolSettings.model_validate_json(office.redis.hget(keys.pools(PREFIX), POOL)) == SETTINGS
    office.drain("r1", epoch=3)
    publish(office, None, 4)
    assert not office.redis.hexists(keys.pools(PREFIX), POOL)
    assert office.redis.ttl(keys.epoch(PREFIX, POOL)) > 86400
    assert office.redis.ttl(keys.drain(PREFIX, "r1")) > 86400, "the mark outlives the pool, and ends"
    left = {key.decode() for key in office.redis.scan_iter(f"{PREFIX}:pp:*")}
    assert left == {keys.epoch(PREFIX, POOL), keys.drain(PREFIX, "r1")}
    with pytest.raises(StaleEpochError):
        publish(office, SETTINGS, 3)
    publish(office, SETTINGS, 5)
    assert office.redis.ttl(keys.epoch(PREFIX, POOL)) == -1


def test_a_pool_that_goes_leaves_no_mark_for_ever_however_many_replicas_it_had(office):
    names = [f"r{number}" for number in range(300)]
    office.drain(*names)
    office.run(scripts.publish_settings(PREFIX, pool=POOL, epoch=1, settings=None))
    assert not office.redis.exists(keys.replicas(PREFIX, POOL))
    assert all(office.redis.ttl(keys.drain(PREFIX, name)) > 0 for name in names)


def test_a_pool_that_goes_keeps_what_is_known_of_a_replica_with_work(office):
    office.enqueue()
    claim = office.claim("r1")
    publish(office, SETTINGS, 1)
    publish(office, None, 1)
    assert office.read().pools[POOL].replicas["r1"].claims == 1
    assert office.renew(claim) == ()


def test_both_runners_load_the_script_and_tell_a_stale_epoch(office, server):
    async def main():
        async with AsyncRedis(host="127.0.0.1", port=server.port) as redis:
            await redis.script_flush()
            run = AsyncScripts(redis).run
            await run(scripts.publish_settings(PREFIX, pool=POOL, epoch=2, settings=SETTINGS))
            state = await run(scripts.read(PREFIX, queues=["default"], pools=[POOL]))
            with pytest.raises(StaleEpochError):
                await run(scripts.undrain(PREFIX, pool=POOL, epoch=1, replicas=["r1"]))
            return state

    assert asyncio.run(main()).pools[POOL].published
    office.redis.script_flush()
    assert office.read().pools[POOL].published


def test_a_decoding_client_reads_the_same(server):
    with server.client(decode_responses=True) as redis:
        state = scripts.Scripts(redis).run(scripts.read(PREFIX, queues=["a"], pools=["p"]))
    assert state.queues["a"].waiting == 0
    assert state.pools["p"].replicas == {}
