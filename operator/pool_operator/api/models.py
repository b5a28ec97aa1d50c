"""The ProcessingPool resource as pydantic models; api/crd.py writes crds/*.yaml from them.

Each field's description becomes `kubectl explain`, with unit and default. Reading from the API server is lenient
(unknown fields are ignored: an older operator must live with a newer CRD); `strict()` is for files a person wrote.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any, Final, Self

from pydantic import ConfigDict, Field, model_validator
from pydantic.config import JsonDict

from pool_operator.api.base import Model
from pool_operator.api.money import Budget
from pool_operator.api.quantity import Quantity
from pool_operator.api.scaling import Scaling, Schedule
from pool_operator.api.template_schema import TEMPLATE_SHAPE
from pool_operator.names import EXIT_SECONDS, Learn, Mode


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


def helps_itself(name: str) -> str:
    """The sentence for a pool that overflows for itself; only the whole object shows it."""
    return f"overflow.forPoolRef: '{name}' is this pool itself; name the pool that it is to help out"


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
        cost = price * (longest + EXIT_SECONDS) / 3600
        for field, amounts in (("daily", self.budget.daily), ("monthly", self.budget.monthly)):
            if amounts is not None and amounts.hard is not None and cost > float(amounts.hard):
                raise ValueError(
                    f"budget.{field}.hard: {amounts.hard} is less than one job may cost: jobs.timeoutSeconds {longest} "
                    f"and {EXIT_SECONDS:g} s to end, at pricePerReplicaHour {price:g}, is {cost:.6g}; raise it or lower the time-out"
                )
