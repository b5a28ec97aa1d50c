"""All metrics of the operator, in a registry of their own. Names are a contract (docs, alerts, dashboards).

Series of a pool go with the pool. No job id, URL, error text, pod name or image in a label.
"""

from __future__ import annotations

import platform
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from pool_operator.names import METRIC_PREFIX, Condition

POOL: Final = ("pool_namespace", "pool")
FAST_BUCKETS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
QUEUE_STATES: Final = ("queued", "started", "scheduled")


class Metrics:
    """Each method tells one fact; callers never see prometheus_client."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._process()
        self._pool()
        self._queues: dict[tuple[str, str], set[str]] = {}
        self._scaled: dict[tuple[str, str], set[tuple[str, str]]] = {}

    def _process(self) -> None:
        head = f"{METRIC_PREFIX}_operator"
        build = Gauge(
            f"{head}_build_info", "1; labels say what runs.", ("version", "python_version"), registry=self.registry
        )
        build.labels(_version(), platform.python_version()).set(1)
        self._leader = Gauge(f"{head}_leader", "1 if this process leads.", registry=self.registry)
        self._pools = Gauge(f"{head}_pools", "Pools known.", registry=self.registry)
        self._reconciles = Counter(f"{head}_reconcile", "Reconciles by result.", ("result",), registry=self.registry)
        for result in ("success", "error", "requeue"):
            self._reconciles.labels(result)
        self._reconcile_seconds = Histogram(
            f"{head}_reconcile_duration_seconds",
            "Duration of one reconcile.",
            registry=self.registry,
            buckets=FAST_BUCKETS,
        )
        self._loop_lag = Histogram(
            f"{head}_loop_lag_seconds", "Lag of the event loop.", registry=self.registry, buckets=FAST_BUCKETS
        )
        self._latency = Histogram(
            f"{head}_decision_latency_seconds",
            "From asking Redis to the accepted change of replicas.",
            ("direction",),
            registry=self.registry,
            buckets=FAST_BUCKETS,
        )
        self._redis = Counter(
            f"{head}_redis_requests", "Calls to Redis by result.", ("result",), registry=self.registry
        )
        for result in ("ok", "error"):
            self._redis.labels(result)
        self._mended = Counter(
            f"{head}_housekeeping", "Jobs that housekeeping moved.", ("action",), registry=self.registry
        )
        for action in ("reclaim", "due", "ready", "sweep"):
            self._mended.labels(action)

    def _pool(self) -> None:
        def gauge(name: str, text: str, *labels: str) -> Gauge:
            return Gauge(f"{METRIC_PREFIX}_{name}", text, (*POOL, *labels), registry=self.registry)

        self._gauges = {
            name: gauge(name, text)
            for name, text in (
                ("spec_min_replicas", "spec.minReplicas"),
                ("spec_max_replicas", "spec.maxReplicas"),
                ("status_desired_replicas", "Replicas decided."),
                ("status_replicas", "Replicas there."),
                ("status_ready_replicas", "Replicas ready."),
                ("last_successful_poll_timestamp_seconds", "Time of the last good reading."),
            )
        }
        self._jobs = gauge("queue_jobs", "Jobs in a queue by state.", "queue", "state")
        self._oldest = gauge("queue_oldest_job_timestamp_seconds", "Enqueue time of the oldest waiting job.", "queue")
        self._conditions = gauge("status_condition", "1 for the status a condition has.", "type", "status")
        self._decisions = Counter(
            f"{METRIC_PREFIX}_scale_decisions",
            "Changes of replicas by direction and reason.",
            (*POOL, "direction", "reason"),
            registry=self.registry,
        )

        self._replica_seconds = Counter(
            f"{METRIC_PREFIX}_replica_seconds",
            "Seconds of replicas, summed over them, since this process leads.",
            POOL,
            registry=self.registry,
        )
        self._cost = Counter(
            f"{METRIC_PREFIX}_cost",
            "Replica-hours times spec.budget.pricePerReplicaHour, since this process leads.",
            POOL,
            registry=self.registry,
        )

    # --- the process --------------------------------------------------------------------------------------------

    def leader(self, *, leads: bool) -> None:
        self._leader.set(leads)

    def pools(self, number: int) -> None:
        self._pools.set(number)

    def reconciled(self, result: str, seconds: float) -> None:
        """`result`: success, error or requeue."""
        self._reconciles.labels(result).inc()
        self._reconcile_seconds.observe(seconds)

    def loop_lag(self, seconds: float) -> None:
        self._loop_lag.observe(seconds)

    def redis_request(self, result: str) -> None:
        self._redis.labels(result).inc()

    def mended(self, action: str, jobs: int) -> None:
        self._mended.labels(action).inc(jobs)

    # --- a pool -------------------------------------------------------------------------------------------------

    def pool_gauges(self, namespace: str, pool: str, values: Mapping[str, float]) -> None:
        """Keys: names of the plain pool gauges without the common prefix."""
        for name, value in values.items():
            self._gauges[name].labels(namespace, pool).set(value)

    def queue(
        self, namespace: str, pool: str, queue: str, jobs: Mapping[str, int], oldest_timestamp: float | None
    ) -> None:
        self._queues.setdefault((namespace, pool), set()).add(queue)
        for state in QUEUE_STATES:
            self._jobs.labels(namespace, pool, queue, state).set(jobs.get(state, 0))
        if oldest_timestamp is not None:
            self._oldest.labels(namespace, pool, queue).set(oldest_timestamp)
        else:
            _remove(self._oldest, namespace, pool, queue)

    def conditions(self, namespace: str, pool: str, statuses: Mapping[str, str]) -> None:
        for kind, actual in statuses.items():
            for status in ("True", "False", "Unknown"):
                self._conditions.labels(namespace, pool, kind, status).set(status == actual)

    def scaled(self, namespace: str, pool: str, *, direction: str, reason: str, seconds: float | None) -> None:
        """`direction`: up or down; `seconds` since Redis was asked."""
        self._scaled.setdefault((namespace, pool), set()).add((direction, reason))
        self._decisions.labels(namespace, pool, direction, reason).inc()
        if seconds is not None:
            self._latency.labels(direction).observe(seconds)

    def used(self, namespace: str, pool: str, replica_seconds: float, price_per_hour: float | None) -> None:
        """Replicas were there for so long; without a price no cost is told, not even zero."""
        self._replica_seconds.labels(namespace, pool).inc(replica_seconds)
        if price_per_hour is not None:
            self._cost.labels(namespace, pool).inc(replica_seconds / 3600 * price_per_hour)

    def forget(self, namespace: str, pool: str) -> None:
        """All series of a pool go."""
        for gauge in self._gauges.values():
            _remove(gauge, namespace, pool)
        for queue in self._queues.pop((namespace, pool), ()):
            _remove(self._oldest, namespace, pool, queue)
            for state in QUEUE_STATES:
                _remove(self._jobs, namespace, pool, queue, state)
        for kind in Condition:
            for status in ("True", "False", "Unknown"):
                _remove(self._conditions, namespace, pool, str(kind), status)
        _remove(self._replica_seconds, namespace, pool)
        _remove(self._cost, namespace, pool)
        for direction, reason in self._scaled.pop((namespace, pool), ()):
            _remove(self._decisions, namespace, pool, direction, reason)

    def exposition(self) -> bytes:
        """The text format of Prometheus."""
        return generate_latest(self.registry)


def _remove(metric: Gauge | Counter, *labels: str) -> None:
    try:
        metric.remove(*labels)
    except KeyError:  # was never set
        return


def _version() -> str:
    try:
        return version("processing-pool")
    except PackageNotFoundError:
        return "unknown"
