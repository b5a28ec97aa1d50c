"""channel-backfill: 1,200 videos once, on a daily and a monthly budget; the plan before a cent is spent."""

from __future__ import annotations

import random
from collections.abc import Sequence
from datetime import datetime
from typing import Final
from zoneinfo import ZoneInfo

from pool_operator.engine.types import WAIT_VALUE, Budget, PoolSpec, QueueSpec
from pool_operator.names import Profile
from pool_operator.simulate.result import Result
from pool_operator.simulate.scenarios.base import Part, Row, Scenario, about, at_most, equal, part, told

PRICE: Final = 0.36
RUN_SECONDS: Final = 1_200.0
COLD_START_SECONDS: Final = 60.0
QUEUES: Final = ("urgent", "newest", "most-viewed", "topics", "rest")
BACKLOG: Final = (0, 200, 100, 300, 600)
ZONE: Final = "America/Los_Angeles"
MIDNIGHT: Final = datetime(2026, 1, 5, tzinfo=ZoneInfo(ZONE)).timestamp()
URGENT_AT: Final = (2.5 * 86_400.0, 5.5 * 86_400.0)

POOL: Final = PoolSpec(
    queues=(QueueSpec(name="urgent", target_wait_seconds=300), *(QueueSpec(name=name) for name in QUEUES[1:])),
    min_replicas=0,
    max_replicas=10,
    slots_per_replica=1,
    job_timeout_seconds=7_200,
    wait_value=WAIT_VALUE[Profile.ECONOMY],
    rate_per_minute=50,
    max_concurrent=10,
    budget=Budget(
        price_per_replica_hour=PRICE,
        daily_soft=10,
        daily_hard=15,
        monthly_soft=200,
        monthly_hard=300,
        time_zone=ZONE,
    ),
)


def _parts() -> list[Part]:
    jobs = [(0.0, queue) for queue, count in enumerate(BACKLOG) for _ in range(count)]
    random.Random("channel-backfill").shuffle(jobs)  # noqa: S311 - a simulation
    jobs += [(at, 0) for at in URGENT_AT]
    return [
        part(
            "1,200 videos",
            POOL,
            [at for at, _ in jobs],
            [RUN_SECONDS] * len(jobs),
            queues=[queue for _, queue in jobs],
            cold_start_seconds=COLD_START_SECONDS,
            epoch=MIDNIGHT,
        )
    ]


def _rows(results: Sequence[Result]) -> list[Row]:
    (result,) = results
    worked = [day for day in result.days if day.started]
    full = worked[:-1]
    videos = sum(day.started for day in full) / len(full)
    cold = result.cold_start_seconds_billed / 3600 * PRICE
    work = result.work_seconds / 3600 * PRICE
    urgent = [max(0.0, wait - _closed(at)) for wait, at in zip(result.queue_waits["urgent"], URGENT_AT, strict=True)]
    return [
        equal("videos done, two urgent ones among them", result.jobs, len(result.waits)),
        about("videos on a full day", 83, videos, within=0.1),
        about("days for the whole backfill", 15, len(worked), within=0.1),
        about("money for run time, $", 144, work, within=0.02),
        told("money for cold starts, $", f"{cold:.2f}"),
        told("money in all, $", f"{result.cost:.2f}"),
        at_most("dearest day, with everything, $", 15, max(day.cost for day in result.days)),
        at_most("the month, $", 200, result.cost),
        at_most("videos at once", 10, max(result.series.busy)),
        Row(
            what="order: each queue waits longer than the one before it",
            expected="newest, most-viewed, topics, rest",
            simulated=", ".join(sorted(QUEUES[1:], key=lambda name: _mean(result, name))),
            holds=sorted(QUEUES[1:], key=lambda name: _mean(result, name)) == list(QUEUES[1:]),
        ),
        at_most("an urgent video's wait while there is money, min", 21, max(urgent) / 60),
        equal("running jobs hit by scaling", 0, result.jobs_hit),
    ]


def _mean(result: Result, queue: str) -> float:
    waits = result.queue_waits[queue]
    return sum(waits) / len(waits)


def _closed(at: float) -> float:
    """Noon: the day's money may be spent; then the next midnight is the earliest start."""
    return 86_400.0 - at % 86_400.0


CHANNEL_BACKFILL: Final = Scenario(
    name="channel-backfill",
    sentence="1,200 videos of 20 minutes of run time at $0.36 an hour; $10 a day, never more than $15, $200 a month",
    pool=POOL,
    make_parts=_parts,
    rows=_rows,
)
