"""The scripts of the contract: typed calls, and the two runners that send them.

A `Call` is a value: which script, its arguments, how to read the reply. `Scripts(redis)` runs it on a
synchronous client (worker, tools), `AsyncScripts(redis)` on an asyncio one (operator). Every script takes its time
from Redis, so no caller's clock matters. Each `scripts/<name>.lua` opens with the guarantee it gives.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from functools import cache
from importlib.resources import files
from typing import Any, Generic, TypeVar, cast

from pydantic import ValidationError
from redis.asyncio import Redis as AsyncRedis
from redis.exceptions import NoScriptError, ResponseError

from pool_contract.messages import DrainOrder, PoolSettings, ReplicaReport
from redis import Redis

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


_EMPTY_QUEUE = QueueState(
    waiting=0,
    intermediate=0,
    running=0,
    expired=0,
    foreign_running=0,
    scheduled=0,
    due=0,
    next_due_at=None,
    oldest_enqueued_at=None,
    failed=0,
    deferred=0,
    hinted_seconds=0.0,
)


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
    arguments = {
        "prefix": prefix,
        "pool": pool,
        "replica": replica,
        "incarnation": incarnation,
        "worker": worker,
        "queues": list(queues),
        "execution_id": execution_id,
        "lease_seconds": lease_seconds,
    }
    return Call("claim", arguments, _claim_reply)


def renew(
    prefix: str, *, replica: str, claims: Iterable[tuple[str, str, str]], lease_seconds: float = LEASE_SECONDS
) -> Call[tuple[str, ...]]:
    """Renew the leases of (queue, job, execution) claims; returns the ids of jobs that are no longer ours."""
    arguments = {"prefix": prefix, "replica": replica, "claims": list(claims), "lease_seconds": lease_seconds}
    return Call("renew", arguments, tuple)


def release(prefix: str, *, queue: str, job_id: str, execution_id: str) -> Call[bool]:
    """Hand a running job back to the head of its queue: no retry used, no loss counted. False: it was not ours any more."""
    return Call("release", {"prefix": prefix, "queue": queue, "job_id": job_id, "execution_id": execution_id}, bool)


def register(prefix: str, *, pool: str, replica: str, incarnation: str, max_losses: int) -> Call[tuple[Reclaimed, ...]]:
    """Become this replica: what an older process of the same replica still held is given back at once, as a loss."""
    arguments = {
        "prefix": prefix,
        "pool": pool,
        "replica": replica,
        "incarnation": incarnation,
        "max_losses": max_losses,
    }
    return Call("register", arguments, _reclaimed)


def report(prefix: str, *, report: ReplicaReport, ttl_seconds: float = 3 * HEARTBEAT_SECONDS) -> Call[None]:
    """Say how a replica is; its age is counted from here on by Redis' clock."""
    arguments = {
        "prefix": prefix,
        "pool": report.pool,
        "replica": report.replica,
        "report": report.model_dump_json(),
        "ttl_seconds": ttl_seconds,
    }
    return Call("report", arguments, _nothing)


def reclaim(
    prefix: str, *, queues: Sequence[str], max_losses: int, excused_replicas: Sequence[str] = ()
) -> Call[tuple[Reclaimed, ...]]:
    """Give back every job whose lease has ended. Losses on `excused_replicas` (evicted, node lost) never count as strikes."""
    arguments = {
        "prefix": prefix,
        "queues": list(queues),
        "max_losses": max_losses,
        "excused_replicas": list(excused_replicas),
    }
    return Call("reclaim", arguments, _reclaimed)


def due(prefix: str, *, queues: Sequence[str], limit: int = 1000) -> Call[int]:
    """Move scheduled jobs that are due to their queues, as RQ's scheduler would. Returns how many."""
    return Call("due", {"prefix": prefix, "queues": list(queues), "limit": limit}, int)


def ready(prefix: str, *, queues: Sequence[str], limit: int = 1000) -> Call[int]:
    """Push jobs whose dependencies are met but that were not pushed, as RQ's maintenance would. Returns how many."""
    return Call("ready", {"prefix": prefix, "queues": list(queues), "limit": limit}, int)


def sweep(prefix: str, *, queues: Sequence[str], intermediate_grace_seconds: float = 60.0) -> Call[Swept]:
    """Mend what dead processes left: foreign intermediates, rate-limit slots, worker and group sets, missed dependents."""
    arguments = {
        "prefix": prefix,
        "queues": list(queues),
        "intermediate_grace_seconds": intermediate_grace_seconds,
    }
    return Call("sweep", arguments, _swept)


def drain(prefix: str, *, pool: str, epoch: int, orders: Mapping[str, DrainOrder]) -> Call[dict[str, int]]:
    """Mark replicas and count their claims in the same step: 0 means it can never hold a job again until un-marked.

    Raises StaleEpochError through the runner if a newer leader has acted for the pool.
    """
    texts = {replica: order.model_dump_json() for replica, order in orders.items()}
    return Call("drain", {"prefix": prefix, "pool": pool, "epoch": str(epoch), "orders": texts}, dict)


def undrain(prefix: str, *, pool: str, epoch: int, replicas: Sequence[str]) -> Call[int]:
    """Remove drain marks. Returns how many were there. StaleEpochError as for drain."""
    return Call("undrain", {"prefix": prefix, "pool": pool, "epoch": str(epoch), "replicas": list(replicas)}, int)


def publish_settings(prefix: str, *, pool: str, epoch: int, settings: PoolSettings | None) -> Call[None]:
    """Write the pool's live settings for its workers; None removes the pool. StaleEpochError as for drain."""
    text = None if settings is None else settings.model_dump_json()
    return Call("publish_settings", {"prefix": prefix, "pool": pool, "epoch": str(epoch), "settings": text}, _nothing)


