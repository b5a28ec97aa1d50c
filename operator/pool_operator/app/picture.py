"""What Redis shows of the pools of an endpoint: for `status` and for the live view of `run`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError
from redis.asyncio import Redis as AsyncRedis

from pool_client.states import progress_of
from pool_contract import keys, scripts
from pool_contract.messages import PoolSettings, ReplicaPhase
from pool_contract.scripts import HEARTBEAT_SECONDS, AsyncScripts, QueueState, ReplicaState

GONE_SECONDS = 3 * HEARTBEAT_SECONDS


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningJob:
    job: str
    queue: str
    description: str
    seconds: float
    progress: float | None = None  # 0..1


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplicaRow:
    """One replica, as it reports itself."""

    id: str
    phase: str
    slots: int
    drained: bool
    age_seconds: float | None  # since its last report
    jobs: tuple[RunningJob, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueRow:
    name: str
    waiting: int
    running: int
    scheduled: int
    finished: int
    failed: int
    oldest_wait_seconds: float | None = None
    problem: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolPicture:
    """One pool at one instant."""

    pool: str  # namespace/name
    uid: str
    at: float
    queues: tuple[QueueRow, ...] = ()
    replicas: tuple[ReplicaRow, ...] = ()
    settings: PoolSettings | None = None


async def published_pools(redis: AsyncRedis, prefix: str) -> dict[str, PoolSettings]:
    """All pools that were ever served here, by UID; unreadable entries are left out."""
    found: dict[str, PoolSettings] = {}
    raw: Any = await redis.hgetall(keys.pools(prefix))
    for uid, text in raw.items():
        try:
            found[uid.decode()] = PoolSettings.model_validate_json(text)
        except ValidationError:
            continue
    return found


async def look(redis: AsyncRedis, prefix: str, pools: Mapping[str, PoolSettings]) -> list[PoolPicture]:
    """One picture a pool, in the order of their names."""
    queues = tuple(dict.fromkeys(queue for one in pools.values() for queue in one.queues))
    state = await AsyncScripts(redis).run(scripts.read(prefix, queues=queues, pools=tuple(pools)))
    finished = await _finished(redis, prefix, queues)
    holders = [one.replica for pool in state.pools.values() for one in pool.replicas.values() if one.claims]
    running = await _running(redis, prefix, holders, state.at)
    pictures = []
    for uid, settings in sorted(pools.items(), key=lambda one: (one[1].namespace, one[1].name)):
        replicas = state.pools[uid].replicas.values() if uid in state.pools else ()
        pictures.append(
            PoolPicture(
                pool=f"{settings.namespace}/{settings.name}",
                uid=uid,
                at=state.at,
                queues=tuple(
                    _queue(name, state.queues[name], finished.get(name, 0), state.at) for name in settings.queues
                ),
                replicas=tuple(_replica(one, running.get(one.replica, ())) for one in replicas if _there(one)),
                settings=settings,
            )
        )
    return pictures


async def _running(
    redis: AsyncRedis, prefix: str, replicas: Sequence[str], at: float
) -> dict[str, tuple[RunningJob, ...]]:
    """Which jobs each replica holds: from its claims, which are newer than its last report."""
    if not replicas:
        return {}
    pipeline = redis.pipeline(transaction=False)
    for replica in replicas:
        pipeline.smembers(keys.claims(prefix, replica))
    held = [
        (replica, job.decode())
        for replica, jobs in zip(replicas, await pipeline.execute(), strict=True)
        for job in sorted(jobs)
    ]
    if not held:
        return {}
    for _, job in held:
        pipeline.hmget(keys.job(prefix, job), "origin", "description", "meta")
        pipeline.hget(keys.owner(prefix, job), "claimed_at")
    answers = await pipeline.execute()
    found: dict[str, list[RunningJob]] = {}
    for (replica, job), (origin, description, meta), since in zip(held, answers[::2], answers[1::2], strict=True):
        one = RunningJob(
            job=job,
            queue=_text(origin),
            description=_text(description),
            seconds=max(0.0, at - float(since)) if since else 0.0,
            progress=progress_of(meta),
        )
        found.setdefault(replica, []).append(one)
    return {replica: tuple(jobs) for replica, jobs in found.items()}


def _text(value: bytes | None) -> str:
    return (value or b"").decode("utf-8", "replace")


async def _finished(redis: AsyncRedis, prefix: str, queues: Sequence[str]) -> dict[str, int]:
    pipeline = redis.pipeline(transaction=False)
    for queue in queues:
        pipeline.zcard(keys.finished(prefix, queue))
    counts = await pipeline.execute(raise_on_error=False)
    return {queue: count for queue, count in zip(queues, counts, strict=True) if isinstance(count, int)}


def _queue(name: str, state: QueueState, finished: int, at: float) -> QueueRow:
    oldest = state.oldest_enqueued_at
    return QueueRow(
        name=name,
        waiting=state.waiting + state.due,
        running=state.running + state.foreign_running,
        scheduled=state.scheduled,
        finished=finished,
        failed=state.failed,
        oldest_wait_seconds=None if oldest is None else max(0.0, at - oldest),
        problem=state.problem,
    )


def _there(state: ReplicaState) -> bool:
    """Silent replicas without a claim are gone."""
    return state.claims > 0 or (state.age_seconds is not None and state.age_seconds < GONE_SECONDS)


def _replica(state: ReplicaState, jobs: tuple[RunningJob, ...]) -> ReplicaRow:
    report = state.report
    phase = str(report.phase) if report else "Silent"
    return ReplicaRow(
        id=state.replica,
        phase="Draining" if state.drained and phase == ReplicaPhase.READY else phase,
        slots=report.slots if report else 0,
        drained=state.drained,
        age_seconds=state.age_seconds,
        jobs=jobs,
    )
