"""The report of a run: what became of each job, judged by the jobs' own run log and by Redis, never by our counters.

A run log line is written by the job function itself: {"job", "event": "start" | "end", "at", "pid", "replica"}, an end
also says its "outcome": finished, failed, or interrupted (handed back, or out of time).
"""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from redis.asyncio import Redis as AsyncRedis

from pool_contract import keys
from pool_operator.app.local_record import Change

Json = dict[str, Any]
ENDED = frozenset({"finished", "failed", "canceled", "stopped"})
REGISTRIES = {
    "started": keys.wip,
    "finished": keys.finished,
    "failed": keys.failed,
    "scheduled": keys.scheduled,
    "deferred": keys.deferred,
    "canceled": keys.canceled,
    "ready": keys.ready,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Lifetime:
    """One replica's process; `removed`: scaling told it to end."""

    id: str
    created_at: float
    ended_at: float | None
    removed: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What Redis and the run log say."""

    statuses: Mapping[str, str]  # job id -> RQ status; "" if Redis knows no such job
    created: Mapping[str, float]  # job id -> unix seconds
    runs: Sequence[Mapping[str, Any]]  # the run log
    where: Mapping[str, int]  # job id -> in how many places of RQ it is


@dataclass(frozen=True, slots=True, kw_only=True)
class Before:
    """What was there when a run began, and is not its doing."""

    ended: frozenset[str] = frozenset()  # job ids
    lines: int = 0  # of the run log


async def before(redis: AsyncRedis, prefix: str, queues: Sequence[str]) -> Before:
    """Look before the run begins."""
    ended = [job for kind, ids in await _places(redis, prefix, queues) if kind in ENDED for job in ids]
    lines: Any = await redis.llen(keys.run_log(prefix))
    return Before(ended=frozenset(ended), lines=lines)


async def gather(
    redis: AsyncRedis,
    prefix: str,
    queues: Sequence[str],
    *,
    jobs: Collection[str] | None = None,
    began: Before | None = None,
) -> Evidence:
    """Read the evidence on these jobs, or on all that had not ended when the run began."""
    began = began or Before()
    lines: Any = await redis.lrange(keys.run_log(prefix), began.lines, -1)
    runs = [run for run in map(_line, lines) if run is not None]
    places = await _places(redis, prefix, queues)
    known = [str(run["job"]) for run in runs] + [job for _, found in places for job in found if job not in began.ended]
    ids = list(dict.fromkeys(known if jobs is None else jobs))
    pipeline = redis.pipeline(transaction=False)
    for job in ids:
        pipeline.hmget(keys.job(prefix, job), "status", "created_at")
    answers = await pipeline.execute() if ids else []
    return Evidence(
        statuses={job: (status or b"").decode() for job, (status, _) in zip(ids, answers, strict=True)},
        created={job: _unix(at) for job, (_, at) in zip(ids, answers, strict=True) if at},
        runs=runs,
        where={job: sum(found.count(job) for _, found in places) for job in ids},
    )


async def _places(redis: AsyncRedis, prefix: str, queues: Sequence[str]) -> list[tuple[str, list[str]]]:
    """Every place of RQ where a job may stand, with the ids that stand there."""
    found: list[tuple[str, list[str]]] = []
    for queue in queues:
        listed: Any = await redis.lrange(keys.queue(prefix, queue), 0, -1)
        found.append(("queued", [one.decode() for one in listed]))
        for name, registry in REGISTRIES.items():
            members: Any = await redis.zrange(registry(prefix, queue), 0, -1)
            found.append((name, [one.decode().partition(":")[0] for one in members]))
    return found


def _line(text: bytes) -> Mapping[str, Any] | None:
    try:
        line = json.loads(text)
    except ValueError:
        return None
    return line if isinstance(line, dict) and "job" in line and "event" in line else None


def _unix(text: bytes) -> float:
    return datetime.fromisoformat(text.decode()).timestamp()


def build_report(
    evidence: Evidence,
    *,
    replicas: Sequence[Lifetime],
    changes: Sequence[Change],
    price_per_hour: float | None,
    now: float,
    unlogged: bool = False,
) -> Json:
    """One JSON object; money in the currency of the pool's price.

    `unlogged`: there may be finished jobs without a line in the run log: functions of the user's own log nothing.
    """
    statuses = evidence.statuses
    jobs = set(statuses)
    events = [run for run in evidence.runs if run["job"] in jobs]
    ends = _counts(
        run["job"] for run in events if run["event"] == "end" and run.get("outcome", "finished") == "finished"
    )
    starts = _counts(run["job"] for run in events if run["event"] == "start")
    finished = {
        job
        for job, status in statuses.items()
        if status == "finished" and (ends.get(job) or (unlogged and not starts.get(job)))
    }
    failed = {job for job, status in statuses.items() if status in ENDED - {"finished"}}
    waiting = {job for job, status in statuses.items() if status not in ENDED and evidence.where[job] == 1}
    removed = {one.id for one in replicas if one.removed}
    cut_off = _cut_off(events)
    lifetimes = [(one.created_at, one.ended_at if one.ended_at is not None else now) for one in replicas]
    replica_seconds = sum(end - start for start, end in lifetimes)
    return {
        "jobs": len(jobs),
        "finished": len(finished),
        "failed": len(failed),
        "waiting": len(waiting),
        "lost": len(jobs - finished - failed - waiting),
        "duplicated": sum(number > 1 for number in ends.values())
        + sum(places > 1 for places in evidence.where.values()),
        "killed": sum(replica in removed for replica in cut_off),
        "interrupted": sum(replica not in removed for replica in cut_off),
        "peak_replicas": max((count for _, count in timeline(lifetimes)), default=0),
        "final_replicas": sum(one.ended_at is None for one in replicas),
        "wait_seconds": _waits(evidence.created, events),
        "replica_seconds": round(replica_seconds, 1),
        "cost": None if price_per_hour is None else round(replica_seconds / 3600 * price_per_hour, 6),
        "decisions": [_decision(one) for one in changes],
    }


def _decision(change: Change) -> Json:
    return {
        "at": round(change.at, 3),
        "from": change.before,
        "to": change.after,
        "reason": change.reason,
        "message": change.message,
    }


def _counts(values: Iterable[str]) -> dict[str, int]:
    found: dict[str, int] = {}
    for value in values:
        found[value] = found.get(value, 0) + 1
    return found


def _cut_off(events: Iterable[Mapping[str, Any]]) -> list[str]:
    """The replica of each run that started and did not come to its end."""
    open_runs: dict[tuple[str, str], int] = {}
    for run in events:
        key = (str(run["job"]), str(run.get("replica", "")))
        open_runs[key] = open_runs.get(key, 0) + (1 if run["event"] == "start" else -1)
    return [replica for (_, replica), number in open_runs.items() for _ in range(number)]


def _waits(created: Mapping[str, float], events: Iterable[Mapping[str, Any]]) -> dict[str, float | None]:
    """From submission to the first start."""
    first: dict[str, float] = {}
    for run in events:
        if run["event"] == "start":
            first.setdefault(run["job"], float(run["at"]))
    waits = sorted(max(0.0, at - created[job]) for job, at in first.items() if job in created)
    return {"p50": percentile(waits, 50), "p99": percentile(waits, 99)}


def percentile(ordered: Sequence[float], percent: float) -> float | None:
    """Nearest rank; None of nothing."""
    if not ordered:
        return None
    return round(ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)], 3)


def timeline(lifetimes: Iterable[tuple[float, float]]) -> list[tuple[float, int]]:
    """(time, replicas from then on); at the same instant those that end go first."""
    lifetimes = list(lifetimes)
    steps = sorted([(start, 1) for start, _ in lifetimes] + [(end, -1) for _, end in lifetimes])
    found, count = [], 0
    for at, step in steps:
        count += step
        found.append((at, count))
    return found
