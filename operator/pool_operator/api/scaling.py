"""`spec.scaling` and `spec.schedules`: how replicas follow the work, and the bounds of parts of the day."""

from __future__ import annotations

from typing import Final, Self

from pydantic import ConfigDict, Field, model_validator
from pydantic.config import JsonDict

from pool_operator.api.base import Model
from pool_operator.api.calendars import Cron, TimeZone
from pool_operator.names import Direction, OnUnknown, Profile, ThresholdMetric

THRESHOLD_RULES: Final[list[JsonDict]] = [
    {
        "rule": "self.metric == 'Utilization' ? has(self.percent) && !has(self.value) : has(self.value) && !has(self.percent)",
        "message": "must have `percent` and no `value` for the metric Utilization, `value` and no `percent` for Waiting",
    },
]
SCHEDULE_RULES: Final[list[JsonDict]] = [
    {
        "rule": "has(self.minReplicas) || has(self.maxReplicas)",
        "message": "must have `minReplicas`, `maxReplicas` or both",
    },
    {
        "rule": "!has(self.minReplicas) || !has(self.maxReplicas) || self.minReplicas <= self.maxReplicas",
        "message": "`minReplicas` must not be greater than `maxReplicas`",
    },
]


class ScaleDownBehavior(Model):
    stabilization_window_seconds: int = Field(
        default=0,
        ge=0,
        le=3600,
        description="Seconds over which the highest wish is kept before replicas go. Default: 0.",
    )


class Behavior(Model):
    scale_down: ScaleDownBehavior = Field(default_factory=ScaleDownBehavior, description="Rules for going down.")


class Threshold(Model):
    model_config = ConfigDict(json_schema_extra={"x-kubernetes-validations": [*THRESHOLD_RULES]})

    metric: ThresholdMetric = Field(
        description="Utilization: busy slots of all slots of ready replicas. Waiting: jobs that could start now."
    )
    direction: Direction = Field(
        description="Up: replicas rise only while such a threshold holds. Down: they fall only while such a one holds."
    )
    percent: int | None = Field(
        default=None,
        ge=0,
        le=100,
        description="Level of Utilization, in percent: above it (Up) or below it (Down). Default: none, Waiting has a `value`.",
    )
    value: int | None = Field(
        default=None,
        ge=0,
        le=1_000_000,
        description="Level of Waiting, in jobs: above it (Up) or below it (Down). Default: none, Utilization has a `percent`.",
    )
    for_seconds: int = Field(
        default=0, ge=0, le=86400, description="Seconds for which it must hold without a break. Default: 0."
    )

    @model_validator(mode="after")
    def _level(self) -> Self:
        of_slots = self.metric is ThresholdMetric.UTILIZATION
        if (self.percent is None) is of_slots or (self.value is None) is not of_slots:
            fix = (
                "'percent' and not 'value'; write percent: 70"
                if of_slots
                else "'value' and not 'percent'; write value: 20"
            )
            raise ValueError(f"metric {self.metric} takes {fix}")
        return self

    @property
    def level(self) -> int:
        """`percent` or `value`, whichever is there."""
        found = self.value if self.percent is None else self.percent
        assert found is not None
        return found


class Scaling(Model):
    profile: Profile = Field(
        default=Profile.BALANCED,
        description="What a second of waiting is worth: Economy saves replicas, Fast saves waiting. Default: Balanced.",
    )
    target_wait_seconds: int | None = Field(
        default=None,
        ge=1,
        le=604800,
        description="Seconds within which a job should start, of queues that say nothing themselves. Default: none, the profile decides.",
    )
    on_unknown: OnUnknown = Field(
        default=OnUnknown.HOLD,
        description="What to want while the queues cannot be read: Hold what is there, or at least the Minimum; never below what runs. Default: Hold.",
    )
    behavior: Behavior = Field(
        default_factory=Behavior, description="Rules for changes, as in a HorizontalPodAutoscaler."
    )
    thresholds: tuple[Threshold, ...] = Field(
        default=(),
        max_length=4,
        description="Conditions that must have held for a while before replicas rise or fall. Default: none, the work decides at once.",
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["metric", "direction"]},
    )


class Schedule(Model):
    model_config = ConfigDict(json_schema_extra={"x-kubernetes-validations": [*SCHEDULE_RULES]})

    name: str = Field(min_length=1, max_length=63, description="Name, for sentences that tell why.")
    start: Cron = Field(
        description="When it begins: a cron expression of five fields (minute, hour, day of month, month, day of week)."
    )
    duration_seconds: int = Field(ge=60, le=2_678_400, description="Seconds from its begin to its end.")
    time_zone: TimeZone = Field(default="UTC", description="Time zone of `start`. Default: UTC.")
    min_replicas: int | None = Field(
        default=None, ge=0, le=10000, description="Fewest replicas meanwhile. Default: the pool's."
    )
    max_replicas: int | None = Field(
        default=None,
        ge=0,
        le=10000,
        description="Most replicas meanwhile; may exceed the pool's. Default: the pool's.",
    )

    @model_validator(mode="after")
    def _bounds(self) -> Self:
        low, high = self.min_replicas, self.max_replicas
        if low is None and high is None:
            raise ValueError("changes nothing; give it minReplicas, maxReplicas or both")
        if low is not None and high is not None and low > high:
            raise ValueError(f"minReplicas {low} is greater than maxReplicas {high}; lower the one or raise the other")
        return self
