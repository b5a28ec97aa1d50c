"""podcast-growth: from 75 to 1,000 episodes a month, paid by the second and known by the episode."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Final

from pool_operator.engine.types import Budget, PoolSpec, QueueSpec
from pool_operator.simulate.result import Result
from pool_operator.simulate.scenarios.base import Part, Row, Scenario, at_most, equal, part, told

PRICE: Final = 0.69
MONTH_SECONDS: Final = 30 * 86_400.0
FASTER: Final = 10.0
"""A GPU worker against the 20 to 30 minutes of a CI runner's CPU."""
CACHED_SECONDS, COLD_SECONDS = 10.0, 150.0
EPISODES: Final = (75, 200, 1_000)
BEAT: Final = {"a container service": 0.20, "GPU serverless": 0.10, "batch": 0.05}

POOL: Final = PoolSpec(
    queues=(QueueSpec(name="episodes", target_wait_seconds=600),),
    min_replicas=0,
    max_replicas=10,
    slots_per_replica=2,
    max_slots=2,
    job_timeout_seconds=3_600,
    budget=Budget(price_per_replica_hour=PRICE),
)


def _parts() -> list[Part]:
    found = []
    for episodes, cold in (*((count, CACHED_SECONDS) for count in EPISODES), (EPISODES[-1], COLD_SECONDS)):
        draw = random.Random(f"podcast-growth {episodes}")  # noqa: S311 - a simulation
        arrivals = sorted(draw.uniform(0, MONTH_SECONDS) for _ in range(episodes))
        services = [draw.uniform(1_200, 1_800) / FASTER for _ in arrivals]
        found.append(
            part(f"{episodes:,} episodes, cold start {cold:g} s", POOL, arrivals, services, cold_start_seconds=cold)
        )
    return found


def _rows(results: Sequence[Result]) -> list[Row]:
    rows: list[Row] = []
    for episodes, result in zip(EPISODES, results, strict=False):
        each = result.cost / episodes
        where = f"{episodes:,} episodes a month"
        rows.append(equal(f"{where}: processed", episodes, len(result.waits)))
        rows += [at_most(f"{where}: $ an episode, against {name}", beat, each) for name, beat in BEAT.items()]
        rows.append(at_most(f"{where}: longest time to an episode's end, h", 4.0, _longest(result) / 3600))
        rows.append(told(f"{where}: share of the month with workers", f"{_present(result):.1%}"))
    cached, cold = results[-2], results[-1]
    return [
        *rows,
        told("1,000 episodes: mean wait with the model cached, and without", f"{_mean(cached)}, {_mean(cold)}"),
        told("1,000 episodes: cost with the model cached, and without", f"${cached.cost:.2f}, ${cold.cost:.2f}"),
        equal("workers left at the end of each month", 0, max(result.series.replicas[-1] for result in results)),
        equal("running jobs hit by scaling", 0, sum(result.jobs_hit for result in results)),
    ]


def _longest(result: Result) -> float:
    return max(result.waits) + 1_800 / FASTER


def _mean(result: Result) -> str:
    return f"{result.mean_wait_seconds:.0f} s"


def _present(result: Result) -> float:
    """Of the time: upper bound, since a replica-second is counted for each replica."""
    return min(1.0, result.replica_seconds / MONTH_SECONDS)


PODCAST_GROWTH: Final = Scenario(
    name="podcast-growth",
    sentence=f"episodes of 2 to 3 minutes on a GPU at ${PRICE} an hour, two at once; nothing while nothing is to do",
    pool=POOL,
    make_parts=_parts,
    rows=_rows,
)