def read(
    prefix: str, *, queues: Sequence[str], pools: Sequence[str], lookahead_seconds: float = 0.0
) -> Call[EndpointState]:
    """Observe all queues and replicas of an endpoint at one instant; writes nothing.

    A key of the wrong type makes that queue's `problem`, not an error.
    """
    names, uids = tuple(queues), tuple(pools)
    arguments = {"prefix": prefix, "queues": names, "pools": uids, "lookahead_seconds": lookahead_seconds}
    return Call("read", arguments, lambda reply: _endpoint_state(reply, names, uids))


# --- readers of replies -------------------------------------------------------------------------------------


def _nothing(_reply: Any) -> None:
    return None


def _claim_reply(reply: Any) -> ClaimReply:
    if "claimed" in reply:
        return ClaimReply(claimed=Claimed(**reply["claimed"]))
    return ClaimReply(claimed=None, refusal=Refusal(reply["refusal"]))


def _reclaimed(reply: Any) -> tuple[Reclaimed, ...]:
    return tuple(Reclaimed(**one) for one in reply)


def _swept(reply: Any) -> Swept:
    return Swept(**(reply | {"intermediate": tuple(reply["intermediate"])}))


def _endpoint_state(reply: Any, queues: Sequence[str], pools: Sequence[str]) -> EndpointState:
    at = float(reply["at"])
    return EndpointState(
        at=at,
        uptime_seconds=float(reply["uptime"]),
        replication_role=reply["role"],
        queues={name: _queue_state(row) for name, row in zip(queues, reply["queues"], strict=True)},
        pools={uid: _pool_state(one, at) for uid, one in zip(pools, reply["pools"], strict=True)},
    )


def _queue_state(row: Sequence[Any]) -> QueueState:
    """From a row of read.lua: [0] for a queue without any key, [-1, problem] for one that cannot be read."""
    if len(row) <= 2:
        return _EMPTY_QUEUE if row[0] == 0 else replace(_EMPTY_QUEUE, problem=row[1])
    waiting, intermediate, running, expired, foreign, scheduled, due, next_due, head, tail, failed, deferred, hinted = (
        row
    )
    enqueued = [at for at in (_unix(head), _unix(tail)) if at is not None]
    return QueueState(
        waiting=waiting,
        intermediate=intermediate,
        running=running,
        expired=expired,
        foreign_running=foreign,
        scheduled=scheduled,
        due=due,
        next_due_at=float(next_due) if next_due else None,
        oldest_enqueued_at=min(enqueued, default=None),
        failed=failed,
        deferred=deferred,
        hinted_seconds=float(hinted),
    )


def _unix(text: str) -> float | None:
    """RQ's date format; None for what is no date."""
    try:
        return datetime.fromisoformat(text).timestamp() if text else None
    except ValueError:
        return None


def _pool_state(pool: Any, at: float) -> PoolState:
    replicas = {row[0]: _replica_state(row, at) for row in pool["replicas"]}
    return PoolState(replicas=replicas, published=pool["published"])


def _replica_state(row: Sequence[Any], at: float) -> ReplicaState:
    replica, claims, drained, text, reported = row
    try:
        report = ReplicaReport.model_validate_json(text) if text else None
    except ValidationError:
        report = None
    age = None if report is None else max(0.0, at - float(reported))
    return ReplicaState(replica=replica, claims=claims, drained=drained, report=report, age_seconds=age)


# --- runners ------------------------------------------------------------------------------------------------


STALE_EPOCH = "STALEEPOCH"


@cache
def source(script: str) -> str:
    """The Lua text of a script, with what all scripts share in front of it."""
    folder = files("pool_contract").joinpath("scripts")
    return "\n".join(folder.joinpath(f"{name}.lua").read_text(encoding="utf-8") for name in ("prelude", script))


@cache
def _digest(script: str) -> str:
    return hashlib.sha1(source(script).encode(), usedforsecurity=False).hexdigest()


def _argument(call: Call[Any]) -> str:
    return json.dumps(call.arguments)


def _understood(call: Call[T], reply: bytes | str) -> T:
    text = reply if isinstance(reply, str) else reply.decode(errors="surrogateescape")
    found = json.loads(text)
    return call.read(found)


def _translated(error: ResponseError) -> Exception:
    text = str(error)
    return StaleEpochError(text.partition(STALE_EPOCH)[2].strip()) if STALE_EPOCH in text else error


class Scripts:
    """Runs calls on a synchronous client."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    def run(self, call: Call[T]) -> T:
        """Run one script.

        Raises:
            StaleEpochError: a newer leader has acted for the pool.
            redis.RedisError: Redis could not be asked, or refused.
        """
        argument = _argument(call)
        try:
            try:
                reply = self._redis.evalsha(_digest(call.script), 0, argument)
            except NoScriptError:
                reply = self._redis.eval(source(call.script), 0, argument)
        except ResponseError as error:
            raise _translated(error) from error
        return _understood(call, cast(bytes | str, reply))


class AsyncScripts:
    """Runs calls on an asyncio client."""

    def __init__(self, redis: AsyncRedis) -> None:
        self._redis = redis

    async def run(self, call: Call[T]) -> T:
        """As Scripts.run."""
        argument = _argument(call)
        try:
            try:
                reply = await self._redis.evalsha(_digest(call.script), 0, argument)
            except NoScriptError:
                reply = await self._redis.eval(source(call.script), 0, argument)
        except ResponseError as error:
            raise _translated(error) from error
        return _understood(call, cast(bytes | str, reply))
