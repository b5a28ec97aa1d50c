"""Metrics of each pool. Its series come with its first pass and go with it; all counters of the closed lists start at 0."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Final

from prometheus_client import CollectorRegistry, Counter, Gauge, disable_created_metrics

from pool_operator.names import METRIC_PREFIX, ConditionReason, Limit, Reason

POOL: Final = ("pool_namespace", "pool")
QUEUE_STATES: Final = ("queued", "started", "deferred", "scheduled", "failed")
STATUSES: Final = ("True", "False", "Unknown")
PERIODS: Final = ("day", "month")
BUDGETS: Final = ("soft", "hard")
PASS_FAILED: Final = "PassFailed"  # noqa: S105 - a reason, not a secret
NO_ERRORS: Final = {
    ConditionReason.OK,
    ConditionReason.NOT_YET_KNOWN,
    ConditionReason.NO_PRICE,
    ConditionReason.NO_BUDGET,
}
ERROR_REASONS: Final = (*(str(one) for one in ConditionReason if one not in NO_ERRORS), PASS_FAILED)
USUAL_DECISIONS: Final = (
    *(("up", str(one)) for one in (Reason.WORK_WAITING, Reason.AT_MINIMUM, Reason.AT_MAXIMUM)),
    *(("down", str(one)) for one in (Reason.WORK_SHRANK, Reason.IDLE, Reason.AT_MINIMUM, Reason.AT_MAXIMUM)),
)
"""Told as 0 from the start; the rare ones only once they happen."""
Series = tuple[Any, tuple[str, ...]]  # a metric, and its labels after the pool's


class PoolMetrics:
    """Each method tells one fact about one pool."""

    def __init__(self) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]  # as many series again, which nobody reads
        self.registry = CollectorRegistry()
        self._known: dict[tuple[str, str], set[Series]] = {}
        self._gauges = {
            name: self._gauge(name, text)
            for name, text in (
                ("spec_min_replicas", "spec.minReplicas"),
                ("spec_max_replicas", "spec.maxReplicas"),
                ("status_desired_replicas", "Replicas decided."),
                ("status_replicas", "Replicas there."),
                ("status_ready_replicas", "Replicas ready."),
                ("last_successful_poll_timestamp_seconds", "Time of the last good reading."),
                ("decision_demand_slots", "Slots that the work at hand needs."),
                ("decision_headroom_slots", "Slots kept ready for work expected within one cold start."),
                ("decision_wish_replicas", "Replicas wished for, before the limits."),
                ("slots_per_replica", "Jobs at once in one replica, as decided."),
                ("wait_estimate_seconds", "How long a job enqueued now is expected to wait."),
                ("cold_start_seconds", "Mean from a replica's creation to its first possible claim, as learned."),
                ("run_seconds", "Mean of the runs of jobs, as learned."),
                ("capacity_ceiling_replicas", "Replicas that can be had, while the cluster gives no more."),
                (
                    "allowance_granted",
                    "Up to which allowance_used may go: what claims may take on under a hard budget.",
                ),
                ("allowance_used", "Money that claims have ever taken from the allowance."),
            )
        }
        self._jobs = self._gauge("queue_jobs", "Jobs in a queue by state.", "queue", "state")
        self._oldest = self._gauge(
            "queue_oldest_job_timestamp_seconds", "Enqueue time of the oldest waiting job.", "queue"
        )
        self._conditions = self._gauge("status_condition", "1 for the status a condition has.", "type", "status")
        self._limits = self._gauge("limit_binding", "1 for each limit that binds the last decision.", "limit")
        self._spend = self._gauge("spend", "Money that replicas have cost in this day and this month.", "period")
        self._budget = self._gauge("budget_limit", "What spec.budget allows for a day and a month.", "period", "kind")
        self._decisions = self._counter(
            "scale_decisions", "Changes of replicas by direction and reason.", "direction", "reason"
        )
        self._errors = self._counter(
            "errors", "Troubles of the pool by reason, each counted when it begins; failed passes, each.", "reason"
        )
        self._hits = self._counter(
            "hits", "Replicas that our lowering removed while they held a claim. Anything but 0 is a defect."
        )
        self._replica_seconds = self._counter(
            "replica_seconds", "Seconds of replicas, summed over them, since this process leads."
        )
        self._cost = self._counter(
            "cost", "Replica-hours times spec.budget.pricePerReplicaHour, since this process leads."
        )

    def _gauge(self, name: str, text: str, *labels: str) -> Gauge:
        return Gauge(f"{METRIC_PREFIX}_{name}", text, (*POOL, *labels), registry=self.registry)

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(f"{METRIC_PREFIX}_{name}", text, (*POOL, *labels), registry=self.registry)

    def _of(self, metric: Any, namespace: str, pool: str, *labels: str) -> Any:
        """A series of the pool, remembered so that it goes with the pool."""
        self._known.setdefault((namespace, pool), set()).add((metric, labels))
        return metric.labels(namespace, pool, *labels)

    def _tell(self, gauge: Gauge, namespace: str, pool: str, labels: tuple[str, ...], value: float | None) -> None:
        if value is None:
            self._drop(namespace, pool, {(gauge, labels)})
        else:
            self._of(gauge, namespace, pool, *labels).set(value)

    # --- facts ----------------------------------------------------------------------------------------------------

    def pool_seen(self, namespace: str, pool: str) -> None:
        """From the first pass on, what has not happened yet is told as 0."""
        if (self._hits, ()) in self._known.get((namespace, pool), ()):
            return
        for direction, reason in USUAL_DECISIONS:
            self._of(self._decisions, namespace, pool, direction, reason)
        for reason in ERROR_REASONS:
            self._of(self._errors, namespace, pool, reason)
        self._of(self._hits, namespace, pool)
        self._of(self._replica_seconds, namespace, pool)

    def pool_gauges(self, namespace: str, pool: str, values: Mapping[str, float | None]) -> None:
        """Keys: names of the plain pool gauges without the common prefix. None: there is no such value now."""
        for name, value in values.items():
            self._tell(self._gauges[name], namespace, pool, (), value)

    def limits(self, namespace: str, pool: str, binding: Collection[Limit]) -> None:
        for one in Limit:
            self._of(self._limits, namespace, pool, str(one)).set(one in binding)

    def money(
        self, namespace: str, pool: str, spent: Mapping[str, float], allowed: Mapping[tuple[str, str], float]
    ) -> None:
        """`spent`: by period; `allowed`: by period and kind."""
        for period in PERIODS:
            self._tell(self._spend, namespace, pool, (period,), spent.get(period))
            for kind in BUDGETS:
                self._tell(self._budget, namespace, pool, (period, kind), allowed.get((period, kind)))

    def queue(
        self, namespace: str, pool: str, queue: str, jobs: Mapping[str, int], oldest_timestamp: float | None
    ) -> None:
        for state in QUEUE_STATES:
            self._of(self._jobs, namespace, pool, queue, state).set(jobs.get(state, 0))
        if oldest_timestamp is not None:
            self._of(self._oldest, namespace, pool, queue).set(oldest_timestamp)
        else:
            self._drop(namespace, pool, {(self._oldest, (queue,))})

    def only_queues(self, namespace: str, pool: str, queues: Collection[str]) -> None:
        """Series of queues that the pool does not serve any more go."""
        of_queues = {one for one in self._known.get((namespace, pool), ()) if one[0] in {self._jobs, self._oldest}}
        self._drop(namespace, pool, {one for one in of_queues if one[1][0] not in queues})

    def conditions(self, namespace: str, pool: str, statuses: Mapping[str, str]) -> None:
        for kind, actual in statuses.items():
            for status in STATUSES:
                self._of(self._conditions, namespace, pool, kind, status).set(status == actual)

    def decided(self, namespace: str, pool: str, *, direction: str, reason: str) -> None:
        """A change of replicas. `direction`: up or down."""
        self._of(self._decisions, namespace, pool, direction, reason).inc()

    def error(self, namespace: str, pool: str, reason: str) -> None:
        """`reason`: one of ERROR_REASONS."""
        self._of(self._errors, namespace, pool, reason).inc()

    def hit(self, namespace: str, pool: str, replicas: int) -> None:
        self._of(self._hits, namespace, pool).inc(replicas)

    def used(self, namespace: str, pool: str, replica_seconds: float, price_per_hour: float | None) -> None:
        """Replicas were there for so long; without a price no cost is told, not even zero."""
        self._of(self._replica_seconds, namespace, pool).inc(replica_seconds)
        if price_per_hour is not None:
            self._of(self._cost, namespace, pool).inc(replica_seconds / 3600 * price_per_hour)

    def forget(self, namespace: str, pool: str) -> None:
        """All series of a pool go."""
        self._drop(namespace, pool, self._known.get((namespace, pool), set()).copy())
        self._known.pop((namespace, pool), None)

    def _drop(self, namespace: str, pool: str, series: set[Series]) -> None:
        known = self._known.get((namespace, pool), set())
        for metric, labels in series & known:
            metric.remove(namespace, pool, *labels)
        known -= series
