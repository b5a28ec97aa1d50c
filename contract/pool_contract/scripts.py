"""The scripts of the contract: typed calls, and the two runners that send them.

A `Call` is a value: which script, its arguments, how to read the reply. `Scripts(redis)` runs it on a
synchronous client (worker, tools), `AsyncScripts(redis)` on an asyncio one (operator). Every script takes its time
from Redis, so no caller's clock matters. Each `scripts/<name>.lua` opens with the guarantee it gives.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, Generic, TypeVar, cast

from redis import Redis
from redis.asyncio import Redis as AsyncRedis
from redis.exceptions import NoScriptError, ResponseError

from pool_contract.messages import DrainOrder, PoolSettings, ReplicaReport
from pool_contract.replies import (
    Claimed,
    ClaimReply,
    EndedRun,
    EndpointState,
    PoolState,
    QueueState,
    Reclaimed,
    Refusal,
    ReplicaState,
    Swept,
    claim_reply,
    endpoint_state,
    nothing,
    reclaimed,
    swept,
)

__all__ = [
    "HEARTBEAT_SECONDS",
    "LEASE_SECONDS",
    "RUNS_AT_MOST",
    "AsyncScripts",
    "Call",
    "ClaimReply",
    "Claimed",
    "EndedRun",
    "EndpointState",
    "PoolState",
    "QueueState",
    "Reclaimed",
    "Refusal",
    "ReplicaState",
    "Scripts",
    "StaleEpochError",
    "Swept",
    "claim",
    "drain",
    "due",
    "grant",
    "publish_settings",
    "read",
    "ready",
    "reclaim",
    "register",
    "release",
    "renew",
    "report",
    "source",
    "sweep",
    "undrain",
]

T = TypeVar("T")

LEASE_SECONDS = 60.0
"""How long a claim lives without renewal; worst-case recovery is this plus the period of housekeeping."""
RUNS_AT_MOST = 500
"""Ended runs of a pool in one reading; of all its pools together, twice as many."""
HEARTBEAT_SECONDS = 15.0
"""How often a replica renews all its leases and reports."""


LIMITS = ("rate_per_minute", "max_concurrent", "commitment")
"""Fields of PoolSettings that the claim script keeps to."""


class StaleEpochError(Exception):
    """A newer leader has acted for this pool: whoever gets this must stop acting for it."""


@dataclass(frozen=True, slots=True)
class Call(Generic[T]):
    """One script call: name of the Lua file, its JSON-able arguments, and the reader of its JSON reply."""

    script: str
    arguments: Mapping[str, Any]
    read: Callable[[Any], T]


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
    commitment: float = 0.0,
) -> Call[ClaimReply]:
    """Take the next job: queues in strict priority order, head first, RQ's keys and ours in one step.

    `commitment`: what a claim of this pool takes from the grant, as the replica last heard. Where Redis has forgotten it
    with everything else, the hard budget holds all the same.
    """
    arguments = {
        "prefix": prefix,
        "pool": pool,
        "replica": replica,
        "incarnation": incarnation,
        "worker": worker,
        "queues": list(queues),
        "execution_id": execution_id,
        "lease_seconds": lease_seconds,
        "commitment": commitment,
    }
    return Call("claim", arguments, claim_reply)


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
    return Call("register", arguments, reclaimed)


def report(prefix: str, *, report: ReplicaReport, ttl_seconds: float = 3 * HEARTBEAT_SECONDS) -> Call[None]:
    """Say how a replica is; its age is counted from here on by Redis' clock."""
    arguments = {
        "prefix": prefix,
        "pool": report.pool,
        "replica": report.replica,
        "report": report.model_dump_json(),
        "ttl_seconds": ttl_seconds,
    }
    return Call("report", arguments, nothing)


def reclaim(
    prefix: str,
    *,
    queues: Sequence[str],
    max_losses: int,
    pools: Sequence[str] = (),
    excused_replicas: Sequence[str] = (),
) -> Call[tuple[Reclaimed, ...]]:
    """Give back every job whose lease has ended, of these queues and of those that the pools' replicas still hold claims of.

    Losses on `excused_replicas` (evicted, node lost) never count as strikes.
    """
    arguments = {
        "prefix": prefix,
        "queues": list(queues),
        "pools": list(pools),
        "max_losses": max_losses,
        "excused_replicas": list(excused_replicas),
    }
    return Call("reclaim", arguments, reclaimed)


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
    return Call("sweep", arguments, swept)


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
    """Write the pool's live settings for its workers, and the limits of its claims; None removes the pool.

    Settings without a limit take it away; what was granted and used stays. StaleEpochError as for drain.
    """
    arguments: dict[str, Any] = {"prefix": prefix, "pool": pool, "epoch": str(epoch), "settings": None}
    if settings is not None:
        arguments["settings"] = settings.model_dump_json()
        arguments["limits"] = {name: getattr(settings, name) or 0 for name in LIMITS}
    return Call("publish_settings", arguments, nothing)


def grant(prefix: str, *, pool: str, epoch: int, granted: float, used: float, ttl_seconds: float) -> Call[bool]:
    """Let claims go on until their `allowance_used` reaches `granted`, for so long by Redis' clock.

    An absolute amount: claims made meanwhile are in `allowance_used` already, so nothing is granted twice. A lower one
    than before takes back what is not used yet. `used`: the `allowance_used` that the amount was counted from; False if
    Redis has forgotten it since, and nothing was written. StaleEpochError as for drain.
    """
    arguments = {
        "prefix": prefix,
        "pool": pool,
        "epoch": str(epoch),
        "granted": granted,
        "used": used,
        "ttl_seconds": ttl_seconds,
    }
    return Call("grant", arguments, bool)


def read(
    prefix: str,
    *,
    queues: Sequence[str],
    pools: Sequence[str],
    lookahead_seconds: float = 0.0,
    runs_after: Mapping[str, tuple[int, int]] | None = None,
    runs_at_most: int = RUNS_AT_MOST,
) -> Call[EndpointState]:
    """Observe all queues and replicas of an endpoint at one instant; writes nothing.

    A key of the wrong type makes that queue's `problem`, not an error. `runs_after`: per pool the id of the last ended
    run that is known; of a pool without one, the last runs that ended are read. Where there are more than
    `runs_at_most`, the next reading goes on behind them.
    """
    names, uids = tuple(queues), tuple(pools)
    known = runs_after or {}
    arguments = {
        "prefix": prefix,
        "queues": names,
        "pools": uids,
        "lookahead_seconds": lookahead_seconds,
        "runs_at_most": runs_at_most,
        "runs_after": [f"{known[uid][0]}-{known[uid][1] + 1}" if uid in known else "" for uid in uids],
    }
    return Call("read", arguments, lambda reply: endpoint_state(reply, names, uids))


# --- runners ------------------------------------------------------------------------------------------------


STALE_EPOCH = "STALEEPOCH"


_ENQUEUEING = {"due", "ready", "sweep"}


@cache
def source(script: str) -> str:
    """The Lua text of a script, with what it shares with others in front of it."""
    folder = files("pool_contract").joinpath("scripts")
    parts = ("prelude", "enqueue", script) if script in _ENQUEUEING else ("prelude", script)
    return "\n".join(folder.joinpath(f"{part}.lua").read_text(encoding="utf-8") for part in parts)


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
