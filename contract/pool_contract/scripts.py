"""The scripts of the contract: typed calls, and the two runners that send them.

A `Call` is a value: which script, its arguments, how to read the reply. `Scripts(redis)` runs it on a
synchronous client (worker, tools), `AsyncScripts(redis)` on an asyncio one (operator). Every script takes its time
from Redis, so no caller's clock matters. Each `scripts/<name>.lua` opens with the guarantee it gives.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cache
from importlib.resources import files
from typing import Any, Generic, TypeVar

from redis import Redis
from redis.asyncio import Redis as AsyncRedis
from redis.exceptions import NoScriptError

from pool_contract.messages import DrainOrder, PoolSettings, ReplicaReport

T = TypeVar("T")

LEASE_SECONDS = 60.0
"""How long a claim lives without renewal; worst-case recovery is this plus the period of housekeeping."""
HEARTBEAT_SECONDS = 15.0
"""How often a replica renews all its leases and reports."""


class StaleEpochError(Exception):
    """A newer leader has acted for this pool: whoever gets this must stop acting for it."""


@dataclass(frozen=True, slots=True)
class Call(Generic[T]):
    """One script call: name of the Lua file, its JSON-able arguments, and the reader of its JSON reply."""

    script: str
    arguments: Mapping[str, Any]
    read: Callable[[Any], T]


# --- replies ------------------------------------------------------------------------------------------------


class Refusal(StrEnum):
    """Why a claim gave nothing."""

    EMPTY = "Empty"  # no job in any queue
    DRAINED = "Drained"  # the replica carries a drain mark
    RESERVED = "Reserved"  # the replica waits to be empty for a job that must run alone
    STALE = "Stale"  # another process has registered as this replica


@dataclass(frozen=True, slots=True)
class Claimed:
    """A job that now belongs to this replica: its RQ keys say `started`, its lease runs."""

    job_id: str
    queue: str
    execution_id: str
    alone: bool  # re-run after a loss: nothing else runs in this replica
    exhausted: bool  # lost more often than max_losses allows: end it through RQ's failure path, do not run it
    losses: int


@dataclass(frozen=True, slots=True)
class ClaimReply:
    claimed: Claimed | None
    refusal: Refusal | None = None


@dataclass(frozen=True, slots=True)
class Reclaimed:
    """A claim that ended by expiry (or by a new incarnation) and was given back."""

    job_id: str
    queue: str
    replica: str
    losses: int
    exhausted: bool


@dataclass(frozen=True, slots=True)
class QueueState:
    """One queue at one instant, by Redis' clock."""

    waiting: int
    intermediate: int  # ids in foreign workers' hands, not yet started
    running: int  # live leases
    expired: int  # leases past their end: demand, not capacity
    foreign_running: int  # wip entries that are not ours
    scheduled: int
    due: int  # scheduled and due now, or ready with dependencies met
    next_due_at: float | None  # unix seconds
    oldest_enqueued_at: float | None  # unix seconds
    failed: int
    deferred: int
    hinted_seconds: float  # sum of size hints of the first waiting jobs
    problem: str = ""  # e.g. "rq:queue:x holds a string, not a list"


@dataclass(frozen=True, slots=True)
class ReplicaState:
    """One replica as Redis knows it."""

    replica: str
    claims: int
    drained: bool
    report: ReplicaReport | None
    age_seconds: float | None  # since the last report, by Redis' clock


@dataclass(frozen=True, slots=True)
class PoolState:
    replicas: Mapping[str, ReplicaState]
    published: bool = True  # the pool's settings are in keys.pools; if they vanished, Redis lost data


@dataclass(frozen=True, slots=True)
class EndpointState:
    """Everything `read` saw in one call."""

    at: float  # Redis TIME, unix seconds
    uptime_seconds: float
    replication_role: str  # "master" | "slave"
    queues: Mapping[str, QueueState]
    pools: Mapping[str, PoolState]


@dataclass(frozen=True, slots=True)
class Swept:
    """What one sweep mended."""

    intermediate: tuple[str, ...] = ()
    rate_limit_slots: int = 0
    workers: int = 0
    groups: int = 0
    dependents: int = 0


