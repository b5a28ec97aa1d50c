"""What a pass tells the metrics: scale decisions, cost, gauges and queues of its pool."""

from __future__ import annotations

from pool_operator.backends.base import Applied
from pool_operator.engine.types import Decision, Reading, ReplicaPhase
from pool_operator.runtime.clock import Clock
from pool_operator.runtime.scene import Scene
from pool_operator.runtime.store import Entry
from pool_operator.telemetry.metrics import Metrics


def measure(metrics: Metrics, clock: Clock, entry: Entry, scene: Scene, decision: Decision, applied: Applied) -> None:
    """One pass of a pool; to be called before the entry takes the decision."""
    namespace, name = scene.pool.key.namespace, scene.pool.key.name
    budget = scene.crd.budget if scene.crd else None
    price = float(budget.price_per_replica_hour) if budget else None
    metrics.used(namespace, name, entry.meter.look(scene.view.replicas, clock.unix()), price)
    if applied.changed and applied.wanted != scene.view.wanted:
        asked = scene.asked_monotonic
        metrics.scaled(
            namespace,
            name,
            direction="up" if applied.wanted > scene.view.wanted else "down",
            reason=str(decision.reason),
            seconds=None if asked is None else clock.monotonic() - asked,
        )
    if entry.deleted:
        return
    reading, replicas = scene.observed.reading, scene.observed.replicas
    values: dict[str, float] = {
        "status_desired_replicas": decision.replicas,
        "status_replicas": len(replicas),
        "status_ready_replicas": sum(one.phase is ReplicaPhase.READY for one in replicas),
    }
    if scene.crd is not None:
        values |= {"spec_min_replicas": scene.crd.min_replicas, "spec_max_replicas": scene.crd.max_replicas}
    if isinstance(reading, Reading):
        values["last_successful_poll_timestamp_seconds"] = reading.at
        for queue, one in reading.queues.items():
            jobs = {"queued": one.waiting, "started": one.running, "scheduled": one.scheduled}
            oldest = None if one.oldest_wait_seconds is None else reading.at - one.oldest_wait_seconds
            metrics.queue(namespace, name, queue, jobs, oldest)
    metrics.pool_gauges(namespace, name, values)
