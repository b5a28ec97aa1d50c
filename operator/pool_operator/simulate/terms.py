"""What is the same for every policy of one comparison."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

EPOCH: Final = 1_767_571_200.0
"""2026-01-05T00:00Z, a Monday: when a trace begins unless somebody says otherwise (schedules and budgets need a date)."""

Progress = Callable[[int, int], None]
"""Called now and then with the jobs that have ended and the jobs there are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """Replicas of `slots` slots that take about `cold_start_seconds` to be ready, between two bounds, at a price."""

    cold_start_seconds: float = 60.0
    cold_start_spread: float = 0.2  # sigma of the logarithm: the same draws for every policy, by number of the start
    slots: int = 1
    min_replicas: int = 0
    max_replicas: int = 400
    price_per_replica_hour: float = 0.0
    time_zone: str = "UTC"  # of the days in the result
    epoch: float = EPOCH
    seed: int = 7
    kill_after_seconds: float | None = None  # of a busy victim; None: it may finish what it runs
