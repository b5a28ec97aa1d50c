"""Overflow pools: replicas that help another pool out, only while that one is at a limit and jobs wait too long."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from pool_operator.engine.demand import Demand
from pool_operator.engine.fleet import Fleet
from pool_operator.engine.types import Observed, PoolSpec, Primary
from pool_operator.names import Limit

STALE_SECONDS: Final = 60.0
AT_LIMIT: Final = frozenset({Limit.MAXIMUM, Limit.SCHEDULE, Limit.CONCURRENCY, Limit.CAPACITY, Limit.BUDGET})
"""What keeps a pool from having as many replicas as its work asks for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Help:
    """`since`: when it began to help, None while it does not; `held`: the wish did not go through."""

    replicas: int
    since: float | None = None
    held: bool = False
    blind: bool = False  # nothing is known of the other pool: what is there stays
    wake_at: float | None = None


def help_out(
    spec: PoolSpec,
    observed: Observed,
    fleet: Fleet,
    demand: Demand,
    wish: int,
    since: float | None,
    *,
    slots: int,
    now: float,
) -> Help:
    """How many replicas the other pool's shortage calls for.

    It begins when the other pool is at a limit and the oldest job has waited `afterWaitSeconds`, and then takes what
    exceeds the other's slots: its own claims, and what waits and finds no free slot there. It ends when nothing waits
    any more, or when the other is at no limit and no job has waited too long; what it runs is finished. To begin again
    the jobs must have waited as long again, so that it does not come and go.

    The other has 4 slots, all busy, and is at its maximum; 6 jobs wait, the oldest for 15 min with afterWaitSeconds
    900: 6 replicas of one slot. They take the 6 jobs; nothing waits, and each goes when its job has ended.
    """
    after = spec.overflow_after_seconds
    if after is None:
        return Help(replicas=wish)
    primary = observed.primary
    if primary is None or now - primary.at > STALE_SECONDS:
        return Help(replicas=observed.wanted, since=since, held=wish != observed.wanted, blind=True)
    short, waited = primary.limited_by in AT_LIMIT, demand.oldest_wait_seconds >= after
    waiting = demand.waiting
    goes_on = waiting > 0 and (short or waited) if since is not None else waiting > 0 and short and waited
    if not goes_on:
        ripe = now + after - demand.oldest_wait_seconds if waiting and short and not waited else None
        return Help(replicas=0, held=wish > 0, wake_at=ripe)
    replicas = max(1, min(wish, -(-_exceeding(primary, fleet, demand) // slots)))
    return Help(replicas=replicas, since=now if since is None else since)


def _exceeding(primary: Primary, fleet: Fleet, demand: Demand) -> int:
    """Slots for its own claims, and for what waits and finds no free slot in the other pool."""
    theirs = max(0, demand.running - fleet.claims)
    free = max(0, primary.slots - theirs)
    return fleet.claims + max(0, demand.waiting - free)
