"""The replicas of a pool, counted by what they can do and what they hold."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from pool_operator.engine.types import Observed, Replica, ReplicaPhase

SILENT_SECONDS: Final = 30.0
"""A replica that has been ready for two heartbeats should have told what it runs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fleet:
    """`active`: not told to end. Those that end hold their jobs, but are no capacity and count in no target."""

    active: tuple[Replica, ...]
    claims: int  # jobs that active replicas hold, as far as that is known
    ending_claims: int  # jobs in replicas that are told to end: they need no slot of anybody else
    busy: int  # active replicas that hold a job, or may hold one
    silent: int  # active replicas that should have told what they run, and have not
    stuck: int  # active replicas that do not start: not capacity

    @property
    def usable(self) -> int:
        return len(self.active) - self.stuck


def fleet_of(observed: Observed, now: float) -> Fleet:
    active = tuple(one for one in observed.replicas if one.phase is not ReplicaPhase.TERMINATING)
    ending = (one for one in observed.replicas if one.phase is ReplicaPhase.TERMINATING)
    return Fleet(
        active=active,
        claims=sum(one.claims or 0 for one in active),
        ending_claims=sum(one.claims or 0 for one in ending),
        busy=sum(one.claims is None or one.claims > 0 for one in active),
        silent=sum(_silent(one, now) for one in active),
        stuck=sum(one.stuck for one in active),
    )


def _silent(one: Replica, now: float) -> bool:
    if one.claims is not None or one.phase is not ReplicaPhase.READY:
        return False
    return one.ready_at is None or now - one.ready_at >= SILENT_SECONDS
