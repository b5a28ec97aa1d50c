"""A wrong wall clock, and one that jumps, while work goes on: the same end, nobody is sent home at work."""

from __future__ import annotations

import asyncio
import time

import pytest
from redis.asyncio import Redis
from tests.fakes.harness import enqueue, running

from pool_operator.runtime.clock import SystemClock

HOUR_SECONDS = 3600.0


class WrongClock(SystemClock):
    """The wall clock is off by `error_seconds`; durations are right, as the kernel's are."""

    error_seconds = 0.0

    def unix(self):
        return time.time() + self.error_seconds


@pytest.fixture
def clock(monkeypatch):
    clock = WrongClock()
    monkeypatch.setattr("tests.fakes.harness.SystemClock", lambda: clock)
    return clock


@pytest.mark.parametrize("hours", [-30, 30])
def test_a_clock_that_is_wrong_all_the_time_changes_nothing(hours, clock, valkey):
    clock.error_seconds = hours * HOUR_SECONDS
    asyncio.run(play(valkey, clock, jumps=()))


@pytest.mark.parametrize("jumps", [(1, -2), (-1, 2), (-30, 30)])
def test_a_clock_that_jumps_while_jobs_run_changes_nothing(jumps, clock, valkey):
    asyncio.run(play(valkey, clock, jumps=[hours * HOUR_SECONDS for hours in jumps]))


async def play(server, clock, *, jumps):
    """Thirty jobs on at most four replicas; the clock jumps while they run."""
    options = {"job_seconds": 0.3}
    async with Redis(port=server.port) as redis, running(server.port, backend_options=options) as it:
        pool = it.pool(max_replicas=4)
        it.controller.upsert(pool)
        await enqueue(redis, 30)
        await it.until(lambda: it.count(pool) == 4, "the maximum")
        for seconds in jumps:
            before = len(it.backend.done)
            await it.until(lambda before=before: len(it.backend.done) > before, "work goes on")
            clock.error_seconds += seconds
            await it.steadily(lambda: it.count(pool) == 4, "four are kept while work waits", seconds=0.5)
        await it.until(lambda: len(it.backend.done) == 30 and it.count(pool) == 0, "all is done and none is left")
        assert it.backend.killed == []
        assert it.backend.peak == 4
