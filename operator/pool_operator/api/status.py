"""The pool's status as a schema: what runtime/status.py writes, field for field (what is not here, the server drops)."""

from __future__ import annotations

from pydantic import Field

from pool_operator.api.base import Model


class QueueStatus(Model):
    waiting: int | None = Field(default=None, ge=0, description="Jobs that wait, two leading digits.")
    running: int | None = Field(default=None, ge=0, description="Jobs that run, two leading digits.")
    scheduled: int | None = Field(default=None, ge=0, description="Jobs for later, two leading digits.")
    oldest_wait_seconds: int | None = Field(
        default=None, ge=0, description="Seconds that the oldest waiting job waited when this was written."
    )


class DecisionStatus(Model):
    reason: str | None = Field(default=None, max_length=64, description="Why, one word of a closed list.")
    message: str | None = Field(default=None, max_length=2048, description="Why, in one sentence with numbers.")
    limited_by: str | None = Field(
        default=None,
        max_length=64,
        description="The limit that bound: Minimum, Maximum, Schedule, Threshold, Overflow, Concurrency, Rate, Capacity, Budget or Running.",
    )
    at: str | None = Field(
        default=None, max_length=64, json_schema_extra={"format": "date-time"}, description="When it was decided."
    )


class PeriodStatus(Model):
    """Spent at `since`; from then on arithmetic says how much: `amount` + hours since then × `ratePerHour`."""

    period: str | None = Field(default=None, max_length=10, description="The day or the month, 2026-11-25 or 2026-11.")
    amount: str | None = Field(default=None, max_length=32, description="Money spent in it, at `since`.")
    rate_per_hour: str | None = Field(
        default=None, max_length=32, description="What the replicas that there are cost an hour."
    )
    since: str | None = Field(
        default=None, max_length=64, json_schema_extra={"format": "date-time"}, description="When that was counted."
    )


class SpendStatus(Model):
    day: PeriodStatus | None = Field(default=None, description="This day, in the budget's time zone.")
    month: PeriodStatus | None = Field(default=None, description="This month, in the budget's time zone.")


class ConditionStatus(Model):
    type: str = Field(min_length=1, max_length=316, description="Ready, ScalingActive, QueueReachable …")
    status: str = Field(
        max_length=7, json_schema_extra={"enum": ["True", "False", "Unknown"]}, description="True, False or Unknown."
    )
    reason: str = Field(min_length=1, max_length=1024, description="Why, one word of a closed list.")
    message: str = Field(max_length=32768, description="Why, in one sentence.")
    last_transition_time: str = Field(
        max_length=64, json_schema_extra={"format": "date-time"}, description="When `status` last changed."
    )
    observed_generation: int | None = Field(
        default=None, ge=0, le=2**53, description="The metadata.generation that this was judged for."
    )


class ProcessingPoolStatus(Model):
    """What the operator last saw and decided."""

    observed_generation: int | None = Field(
        default=None, ge=0, le=2**53, description="The metadata.generation that this status was written for."
    )
    replicas: int | None = Field(default=None, ge=0, description="Replicas there are, ending ones included.")
    ready_replicas: int | None = Field(default=None, ge=0, description="Replicas that can take jobs.")
    desired_replicas: int | None = Field(default=None, ge=0, description="Replicas wanted by the last decision.")
    draining_replicas: int | None = Field(
        default=None, ge=0, description="Replicas that finish what they run and take nothing new."
    )
    slots_per_replica: int | None = Field(default=None, ge=0, description="Jobs at once in one replica.")
    queue: QueueStatus | None = Field(default=None, description="Jobs of all queues; coarse, written seldom.")
    decision: DecisionStatus | None = Field(default=None, description="The last decision.")
    spend: SpendStatus | None = Field(
        default=None, description="Money spent: a checkpoint, written when the number of replicas changes."
    )
    conditions: tuple[ConditionStatus, ...] | None = Field(
        default=None,
        max_length=16,
        description="Conditions, one of each type.",
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]},
    )
