"""A wrong wall clock, and one that jumps, while work goes on: the same end, nobody is sent home at work."""

from __future__ import annotations

import asyncio
import time

import pytest
from redis.asyncio import Redis
from tests.fakes.harness import AheadClock, enqueue, running

HOUR_SECONDS = 3600.0


@pytest.mark.parametrize("hours", [-30, 30])
def test_a_clock_that_is_wrong_all_the_time_changes_nothing(hours, valkey):
    asyncio.run(play(valkey, AheadClock(hours * HOUR_SECONDS), jumps=()))


@pytest.mark.parametrize("jumps", [(1, -2), (-1, 2), (-30, 30)])
def test_a_clock_that_jumps_while_jobs_run_changes_nothing(jumps, valkey):
    asyncio.run(play(valkey, AheadClock(), jumps=[hours * HOUR_SECONDS for hours in jumps]))


async def play(server, clock, *, jumps):
    """Thirty jobs on at most four replicas; the operator's clock jumps while they run, and nobody else's."""
    options = {"job_seconds": 0.3}
    async with Redis(port=server.port) as redis, running(server.port, clock=clock, backend_options=options) as it:
        it.backend.unix = time.time
        pool = it.pool(max_replicas=4)
        it.controller.upsert(pool)
        await enqueue(redis, 30)
        await it.until(lambda: it.count(pool) == 4, "the maximum")
        for seconds in jumps:
            before = len(it.backend.done)
            await it.until(lambda before=before: len(it.backend.done) > before, "work goes on")
            clock.ahead_seconds += seconds
            await it.steadily(lambda: it.count(pool) == 4, "four are kept while work waits", seconds=0.5)
        await it.until(lambda: len(it.backend.done) == 30 and it.count(pool) == 0, "all is done and none is left")
        assert it.backend.killed == []
        assert it.backend.peak == 4
