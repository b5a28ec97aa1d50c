"""What a claim must pass besides a free slot, as the claim script has it: rate, concurrency, money."""

from __future__ import annotations

import math
from collections import deque
from typing import Final

from pool_operator.engine.types import PoolSpec

RATE_WINDOW_SECONDS: Final = 60.0
ROUNDING: Final = 1e-9  # of sums of money


class Claims:
    """The pool's counters that live in Redis.

    In any 60 s at most rate_per_minute jobs start; at most max_concurrent run; with a hard budget each claim takes
    price times time-out of what the leader has granted, and nothing is given beyond. A refused claim takes nothing.
    """

    def __init__(self, spec: PoolSpec) -> None:
        self.used = 0.0  # money that claims have ever taken
        self.again_at = math.inf
        """When a claim that the rate refused may be tried again."""
        self._granted = 0.0
        self._concurrent = spec.max_concurrent
        self._starts: deque[float] | None = None
        if spec.rate_per_minute is not None:
            self._starts = deque(
                [-math.inf] * max(1, int(spec.rate_per_minute)), maxlen=max(1, int(spec.rate_per_minute))
            )
        self._commitment = 0.0
        if spec.budget is not None and spec.budget.hard:
            self._commitment = spec.budget.price_per_replica_hour * spec.job_timeout_seconds / 3600

    @staticmethod
    def needed(spec: PoolSpec) -> bool:
        hard = spec.budget is not None and spec.budget.hard
        return hard or spec.rate_per_minute is not None or spec.max_concurrent is not None

    def grant(self, granted: float | None) -> None:
        if granted is not None:
            self._granted = granted

    def take(self, now: float, *, running: int) -> bool:
        """May one more job start? If so, it has taken what it needs."""
        self.again_at = math.inf
        if self._commitment and self.used + self._commitment > self._granted + ROUNDING:
            return False
        if self._concurrent is not None and running >= self._concurrent:
            return False
        if self._starts is not None:
            if self._starts[0] + RATE_WINDOW_SECONDS > now:
                self.again_at = self._starts[0] + RATE_WINDOW_SECONDS
                return False
            self._starts.append(now)
        self.used += self._commitment
        return True
