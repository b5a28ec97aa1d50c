"""What a claim must pass besides a free slot, as the claim script has it: rate, concurrency, money."""

from __future__ import annotations

import math
from typing import Final

from pool_operator.engine.types import PoolSpec

SLACK: Final = 1e-9


class Claims:
    """The pool's counters that live in Redis: a token bucket, and what claims have taken from the allowance.

    Args:
        spec: rate_per_minute fills a bucket that holds one minute's tokens at most; max_concurrent caps jobs that run;
            with a hard budget a claim takes price times time-out from what was granted.
    """

    def __init__(self, spec: PoolSpec) -> None:
        self.used = 0.0
        self.again_at = math.inf
        """When a claim that the rate refused may be tried again."""
        self._granted = 0.0
        self._concurrent = math.inf if spec.max_concurrent is None else spec.max_concurrent
        self._per_second = None if spec.rate_per_minute is None else spec.rate_per_minute / 60
        self._most = max(1.0, spec.rate_per_minute or 1.0)
        self._tokens = self._most
        self._at = 0.0
        hard = spec.budget is not None and spec.budget.hard
        self._commitment = None
        if spec.budget is not None and hard:
            self._commitment = spec.budget.price_per_replica_hour * spec.job_timeout_seconds / 3600

    @staticmethod
    def needed(spec: PoolSpec) -> bool:
        hard = spec.budget is not None and spec.budget.hard
        return hard or spec.rate_per_minute is not None or spec.max_concurrent is not None

    def grant(self, granted: float | None) -> None:
        if granted is not None:
            self._granted = granted

    def take(self, now: float, *, running: int) -> bool:
        """May one job more start? If so, it has taken what it needs."""
        self.again_at = math.inf
        if running >= self._concurrent:
            return False
        if self._commitment is not None and self.used + self._commitment > self._granted + SLACK:
            return False
        if self._per_second is not None:
            self._tokens = min(self._most, self._tokens + (now - self._at) * self._per_second)
            self._at = now
            if self._tokens < 1 - SLACK:
                self.again_at = now + (1 - self._tokens) / self._per_second
                return False
            self._tokens -= 1
        self.used += self._commitment or 0.0
        return True
