"""From what `read` saw to what the engine works on. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import replace

from pool_contract.messages import ReplicaReport
from pool_contract.scripts import EndpointState, PoolState, QueueState, ReplicaState
from pool_operator.backends.base import Problem
from pool_operator.engine.types import QueueReading, Reading, Replica, ReplicaPhase, Run
from pool_operator.observe.problems import wrong_type
from pool_operator.observe.seen import Seen

NO_REPLICAS = PoolState(replicas={})


def pool_reading(seen: Seen, pool_uid: str, queues: Sequence[str]) -> Reading | Problem:
    """One pool's part of a reading, in this machine's time; a key of the wrong type makes it a problem."""
    state, skew = seen.state, seen.skew_seconds
    readings: dict[str, QueueReading] = {}
    for name in queues:
        queue = state.queues[name]
        if queue.problem:
            return wrong_type(queue.problem)
        oldest = None if queue.oldest_enqueued_at is None else max(0.0, state.at - queue.oldest_enqueued_at)
        readings[name] = QueueReading(
            waiting=queue.waiting,
            running=queue.running,  # what foreign workers run needs no slot of ours
            expired=queue.expired,
            intermediate=queue.intermediate,
            due=queue.due,
            next_due_at=None if queue.next_due_at is None else queue.next_due_at + skew,
            oldest_wait_seconds=oldest,
            scheduled=queue.scheduled,
            deferred=queue.deferred,
            failed=queue.failed,
            upcoming=tuple(at + skew for at in queue.upcoming),
            hinted=queue.hinted,
            hinted_seconds=queue.hinted_seconds,
        )
    used = state.pools.get(pool_uid, NO_REPLICAS).allowance_used
    return Reading(at=seen.asked_unix, queues=readings, allowance_used=used)


def seen_replicas(
    replicas: Sequence[Replica],
    known: PoolState,
    *,
    slots: int,
    suspects: AbstractSet[str],
    marks: Mapping[str, bool],
    skew_seconds: float,
) -> tuple[Replica, ...]:
    """The backend's replicas with what Redis knows of them.

    Args:
        replicas: as the backend shows them.
        known: as Redis shows them.
        slots: what a replica has that has not reported yet.
        suspects: replicas whose claims Redis may have forgotten.
        marks: drain marks set (True) or taken away (False) after the reading was asked for.
        skew_seconds: to be added to Redis' times for this machine's.
    """
    return tuple(
        replace(
            _replica(one, known.replicas.get(one.id), slots, skew_seconds, suspect=one.id in suspects),
            drained=marks.get(one.id, one.id in known.replicas and known.replicas[one.id].drained),
        )
        for one in replicas
    )


def _replica(one: Replica, state: ReplicaState | None, slots: int, skew_seconds: float, *, suspect: bool) -> Replica:
    report = state.report if state else None
    return replace(
        one,
        claims=None if suspect else _claims(one, state),
        runs=() if state is None or report is None else _runs(report, state.claims, skew_seconds),
        slots=report.slots if report else slots,
    )


def _runs(report: ReplicaReport, claims: int, skew_seconds: float) -> tuple[Run, ...]:
    """As the replica last reported, at most half a second after a start or an end: never more than it holds now."""
    runs = sorted(
        Run(one.claimed_at + skew_seconds, one.hint_seconds) for one in report.jobs if one.claimed_at is not None
    )
    return tuple(runs[max(0, len(runs) - claims) :])


def _claims(one: Replica, state: ReplicaState | None) -> int | None:
    """A ready replica reports every heartbeat: without its report, "no claims" is a missing key, not an empty one."""
    if state is not None and (state.claims or state.report is not None):
        return state.claims
    return 0 if one.phase is ReplicaPhase.STARTING else None


def changed_pools(
    before: EndpointState, after: EndpointState, pools: Mapping[str, Sequence[str]], *, known: AbstractSet[str]
) -> tuple[set[str], bool]:
    """UIDs of pools that look different now, and whether more work waits anywhere.

    `known`: UIDs that the reading before covered.
    """
    queues: set[str] = set()
    grown = False
    for name, queue in after.queues.items():
        old = before.queues.get(name)
        if old is None or _queue_digest(old) != _queue_digest(queue):
            queues.add(name)
            grown = grown or old is None or _work(queue) > _work(old)
    changed = {
        uid
        for uid, names in pools.items()
        if uid not in known
        or not queues.isdisjoint(names)
        or _pool_digest(before.pools.get(uid)) != _pool_digest(after.pools.get(uid))
        or (uid in after.pools and after.pools[uid].ended)
    }
    return changed, grown


def _work(queue: QueueState) -> int:
    return queue.waiting + queue.due + queue.intermediate + queue.expired


def _queue_digest(queue: QueueState) -> tuple[object, ...]:
    return (
        queue.waiting,
        queue.intermediate,
        queue.running,
        queue.expired,
        queue.foreign_running,
        queue.scheduled,
        queue.due,
        queue.next_due_at,
        queue.deferred,
        queue.failed,
        queue.problem,
    )


def _pool_digest(pool: PoolState | None) -> dict[str, tuple[object, ...]]:
    found = pool or NO_REPLICAS
    return {uid: (one.claims, one.drained, _report_digest(one.report)) for uid, one in found.replicas.items()}


def _report_digest(report: ReplicaReport | None) -> tuple[object, ...] | None:
    """Nothing that changes with each heartbeat."""
    return None if report is None else (report.incarnation, report.phase, report.slots, report.ready_at)
