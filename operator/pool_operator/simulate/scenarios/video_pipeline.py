"""video-pipeline: two workers always, up to ten on sustained load, not on spikes."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Final

from pool_operator.engine.types import Budget, PoolSpec, QueueSpec, Schedule, Threshold
from pool_operator.names import Direction, OnUnknown, ThresholdMetric
from pool_operator.simulate.result import Result
from pool_operator.simulate.scenarios.base import Part, Row, Scenario, at_most, equal, part, told

PRICE: Final = 0.05
COLD_START_SECONDS: Final = 40.0
HOUR: Final = 3_600.0
VIDEOS: Final = 1_000

POOL: Final = PoolSpec(
    queues=(QueueSpec(name="video"),),
    min_replicas=2,
    max_replicas=10,
    slots_per_replica=1,
    job_timeout_seconds=1_800,
    on_unknown=OnUnknown.MINIMUM,
    thresholds=(
        Threshold(metric=ThresholdMetric.UTILIZATION, direction=Direction.UP, level=70, for_seconds=300),
        Threshold(metric=ThresholdMetric.WAITING, direction=Direction.UP, level=20, for_seconds=30),
        Threshold(metric=ThresholdMetric.UTILIZATION, direction=Direction.DOWN, level=30, for_seconds=600),
    ),
    schedules=(
        Schedule(
            name="office-hours",
            start="0 8 * * MON-FRI",
            duration_seconds=10 * HOUR,
            time_zone="Europe/Berlin",
            min_replicas=3,
        ),
    ),
    budget=Budget(price_per_replica_hour=PRICE),
)
NIGHT: Final = 20 * HOUR
"""Outside of the schedule's floor: 20:00 UTC."""


def _parts() -> list[Part]:
    draw = random.Random("video-pipeline")  # noqa: S311 - a simulation
    steady = [float(60 * minute) for minute in range(120)]
    month = sorted(draw.uniform(0, 30 * 86_400) for _ in range(VIDEOS))

    def lengths(count: int) -> list[float]:
        return [draw.uniform(120, 300) for _ in range(count)]

    runs = (
        ("a spike of 3 minutes", [NIGHT] * 3, [90.0] * 3),
        ("two busy hours", [NIGHT + one for one in steady], lengths(len(steady))),
        ("50 users at once", [NIGHT] * 50, lengths(50)),
        ("a month", month, lengths(VIDEOS)),
    )
    return [part(name, POOL, at, service, cold_start_seconds=COLD_START_SECONDS) for name, at, service in runs]


def _rows(results: Sequence[Result]) -> list[Row]:
    spike, busy, users, month = results
    return [
        equal("a spike of 3 minutes: workers", 2, spike.peak_replicas),
        Row(
            what="two busy hours (3.5 jobs at once on average): workers",
            expected="more than 2",
            simulated=str(busy.peak_replicas),
            holds=busy.peak_replicas > 2,
        ),
        equal("50 users at once: workers", 10, users.peak_replicas),
        equal("a month of 1,000 videos: done", VIDEOS, len(month.waits)),
        at_most("a month of 1,000 videos: most workers", 10, month.peak_replicas),
        told("a month: mean wait", f"{month.mean_wait_seconds:.1f} s"),
        told("a month: cost, and the cost of two workers that always run", f"${month.cost:.2f}, ${_floor():.2f}"),
        equal("running jobs hit by scaling", 0, sum(result.jobs_hit for result in results)),
    ]


def _floor() -> float:
    return 2 * 30 * 24 * PRICE


VIDEO_PIPELINE: Final = Scenario(
    name="video-pipeline",
    sentence="2 to 10 workers; up when 70 % are busy for 5 minutes or 20 videos wait, down below 30 % for 10 minutes",
    pool=POOL,
    make_parts=_parts,
    rows=_rows,
)
