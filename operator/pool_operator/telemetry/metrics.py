"""All metrics of the operator, in a registry of their own. Names are a contract (docs/guide.md, alerts, dashboards).

No job id, URL, error text, pod name or image in a label.
"""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version
from typing import Final

from prometheus_client import Counter, Gauge, Histogram, generate_latest

from pool_operator.names import METRIC_PREFIX, PassError
from pool_operator.telemetry.pool_metrics import PoolMetrics

HEAD: Final = f"{METRIC_PREFIX}_operator"
FAST_BUCKETS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class Metrics(PoolMetrics):
    """Each method tells one fact; callers never see prometheus_client."""

    def __init__(self) -> None:
        super().__init__()
        build = self._own_gauge("build_info", "1; labels say what runs.", "version", "python_version", "kopf_version")
        build.labels(_version("processing-pool"), platform.python_version(), _version("kopf")).set(1)
        self._leader = self._own_gauge("leader", "1 if this process leads.")
        self._pools = self._own_gauge("pools", "Pools known.")
        self._watched = self._own_gauge(
            "watch_last_event_timestamp_seconds", "Time of the last event of the watch.", "resource"
        )
        self._loop_lag = self._histogram("loop_lag_seconds", "Lag of the event loop.")
        self._latency = self._histogram(
            "decision_latency_seconds", "From asking Redis to the accepted change of replicas.", "direction"
        )
        self._reconciles = self._own_counter(
            "reconcile", "Reconciles by result.", "result", known=("success", "error", "requeue")
        )
        self._reconcile_seconds = self._histogram("reconcile_duration_seconds", "Duration of one reconcile.")
        self._reconcile_errors = self._own_counter(
            "reconcile_errors", "Reconciles that failed, by reason.", "reason", known=tuple(map(str, PassError))
        )
        self._redis = self._own_counter("redis_requests", "Calls to Redis by result.", "result", known=("ok", "error"))
        self._redis_seconds = self._histogram(
            "redis_request_duration_seconds", "Duration of a call to Redis.", "result"
        )
        self._kube = self._own_counter(
            "kube_requests", "Calls to the API server, without the watches.", "verb", "resource", "code"
        )
        self._kube_seconds = self._histogram(
            "kube_request_duration_seconds", "Duration of a call to the API server.", "verb", "resource"
        )
        self._mended = self._own_counter(
            "housekeeping", "Jobs that housekeeping moved.", "action", known=("reclaim", "due", "ready", "sweep")
        )

    def _own_gauge(self, name: str, text: str, *labels: str) -> Gauge:
        return Gauge(f"{HEAD}_{name}", text, labels, registry=self.registry)

    def _own_counter(self, name: str, text: str, *labels: str, known: tuple[str, ...] = ()) -> Counter:
        """With the values of a single label that are `known`, told as 0 from the start."""
        counter = Counter(f"{HEAD}_{name}", text, labels, registry=self.registry)
        for value in known:
            counter.labels(value)
        return counter

    def _histogram(self, name: str, text: str, *labels: str) -> Histogram:
        return Histogram(f"{HEAD}_{name}", text, labels, registry=self.registry, buckets=FAST_BUCKETS)

    # --- facts about the process ----------------------------------------------------------------------------------

    def leader(self, *, leads: bool) -> None:
        self._leader.set(leads)

    def pools(self, number: int) -> None:
        self._pools.set(number)

    def watched(self, resource: str, at_unix: float) -> None:
        self._watched.labels(resource).set(at_unix)

    def loop_lag(self, seconds: float) -> None:
        self._loop_lag.observe(seconds)

    def reconciled(self, result: str, seconds: float) -> None:
        """`result`: success, error or requeue."""
        self._reconciles.labels(result).inc()
        self._reconcile_seconds.observe(seconds)

    def reconcile_failed(self, reason: PassError) -> None:
        self._reconcile_errors.labels(str(reason)).inc()

    def scale_latency(self, direction: str, seconds: float) -> None:
        self._latency.labels(direction).observe(seconds)

    def redis_request(self, result: str, seconds: float) -> None:
        """`result`: ok or error."""
        self._redis.labels(result).inc()
        self._redis_seconds.labels(result).observe(seconds)

    def kube_request(self, verb: str, resource: str, code: str, seconds: float) -> None:
        """`code`: the status, or none where there was no answer."""
        self._kube.labels(verb, resource, code).inc()
        self._kube_seconds.labels(verb, resource).observe(seconds)

    def mended(self, action: str, jobs: int) -> None:
        self._mended.labels(action).inc(jobs)

    def exposition(self) -> bytes:
        """The text format of Prometheus."""
        return generate_latest(self.registry)


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "unknown"