# --- calls --------------------------------------------------------------------------------------------------


def claim(
    prefix: str,
    *,
    pool: str,
    replica: str,
    incarnation: str,
    worker: str,
    queues: Sequence[str],
    execution_id: str,
    lease_seconds: float = LEASE_SECONDS,
) -> Call[ClaimReply]:
    """Take the next job: queues in strict priority order, head first, RQ's keys and ours in one step."""
    raise NotImplementedError


def renew(
    prefix: str, *, replica: str, claims: Iterable[tuple[str, str, str]], lease_seconds: float = LEASE_SECONDS
) -> Call[tuple[str, ...]]:
    """Renew the leases of (queue, job, execution) claims; returns the ids of jobs that are no longer ours."""
    raise NotImplementedError


def release(prefix: str, *, queue: str, job_id: str, execution_id: str) -> Call[bool]:
    """Hand a running job back to the head of its queue: no retry used, no loss counted. False: it was not ours any more."""
    raise NotImplementedError


def register(prefix: str, *, pool: str, replica: str, incarnation: str, max_losses: int) -> Call[tuple[Reclaimed, ...]]:
    """Become this replica: what an older process of the same replica still held is given back at once, as a loss."""
    raise NotImplementedError


def reclaim(
    prefix: str, *, queues: Sequence[str], max_losses: int, excused_replicas: Sequence[str] = ()
) -> Call[tuple[Reclaimed, ...]]:
    """Give back every job whose lease has ended. Losses on `excused_replicas` (evicted, node lost) never count as strikes."""
    raise NotImplementedError


def due(prefix: str, *, queues: Sequence[str], limit: int = 1000) -> Call[int]:
    """Move scheduled jobs that are due to their queues, as RQ's scheduler would. Returns how many."""
    raise NotImplementedError


def ready(prefix: str, *, queues: Sequence[str], limit: int = 1000) -> Call[int]:
    """Push jobs whose dependencies are met but that were not pushed, as RQ's maintenance would. Returns how many."""
    raise NotImplementedError


def sweep(prefix: str, *, queues: Sequence[str], intermediate_grace_seconds: float = 60.0) -> Call[Swept]:
    """Mend what dead processes left: foreign intermediates, rate-limit slots, worker and group sets, missed dependents."""
    raise NotImplementedError


def drain(prefix: str, *, pool: str, epoch: int, orders: Mapping[str, DrainOrder]) -> Call[dict[str, int]]:
    """Mark replicas and count their claims in the same step: 0 means it can never hold a job again until un-marked.

    Raises StaleEpochError through the runner if a newer leader has acted for the pool.
    """
    raise NotImplementedError


def undrain(prefix: str, *, pool: str, epoch: int, replicas: Sequence[str]) -> Call[int]:
    """Remove drain marks. Returns how many were there. StaleEpochError as for drain."""
    raise NotImplementedError


def publish_settings(prefix: str, *, pool: str, epoch: int, settings: PoolSettings | None) -> Call[None]:
    """Write the pool's live settings for its workers; None removes the pool. StaleEpochError as for drain."""
    raise NotImplementedError


def read(
    prefix: str, *, queues: Sequence[str], pools: Sequence[str], lookahead_seconds: float = 0.0
) -> Call[EndpointState]:
    """Observe all queues and replicas of an endpoint at one instant; writes nothing.

    A key of the wrong type makes that queue's `problem`, not an error.
    """
    raise NotImplementedError


# --- runners ------------------------------------------------------------------------------------------------


@cache
def source(script: str) -> str:
    """The Lua text of a script."""
    return files("pool_contract").joinpath("scripts", f"{script}.lua").read_text(encoding="utf-8")


class Scripts:
    """Runs calls on a synchronous client."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    def run(self, call: Call[T]) -> T:
        raise NotImplementedError


class AsyncScripts:
    """Runs calls on an asyncio client."""

    def __init__(self, redis: AsyncRedis) -> None:
        self._redis = redis

    async def run(self, call: Call[T]) -> T:
        raise NotImplementedError
