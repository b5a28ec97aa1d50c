"""What an endpoint knows: its last good reading, or why there is none."""

from __future__ import annotations

from dataclasses import dataclass, replace

from pool_contract.scripts import EndpointState
from pool_operator.backends.base import Problem


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """The last good reading, and when its question was sent."""

    state: EndpointState
    asked_unix: float
    asked_monotonic: float
    skew_seconds: float  # to be added to Redis' times for this machine's
    pools: frozenset[str]  # UIDs it covers

    def without(self, pool_uid: str) -> Seen:
        """The pool reads other queues now: this reading knows nothing of them."""
        return replace(self, pools=self.pools - {pool_uid})


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """Nothing can be seen, since when, and why."""

    since_unix: float
    problem: Problem
