"""The ProcessingPool resource as pydantic models; api/crd.py writes crds/*.yaml from them.

Each field's description becomes `kubectl explain`, with unit and default. Reading from the API server is lenient
(unknown fields are ignored: an older operator must live with a newer CRD); `strict()` is for files a person wrote.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, Final, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic.alias_generators import to_camel
from pydantic.config import JsonDict

from pool_operator.api.calendars import Cron, TimeZone
from pool_operator.api.quantity import Quantity
from pool_operator.names import (
    WORKER_CONTAINER,
    Direction,
    Learn,
    Mode,
    OnExhausted,
    OnUnknown,
    Profile,
    ThresholdMetric,
)

MONEY_PATTERN: Final = r"^[0-9]{1,9}(\.[0-9]{1,6})?$"
Money = Annotated[str, Field(pattern=MONEY_PATTERN, max_length=20)]


THRESHOLD_RULES: Final[list[JsonDict]] = [
    {
        "rule": "self.metric == 'Utilization' ? has(self.percent) && !has(self.value) : has(self.value) && !has(self.percent)",
        "message": "must have `percent` and no `value` for the metric Utilization, `value` and no `percent` for Waiting",
    },
]
AMOUNT_RULES: Final[list[JsonDict]] = [
    {
        "rule": "!has(self.soft) || !has(self.hard) || double(self.soft) <= double(self.hard)",
        "message": "`soft` must not be greater than `hard`",
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


class Model(BaseModel):
    model_config = ConfigDict(
        alias_generator=to_camel, populate_by_name=True, frozen=True, extra="ignore", use_enum_values=False
    )


class ScaleUp(StrEnum):
    ALWAYS = "Always"
    NEVER = "Never"


class SecretRef(Model):
    name: str = Field(
        min_length=1,
        max_length=253,
        description="Name of a Secret in the pool's namespace; its keys `username`, `password` and `ca.crt` are used where present.",
    )


class Tls(Model):
    server_name: str | None = Field(
        default=None, max_length=253, description="Name to verify in the server's certificate. Default: the host."
    )


class Redis(Model):
    host: str = Field(
        min_length=1, max_length=253, description="Host name or address of the Redis or Valkey server the jobs are in."
    )
    port: int = Field(default=6379, ge=1, le=65535, description="TCP port. Default: 6379.")
    database: int = Field(default=0, ge=0, le=1023, description="Number of the Redis database. Default: 0.")
    key_prefix: str = Field(
        default="rq",
        min_length=1,
        max_length=64,
        pattern=r"^[A-Za-z0-9_.{}-]+$",
        description="RQ_KEY_PREFIX of the producers. Default: rq.",
    )
    credentials_secret_ref: SecretRef | None = Field(
        default=None, description="Secret with the credentials. Default: none."
    )
    tls: Tls | None = Field(
        default=None,
        description="Present: connect by TLS, verified against `ca.crt` of the Secret or the system's authorities. Default: no TLS.",
    )


class Queue(Model):
    name: str = Field(min_length=1, max_length=128, pattern=r"^[A-Za-z0-9_.:-]+$", description="Name of the RQ queue.")
    scale_up: ScaleUp = Field(
        default=ScaleUp.ALWAYS, description="Never: its jobs only fill slots that are there anyway. Default: Always."
    )
    target_wait_seconds: int | None = Field(
        default=None,
        ge=1,
        le=604800,
        description="Seconds within which a job of this queue should start. Default: scaling.targetWaitSeconds.",
    )


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
        needed, other = ("percent", "value") if self.metric is ThresholdMetric.UTILIZATION else ("value", "percent")
        if getattr(self, needed) is None or getattr(self, other) is not None:
            raise ValueError(f"metric {self.metric} takes '{needed}' and not '{other}'; write {needed}: 70")
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


class MemoryRule(Model):
    base: Quantity | None = Field(
        default=None,
        description="Memory that a replica needs before any job runs. Default: from the model table of the worker's model, else 1500Mi.",
    )
    per_job: Quantity | None = Field(
        default=None, description="Memory that one running job adds. Default: from the model table, else 500Mi."
    )
    margin_percent: int = Field(
        default=20, ge=0, le=90, description="Part of the limit kept free, in percent. Default: 20."
    )


class GpuMemoryRule(Model):
    per_replica: Quantity = Field(description="GPU memory that one replica may use.")
    base: Quantity | None = Field(
        default=None, description="GPU memory of the loaded model. Default: from the model table, else 2150Mi."
    )
    per_job: Quantity | None = Field(
        default=None, description="GPU memory that one running job adds. Default: from the model table, else 500Mi."
    )
    margin_percent: int = Field(
        default=10, ge=0, le=90, description="Part of the GPU memory kept free, in percent. Default: 10."
    )


class Concurrency(Model):
    max_per_replica: int = Field(
        default=1, ge=1, le=64, description="Most jobs at once in one replica, whatever memory allows. Default: 1."
    )
    learn: Learn = Field(
        default=Learn.AUTO,
        description="Auto: jobs at once follow measured peaks of memory, inside the limits; Off: the numbers here hold. Default: Auto.",
    )
    memory: MemoryRule = Field(
        default_factory=MemoryRule, description="Host memory: slots = floor((limit * (1 - margin) - base) / perJob)."
    )
    gpu_memory: GpuMemoryRule | None = Field(
        default=None, description="GPU memory, same formula; the smaller result wins. Default: not limited."
    )


class Jobs(Model):
    timeout_seconds: int = Field(
        default=7200,
        ge=1,
        le=604800,
        description="Longest run of one job in seconds; also the default of our client. Default: 7200.",
    )
    max_retries: int = Field(
        default=3, ge=0, le=100, description="Retries after failures that our client asks RQ for. Default: 3."
    )
    max_losses: int = Field(
        default=2,
        ge=0,
        le=100,
        description="Losses of a job that ran alone (crash, OOM) before it is failed. Default: 2.",
    )
    rate_per_minute: int | None = Field(
        default=None,
        ge=1,
        le=1_000_000,
        description="Most jobs started in a minute, of the whole pool. Default: no limit.",
    )
    max_concurrent: int | None = Field(
        default=None, ge=1, le=1_000_000, description="Most jobs at once in the whole pool. Default: no limit."
    )


class Amounts(Model):
    """Limits of one day's or one month's money."""

    model_config = ConfigDict(json_schema_extra={"x-kubernetes-validations": [*AMOUNT_RULES]})

    soft: Money | None = Field(
        default=None,
        description="When so much is spent nothing new starts, and what runs is finished. Default: no such limit.",
    )
    hard: Money | None = Field(
        default=None,
        description="Never more than this: a job only starts if it fits even when it runs into its time-out. Default: no such limit.",
    )

    @model_validator(mode="after")
    def _soft_first(self) -> Self:
        if self.soft is not None and self.hard is not None and float(self.soft) > float(self.hard):
            raise ValueError(f"soft {self.soft} is greater than hard {self.hard}; lower the one or raise the other")
        return self


class Budget(Model):
    price_per_replica_hour: Money = Field(
        description='Price of one replica for one hour, a decimal number in your currency, for example "0.69".'
    )
    daily: Amounts | None = Field(default=None, description="Money for one day. Default: not limited by the day.")
    monthly: Amounts | None = Field(
        default=None,
        description="Money for one month; without daily.soft each day gets a share of it. Default: not limited by the month.",
    )
    time_zone: TimeZone = Field(default="UTC", description="Time zone in which days and months begin. Default: UTC.")
    on_exhausted: OnExhausted = Field(
        default=OnExhausted.PAUSE,
        description="Pause: finish what runs and go on with the next day or month; Minimum: keep minReplicas, for which money is set aside. Default: Pause.",
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


class PoolRef(Model):
    name: str = Field(min_length=1, max_length=52, description="Name of a pool in the same namespace.")


class Overflow(Model):
    for_pool_ref: PoolRef = Field(description="The pool that is helped out; it serves the same queues.")
    after_wait_seconds: int = Field(
        default=300,
        ge=0,
        le=604800,
        description="Seconds that the oldest job has waited before this pool starts anything. Default: 300.",
    )


LONGEST_NAME: Final = 52
"""Of a pool: its name becomes a label (63) of objects whose generated names are longer."""

RULES: Final[list[JsonDict]] = [
    {
        "rule": "self.minReplicas <= self.maxReplicas",
        "message": "`minReplicas` must not be greater than `maxReplicas`",
        "fieldPath": ".minReplicas",
    },
]
TEMPLATE_RULES: Final[list[JsonDict]] = [
    {
        "rule": f"self.spec.containers.exists(one, one.name == '{WORKER_CONTAINER}')",
        "message": f"must have a container named '{WORKER_CONTAINER}': it runs the jobs",
        "fieldPath": ".spec.containers",
    },
]
_KEPT: Final[JsonDict] = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
# as much of a pod template as a rule has to see; the API server's dry run judges the rest
TEMPLATE_SHAPE: Final[JsonDict] = {
    **_KEPT,
    "required": ["spec"],
    "properties": {
        "metadata": {**_KEPT, "description": "Labels and annotations of the worker pods."},
        "spec": {
            **_KEPT,
            "description": "As in a pod: containers, volumes, nodeSelector, tolerations …",
            "required": ["containers"],
            "properties": {
                "containers": {
                    "type": "array",
                    "description": f"Containers; the one named `{WORKER_CONTAINER}` runs the jobs.",
                    "minItems": 1,
                    "maxItems": 16,
                    "items": {
                        **_KEPT,
                        "required": ["name"],
                        "properties": {
                            "name": {
                                "type": "string",
                                "description": "Name of the container.",
                                "minLength": 1,
                                "maxLength": 63,
                            }
                        },
                    },
                }
            },
        },
    },
    "x-kubernetes-validations": [*TEMPLATE_RULES],
}


class ProcessingPoolSpec(Model):
    """Spec of a pool: queues + workers + rules."""

    model_config = ConfigDict(json_schema_extra={"x-kubernetes-validations": [*RULES]})

    mode: Mode = Field(
        default=Mode.ACTIVE,
        description="Active; DryRun: decide and report, do not act; Paused: hold the replicas. Default: Active.",
    )
    redis: Redis | None = Field(
        default=None,
        description="Where the jobs are. Required on a cluster; on one machine, absent means an embedded server.",
    )
    queues: tuple[Queue, ...] = Field(
        min_length=1,
        max_length=16,
        description="Queues in strict priority order, the first is served first.",
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]},
    )
    min_replicas: int = Field(default=0, ge=0, le=10000, description="Fewest replicas. Default: 0.")
    max_replicas: int = Field(ge=0, le=10000, description="Most replicas.")
    scaling: Scaling = Field(default_factory=Scaling, description="How replicas follow the work.")
    concurrency: Concurrency = Field(default_factory=Concurrency, description="Jobs at once in one replica.")
    jobs: Jobs = Field(default_factory=Jobs, description="Defaults and limits of jobs.")
    budget: Budget | None = Field(default=None, description="Money. Default: none, cost is not counted.")
    schedules: tuple[Schedule, ...] = Field(
        default=(),
        max_length=16,
        description="Other bounds for parts of the day or week. Where several hold, the highest minimum and the highest maximum win. Default: none.",
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]},
    )
    overflow: Overflow | None = Field(
        default=None,
        description="Present: this pool only helps another one out, when that one cannot keep up. Default: not an overflow pool.",
    )
    template: dict[str, Any] = Field(
        description="A pod template as in a Deployment; its container `worker` runs the jobs.",
        json_schema_extra=TEMPLATE_SHAPE,
    )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        # the API server checks these too; a pool on one machine meets no API server
        keys = {
            "queues": [one.name for one in self.queues],
            "schedules": [one.name for one in self.schedules],
            "scaling.thresholds": [f"{one.metric} {one.direction}" for one in self.scaling.thresholds],
        }
        for field, names in keys.items():
            if twice := next((name for name in names if names.count(name) > 1), None):
                raise ValueError(f"{field}: '{twice}' stands there twice; remove one")
        if self.min_replicas > self.max_replicas:
            raise ValueError(
                f"minReplicas: {self.min_replicas} is greater than maxReplicas {self.max_replicas}; lower the one or raise the other"
            )
        self._payable()
        return self

    def _payable(self) -> None:
        """A hard limit below the price of one job would let nothing start, ever."""
        if self.budget is None:
            return
        price, longest = float(self.budget.price_per_replica_hour), self.jobs.timeout_seconds
        for field, amounts in (("daily", self.budget.daily), ("monthly", self.budget.monthly)):
            if amounts is not None and amounts.hard is not None and price * longest / 3600 > float(amounts.hard):
                raise ValueError(
                    f"budget.{field}.hard: {amounts.hard} is less than one job may cost: jobs.timeoutSeconds {longest} at "
                    f"pricePerReplicaHour {price:g} is {price * longest / 3600:g}; raise it or lower the time-out"
                )
