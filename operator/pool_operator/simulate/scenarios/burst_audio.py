"""burst-audio: nothing while nobody asks, fifty workers when ten thousand do."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from pool_operator.engine.types import WAIT_VALUE, Budget, PoolSpec, QueueSpec
from pool_operator.names import Profile
from pool_operator.simulate.result import Result
from pool_operator.simulate.scenarios.base import Part, Row, Scenario, about, equal, part

RUN_SECONDS: Final = 3_600.0
"""Three hours of audio at three times its speed."""
COLD_START_SECONDS: Final = 30.0
PRICE: Final = 0.20
DAYS: Final = 10
"""Of the month that is told: a third of the work shows the same."""
ACTIVE: Final = 10

POOL: Final = PoolSpec(
    queues=(QueueSpec(name="audio"),),
    min_replicas=0,
    max_replicas=50,
    slots_per_replica=1,
    wait_value=WAIT_VALUE[Profile.FAST],
    job_timeout_seconds=10_800,
    budget=Budget(price_per_replica_hour=PRICE),
)


def _parts() -> list[Part]:
    draw = random.Random("burst-audio")  # noqa: S311 - a simulation
    month, at = [], 0.0
    while at < DAYS * 86_400:
        month.append(at)
        at += draw.expovariate(ACTIVE / RUN_SECONDS)
    lengths = [draw.uniform(0.5, 1.5) * RUN_SECONDS for _ in month]
    users = sorted(draw.uniform(0, 3_600) for _ in range(10_000))
    ten = replace(POOL, max_replicas=ACTIVE)
    return [
        part("one user", POOL, [0.0], [RUN_SECONDS], cold_start_seconds=COLD_START_SECONDS),
        part("100 jobs", ten, [0.0] * 100, [120.0] * 100, cold_start_seconds=COLD_START_SECONDS),
        part("10,000 users", POOL, users, [RUN_SECONDS] * len(users), cold_start_seconds=COLD_START_SECONDS),
        part("ten days", POOL, month, lengths, cold_start_seconds=COLD_START_SECONDS),
    ]


def _rows(results: Sequence[Result]) -> list[Row]:
    one, hundred, many, tenth = results
    month = 30 / DAYS
    work = tenth.work_seconds / 3600 * PRICE * month
    return [
        equal("1 user: workers", 1, one.peak_replicas),
        equal("100 jobs, at most 10 workers: workers at the peak", ACTIVE, hundred.peak_replicas),
        equal("100 jobs: workers left when all is done", 0, hundred.series.replicas[-1]),
        equal("10,000 users: workers at the peak", 50, many.peak_replicas),
        equal("10,000 users: workers left when all is done", 0, many.series.replicas[-1]),
        about("a month with 10 active on average: money for work, $", 1_440, work, within=0.05),
        about("the same with cold starts and idling, $", 1_440, tenth.cost * month, within=0.1),
        equal("running jobs hit by scaling", 0, sum(result.jobs_hit for result in results)),
    ]


BURST_AUDIO: Final = Scenario(
    name="burst-audio",
    sentence="0 workers when idle, 1 for one user, 10 for 100 jobs, 50 for 10,000 users; $0.20 a worker-hour",
    pool=POOL,
    make_parts=_parts,
    rows=_rows,
)
