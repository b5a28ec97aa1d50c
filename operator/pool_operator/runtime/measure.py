"""What a pass tells the metrics: scale decisions, hits, errors, cost, gauges and queues of its pool."""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence

from pool_operator.backends.base import Applied
from pool_operator.engine.state import Memory
from pool_operator.engine.types import Budget, Decision, Reading, Replica, ReplicaPhase, Unknown
from pool_operator.runtime.clock import Clock
from pool_operator.runtime.scene import Scene
from pool_operator.runtime.spending import purses
from pool_operator.runtime.store import Entry
from pool_operator.telemetry.metrics import Metrics

log = logging.getLogger(__name__)


def measure(
    metrics: Metrics,
    clock: Clock,
    entry: Entry,
    scene: Scene,
    decision: Decision,
    applied: Applied,
    drained: Collection[str],
) -> None:
    """One pass of a pool. `drained`: replicas proved empty in this pass, which may go."""
    namespace, name = scene.pool.key.namespace, scene.pool.key.name
    metrics.pool_seen(namespace, name)
    budget = scene.crd.budget if scene.crd else None
    price = float(budget.price_per_replica_hour) if budget else None
    metrics.used(namespace, name, entry.meter.look(scene.view.replicas, clock.unix()), price)
    _watch_hits(metrics, entry, scene, decision, applied, drained)
    if applied.changed and applied.wanted != scene.view.wanted:
        direction = "up" if applied.wanted > scene.view.wanted else "down"
        metrics.decided(namespace, name, direction=direction, reason=str(decision.reason))
        if scene.asked_monotonic is not None:
            metrics.scale_latency(direction, clock.monotonic() - scene.asked_monotonic)
    _count_errors(metrics, entry, scene, applied)
    if not entry.deleted:
        _tell_gauges(metrics, scene, decision)
        _tell_engine(metrics, scene, decision, entry.memory)


def _watch_hits(
    metrics: Metrics, entry: Entry, scene: Scene, decision: Decision, applied: Applied, drained: Collection[str]
) -> None:
    hits = entry.hits.look(scene.observed.replicas, scene.view.wanted, unmarked=decision.undrain, excused=entry.excused)
    if applied.changed and applied.wanted < scene.view.wanted:
        entry.hits.lowered(applied.wanted, drained)
    if hits:
        log.error("pool=%s a lowering of ours has hit %d replicas at work", scene.pool.key, hits)
        metrics.hit(scene.pool.key.namespace, scene.pool.key.name, hits)


def _count_errors(metrics: Metrics, entry: Entry, scene: Scene, applied: Applied) -> None:
    """Each trouble once, when it begins: a condition tells how long it stands."""
    view = scene.view
    problems = (
        scene.pool_problem,
        scene.queue_problem,
        view.template_problem,
        view.capacity_problem,
        applied.problem,
    )
    reasons = frozenset(one.reason for one in problems if one is not None)
    for reason in sorted(reasons - entry.errors):
        metrics.error(scene.pool.key.namespace, scene.pool.key.name, str(reason))
    entry.errors = reasons


def _tell_gauges(metrics: Metrics, scene: Scene, decision: Decision) -> None:
    namespace, name = scene.pool.key.namespace, scene.pool.key.name
    reading, replicas = scene.observed.reading, scene.observed.replicas
    values: dict[str, float | None] = {
        "status_desired_replicas": decision.replicas,
        "status_replicas": len(replicas),
        "status_ready_replicas": sum(one.phase is ReplicaPhase.READY for one in replicas),
        "slots_per_replica": decision.slots,
    }
    if scene.crd is not None:
        values |= {"spec_min_replicas": scene.crd.min_replicas, "spec_max_replicas": scene.crd.max_replicas}
    if isinstance(reading, Reading):
        values["last_successful_poll_timestamp_seconds"] = reading.at
        metrics.only_queues(namespace, name, reading.queues)
        for queue, one in reading.queues.items():
            jobs = {
                "queued": one.waiting,
                "started": one.running,
                "deferred": one.deferred,
                "scheduled": one.scheduled,
                "failed": one.failed,
            }
            oldest = None if one.oldest_wait_seconds is None else reading.at - one.oldest_wait_seconds
            metrics.queue(namespace, name, queue, jobs, oldest)
    metrics.pool_gauges(namespace, name, values)


def _tell_engine(metrics: Metrics, scene: Scene, decision: Decision, memory: Memory) -> None:
    """What was wished, what bound it, what it costs, and what was learned."""
    namespace, name = scene.pool.key.namespace, scene.pool.key.name
    reading, hard = scene.observed.reading, decision.granted is not None
    metrics.pool_gauges(
        namespace,
        name,
        {
            "decision_demand_slots": decision.demand_slots,
            "decision_headroom_slots": None if decision.wish is None else headroom_slots(decision),
            "decision_wish_replicas": decision.wish,
            "wait_estimate_seconds": _wait_estimate(reading, scene.observed.replicas, decision, memory),
            "cold_start_seconds": memory.cold_starts.mean_seconds,
            "run_seconds": memory.run_times.mean_seconds,
            "capacity_ceiling_replicas": memory.capacity.ceiling,
            "allowance_granted": decision.granted,
            "allowance_used": reading.allowance_used if hard and isinstance(reading, Reading) else None,
        },
    )
    metrics.limits(namespace, name, {limit for limit in (decision.limited_by, *dict(decision.without)) if limit})
    _tell_money(metrics, scene, scene.spec.budget if scene.spec else None, memory)


def headroom_slots(decision: Decision) -> int:
    """Slots wanted beyond what the work at hand needs."""
    steps = dict(decision.steps)
    return max(0, steps.get("headroom", 0) - steps.get("demand", 0)) * decision.slots


def _wait_estimate(
    reading: Reading | Unknown, replicas: Sequence[Replica], decision: Decision, memory: Memory
) -> float | None:
    """How long a job enqueued now will wait, by the mean of the runs; None while nothing can be read.

    10 wait, 4 slots are all busy with runs of 2 minutes: 11 must end before, 330 s. Nothing is there: one cold start.
    """
    if not isinstance(reading, Reading):
        return None
    active = [one for one in replicas if one.phase is not ReplicaPhase.TERMINATING and one.blocked is None]
    start = 0.0 if any(one.phase is ReplicaPhase.READY for one in active) else memory.cold_starts.mean_seconds
    slots = sum(one.slots for one in active) or max(1, decision.replicas) * decision.slots
    before = sum(one.waiting + one.due + one.running for one in reading.queues.values()) + 1 - slots
    return start + max(0, before) * memory.run_times.mean_seconds / slots


def _tell_money(metrics: Metrics, scene: Scene, budget: Budget | None, memory: Memory) -> None:
    both = purses(budget, memory.spend) if budget is not None else ()
    metrics.money(
        scene.pool.key.namespace,
        scene.pool.key.name,
        {one.period: one.spent for one in both},
        {(one.period, kind): amount for one in both for kind, amount in one.limits.items()},
    )
