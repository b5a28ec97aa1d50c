"""What the scripts of the contract answer, and how it is read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum
from math import isfinite
from typing import Any, NamedTuple

from pool_contract.messages import ReplicaReport, RunRecord


class Refusal(StrEnum):
    """Why a claim gave nothing."""

    EMPTY = "Empty"  # no job in any queue
    DRAINED = "Drained"  # the replica carries a drain mark
    RESERVED = "Reserved"  # the replica waits to be empty for a job that must run alone
    STALE = "Stale"  # another process has registered as this replica
    RATE = "Rate"  # as many jobs as the pool may start in a minute have started
    CONCURRENCY = "Concurrency"  # as many jobs run as may run in the pool at once
    BUDGET = "Budget"  # the pool's grant is used up, has ended, or is not there


@dataclass(frozen=True, slots=True)
class Claimed:
    """A job that now belongs to this replica: its RQ keys say `started`, its lease runs."""

    job_id: str
    queue: str
    execution_id: str
    alone: bool  # re-run after a loss: nothing else runs in this replica
    exhausted: bool  # lost more often than max_losses allows: end it through RQ's failure path, do not run it
    losses: int
    hint_seconds: float = 0.0  # seconds of media given at submission; 0: none
    claimed_at: float | None = None  # unix seconds, Redis' clock


@dataclass(frozen=True, slots=True)
class ClaimReply:
    claimed: Claimed | None
    refusal: Refusal | None = None
    retry_seconds: float | None = None  # when to ask again, where Redis knows


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
    hinted: int = 0  # how many of those have a size hint
    upcoming: tuple[float, ...] = ()  # when the next scheduled jobs are due, soonest first, at most 64: unix seconds


class EndedRun(NamedTuple):
    """An entry of the stream of ended runs; the first half of its id is Redis' time in milliseconds."""

    id: tuple[int, int]
    record: RunRecord


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
    allowance_used: float = 0.0  # money that claims have ever taken from the pool's grants
    ended: tuple[EndedRun, ...] = ()  # runs after the cursor asked for, oldest first
    more: bool = False  # there may be runs behind these
    cursor: tuple[int, int] | None = None  # the last entry seen, also one that cannot be read; None: none was there
    unreadable: int = 0  # entries that are no run's: somebody else wrote them


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


# --- from JSON ----------------------------------------------------------------------------------------------


def nothing(_reply: Any) -> None:
    return None


def claim_reply(reply: Any) -> ClaimReply:
    if "claimed" in reply:
        return ClaimReply(claimed=Claimed(**reply["claimed"]))
    return ClaimReply(claimed=None, refusal=Refusal(reply["refusal"]), retry_seconds=reply.get("retry_seconds"))


def reclaimed(reply: Any) -> tuple[Reclaimed, ...]:
    return tuple(Reclaimed(**one) for one in reply)


def swept(reply: Any) -> Swept:
    return Swept(**(reply | {"intermediate": tuple(reply["intermediate"])}))


def endpoint_state(reply: Any, queues: Sequence[str], pools: Sequence[str]) -> EndpointState:
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
    (
        waiting, intermediate, running, expired, foreign, scheduled, due, upcoming, head, tail, failed, deferred,
        hinted, hinted_seconds,
    ) = row  # fmt: skip
    times = tuple(at for at in map(float, upcoming) if isfinite(at))  # a score may be infinite
    enqueued = [at for at in (_unix(head), _unix(tail)) if at is not None]
    return QueueState(
        waiting=waiting,
        intermediate=intermediate,
        running=running,
        expired=expired,
        foreign_running=foreign,
        scheduled=scheduled,
        due=due,
        next_due_at=times[0] if times else None,
        oldest_enqueued_at=min(enqueued, default=None),
        failed=failed,
        deferred=deferred,
        hinted_seconds=float(hinted_seconds),
        hinted=hinted,
        upcoming=times,
    )


def _unix(text: str) -> float | None:
    """RQ's date format; None for what is no date."""
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        return None
    return at.replace(tzinfo=at.tzinfo or UTC).timestamp()


def _pool_state(pool: Any, at: float) -> PoolState:
    replicas = {row[0]: _replica_state(row, at) for row in pool["replicas"]}
    rows = [(_stream_id(identifier), text) for identifier, text in pool["runs"]]
    ended = tuple(EndedRun(identifier, record) for identifier, text in rows if (record := _record(text)) is not None)
    return PoolState(
        replicas=replicas,
        published=pool["published"],
        allowance_used=_amount(pool["used"]),
        ended=ended,
        more=pool["more"],
        cursor=rows[-1][0] if rows else None,
        unreadable=len(rows) - len(ended),
    )


def _stream_id(text: str) -> tuple[int, int]:
    milliseconds, _, number = text.partition("-")
    return int(milliseconds), int(number)


def _record(text: str) -> RunRecord | None:
    try:
        return RunRecord.model_validate_json(text)
    except ValueError:
        return None


def _amount(text: str) -> float:
    """A number that somebody else may have written."""
    try:
        amount = float(text)
    except ValueError:
        return 0.0
    return amount if isfinite(amount) else 0.0


def _replica_state(row: Sequence[Any], at: float) -> ReplicaState:
    replica, claims, drained, text, reported = row
    try:
        report = ReplicaReport.model_validate_json(text) if text else None
    except ValueError:
        report = None
    age = None if report is None else max(0.0, at - float(reported))
    return ReplicaState(replica=replica, claims=claims, drained=drained, report=report, age_seconds=age)
