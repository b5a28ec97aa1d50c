"""Leader election on a real API server: one leader, a growing epoch, no end without a successor."""

from __future__ import annotations

import asyncio

import pytest

from pool_operator.backends.kubernetes import paths
from pool_operator.backends.kubernetes.api import KubeApi
from pool_operator.backends.kubernetes.lease import Elector, LeaseLostError, Timing

QUICK = Timing(duration=3, deadline=2.0, period=0.3)


def run(namespace, scenario):
    async def play():
        api = await KubeApi.connect()

        def candidate(**more):
            return Elector(api, namespace=namespace, name="leader", timing=QUICK, **more)

        try:
            async with asyncio.timeout(60):
                await scenario(api, candidate)
        finally:
            await api.close()
            await asyncio.sleep(0.2)  # TLS connections close in the background; the loop must still be there

    asyncio.run(play())


def test_the_second_waits_while_the_first_renews_and_takes_over_at_once_after_a_release(namespace):
    async def scenario(_, candidate):
        first, second = candidate(), candidate()
        await first.acquire()
        holding = asyncio.create_task(first.hold())
        waiting = asyncio.create_task(second.acquire())
        await asyncio.sleep(QUICK.duration + 1)
        assert first.leading
        assert not waiting.done()
        holding.cancel()
        await first.release()
        await waiting
        assert second.leading
        assert not first.leading
        assert second.epoch > first.epoch

    run(namespace, scenario)


def test_a_leader_that_vanishes_is_followed_after_its_lease_has_run_out(namespace):
    async def scenario(_, candidate):
        first, second = candidate(), candidate()
        await first.acquire()
        before = first.epoch
        await second.acquire()
        assert not first.leading  # its own clock told it, without any call
        assert second.epoch == before + 1
        with pytest.raises(LeaseLostError):
            await first.hold()

    run(namespace, scenario)


def test_two_at_once_give_one_leader(namespace):
    async def scenario(_, candidate):
        candidates = [candidate() for _ in range(5)]
        tasks = [asyncio.create_task(one.acquire()) for one in candidates]
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        await asyncio.sleep(1)
        assert sum(one.leading for one in candidates) == 1
        for task in tasks:
            task.cancel()

    run(namespace, scenario)


def test_the_epoch_grows_even_when_the_lease_was_deleted(namespace):
    async def scenario(api, candidate):
        first, second = candidate(), candidate()
        await first.acquire()
        before = first.epoch
        await asyncio.sleep(1.1)  # creation times have whole seconds
        await api.call("DELETE", paths.lease(namespace, "leader"))
        await second.acquire()
        assert before < second.epoch < 2**53
        with pytest.raises(LeaseLostError):
            await first.hold()

    run(namespace, scenario)


def test_a_hung_call_is_bounded_by_what_is_left_until_the_deadline(namespace):
    async def scenario(api, candidate):
        first = candidate()
        await first.acquire()

        async def hang(*_, **__):
            await asyncio.sleep(3600)

        api.call = hang
        api.get = hang
        with pytest.raises(LeaseLostError):
            await first.hold()
        assert not first.leading

    run(namespace, scenario)
