"""The work queue: each key once, never in two hands, urgent first, back-off per key."""

from __future__ import annotations

import asyncio

from pool_operator.runtime.clock import FakeClock
from pool_operator.runtime.keyed_queue import (
    FIRST_RETRY_SECONDS,
    LONGEST_RETRY_SECONDS,
    PATIENCE_SECONDS,
    PATIENT_AFTER_FAILURES,
    KeyedQueue,
)


def run(scenario):
    clock = FakeClock()
    asyncio.run(asyncio.wait_for(scenario(KeyedQueue(clock), clock), 5))


async def empty(queue):
    try:
        async with asyncio.timeout(0.01):
            await queue.get()
    except TimeoutError:
        return True
    return False


def test_a_key_added_many_times_is_worked_on_once():
    async def scenario(queue, _):
        for _ in range(1000):
            queue.add("a")
        assert await queue.get() == "a"
        queue.done("a")
        assert await empty(queue)

    run(scenario)


def test_a_key_added_while_in_hands_comes_once_more_afterwards_and_not_before():
    async def scenario(queue, _):
        queue.add("a")
        await queue.get()
        queue.add("a")
        queue.add("a")
        assert await empty(queue)
        queue.done("a")
        assert await queue.get() == "a"
        queue.done("a")
        assert await empty(queue)

    run(scenario)


def test_urgent_keys_pass_the_others_also_when_they_stood_in_line_before():
    async def scenario(queue, _):
        for key in "abc":
            queue.add(key)
        queue.add("c", urgent=True)
        order = []
        for _ in range(3):
            order.append(await queue.get())
            queue.done(order[-1])
        assert order == ["c", "a", "b"]
        assert await empty(queue)

    run(scenario)


def test_of_several_timers_the_earliest_counts():
    async def scenario(queue, clock):
        queue.add_after("a", 10)
        queue.add_after("a", 3)
        queue.add_after("a", 20)
        clock.advance(2.9)
        assert await empty(queue)
        clock.advance(0.2)
        assert await queue.get() == "a"
        queue.done("a")
        clock.advance(100)
        assert await empty(queue)

    run(scenario)


def test_back_off_doubles_up_to_a_ceiling_and_ends_with_success():
    async def scenario(queue, clock):
        waits = [queue.retry("a") for _ in range(3)]
        assert waits == [FIRST_RETRY_SECONDS, 2 * FIRST_RETRY_SECONDS, 4 * FIRST_RETRY_SECONDS]
        assert max(queue.retry("a") for _ in range(100)) == LONGEST_RETRY_SECONDS
        queue.succeeded("a")
        assert queue.retry("a") == FIRST_RETRY_SECONDS

    run(scenario)


def test_events_do_not_make_a_hot_loop_of_a_key_that_fails_again_and_again():
    async def scenario(queue, clock):
        passes = 0
        for _ in range(1000):  # ten seconds of events, one before and one during each pass
            queue.add("a", urgent=True)
            while len(queue):
                key = await queue.get()
                passes += 1
                queue.add(key, urgent=True)
                queue.retry(key)
                queue.done(key)
            clock.advance(0.01)
        assert PATIENT_AFTER_FAILURES < passes <= PATIENT_AFTER_FAILURES + 10 / PATIENCE_SECONDS + 1

    run(scenario)


def test_a_key_that_failed_comes_back_at_once_with_the_first_events_and_after_it_succeeded():
    async def scenario(queue, _):
        for _ in range(PATIENT_AFTER_FAILURES):
            queue.add("a")
            assert await queue.get() == "a"
            queue.retry("a")
            queue.done("a")
        queue.add("a")
        assert await empty(queue)
        queue.succeeded("a")
        queue.add("a")
        assert await queue.get() == "a"

    run(scenario)


def test_a_forgotten_key_never_comes():
    async def scenario(queue, clock):
        queue.add("a")
        queue.add_after("a", 1)
        queue.forget("a")
        clock.advance(5)
        assert await empty(queue)

    run(scenario)


def test_two_workers_share_the_keys_and_never_hold_the_same_one():
    async def scenario(queue, _):
        held, seen = set(), []

        async def worker():
            while True:
                key = await queue.get()
                assert key not in held
                held.add(key)
                await asyncio.sleep(0)
                if len(seen) < 200:
                    queue.add(key)
                seen.append(key)
                held.discard(key)
                queue.done(key)

        workers = [asyncio.create_task(worker()) for _ in range(4)]
        for key in range(10):
            queue.add(key)
        while len(seen) < 200 or len(queue):  # noqa: ASYNC110 - the other tasks only need their turns
            await asyncio.sleep(0)
        for task in workers:
            task.cancel()
        await asyncio.gather(*workers, return_exceptions=True)
        assert set(seen) == set(range(10))

    run(scenario)
