"""How many jobs fit into one replica at once: slots = floor((limit × (1 − margin) − base) / perJob).

For host memory and for GPU memory; the smaller result wins, never more than maxPerReplica.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from pool_contract.model_memory import ModelMemory
from pool_operator.api.models import Concurrency
from pool_operator.api.quantity import in_words, parse_bytes
from pool_operator.engine.types import MemorySpace

MEBIBYTE: Final = 1024**2
GUESSED_HOST: Final = (1500, 500)
"""base and perJob in MiB where neither the pool nor the model table says any."""
GUESSED_GPU: Final = (2150, 500)


@dataclass(frozen=True, slots=True, kw_only=True)
class Worker:
    """What the pool's template says of its worker container."""

    limit_bytes: int | None = None  # resources.limits.memory; None: host memory does not limit
    on_gpu: bool = False
    int8: bool = False  # weights of 8 bits
    model: ModelMemory | None = None  # None: not a model of the table


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    slots: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Misfit:
    """Not even one job fits; the sentence names the fields and the fix."""

    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Space:
    """One kind of memory, and the words for it."""

    kind: str
    field: str
    limit_field: str
    limit: int
    margin_percent: int
    base: int
    per_job: int
    guessed: bool  # base or perJob is nobody's word

    @property
    def usable(self) -> int:
        return self.limit * (100 - self.margin_percent) // 100

    @property
    def slots(self) -> int:
        return max(0, self.usable - self.base) // self.per_job

    def misfit(self) -> Misfit:
        return Misfit(
            message=(
                f"{self.field}: not one job fits: {self.limit_field} {in_words(self.limit)} less marginPercent "
                f"{self.margin_percent} is {in_words(self.usable)}, but base {in_words(self.base)} and perJob "
                f"{in_words(self.per_job)} need {in_words(self.base + self.per_job)}; raise the limit or lower base, "
                "perJob or marginPercent"
            )
        )


def slots_that_fit(concurrency: Concurrency, worker: Worker) -> Fit | Misfit:
    """Slots of one replica, or why it cannot have any.

    A limit of 8Gi with 20 % margin, base 1500Mi and 500Mi per job: floor((6553 − 1500) / 500) = 10; with 24Gi of GPU
    memory, 10 % margin, base 2150Mi and 500Mi per job 39 fit there; maxPerReplica 4 has the last word: 4.

    A guessed base or perJob refuses nobody: then at least one job runs.
    """
    slots = concurrency.max_per_replica
    for space in _spaces(concurrency, worker):
        if space.slots < 1 and not space.guessed:
            return space.misfit()
        slots = min(slots, max(1, space.slots))
    return Fit(slots=slots)


def memory_spaces(concurrency: Concurrency, worker: Worker) -> tuple[MemorySpace, ...]:
    """The kinds of memory that limit a replica's jobs, for measured peaks to correct (engine/slots.py)."""
    return tuple(
        MemorySpace(kind=one.kind, usable_bytes=one.usable, base_bytes=one.base, per_job_bytes=one.per_job)
        for one in _spaces(concurrency, worker)
    )


def _spaces(concurrency: Concurrency, worker: Worker) -> list[_Space]:
    found: list[_Space] = []
    if worker.limit_bytes is not None:
        rule = concurrency.memory
        on_gpu = worker.on_gpu or concurrency.gpu_memory is not None  # a slice of a GPU has another resource name
        base, per_job = _host_defaults(worker.model, on_gpu=on_gpu)
        found.append(
            _Space(
                kind="host",
                field="spec.concurrency.memory",
                limit_field="resources.limits.memory of the container `worker`",
                limit=worker.limit_bytes,
                margin_percent=rule.margin_percent,
                base=base if rule.base is None else parse_bytes(rule.base),
                per_job=_at_least_one(per_job if rule.per_job is None else parse_bytes(rule.per_job)),
                guessed=worker.model is None and None in {rule.base, rule.per_job},
            )
        )
    if (gpu := concurrency.gpu_memory) is not None:
        base, per_job = _gpu_defaults(worker)
        found.append(
            _Space(
                kind="gpu",
                field="spec.concurrency.gpuMemory",
                limit_field="perReplica",
                limit=parse_bytes(gpu.per_replica),
                margin_percent=gpu.margin_percent,
                base=base if gpu.base is None else parse_bytes(gpu.base),
                per_job=_at_least_one(per_job if gpu.per_job is None else parse_bytes(gpu.per_job)),
                guessed=worker.model is None and None in {gpu.base, gpu.per_job},
            )
        )
    return found


def _at_least_one(amount: int) -> int:
    """A perJob of 0 means as many as maxPerReplica says."""
    return max(1, amount)


def _host_defaults(model: ModelMemory | None, *, on_gpu: bool) -> tuple[int, int]:
    if model is None:
        base, per_job = GUESSED_HOST
    elif on_gpu:
        base, per_job = model.host_base_mib, model.host_per_job_mib
    else:
        base, per_job = model.host_base_cpu_mib, model.host_per_job_cpu_mib
    return base * MEBIBYTE, per_job * MEBIBYTE


def _gpu_defaults(worker: Worker) -> tuple[int, int]:
    model = worker.model
    if model is None:
        base, per_job = GUESSED_GPU
    else:
        base, per_job = (model.gpu_base_int8_mib if worker.int8 else model.gpu_base_mib), model.gpu_per_job_mib
    return base * MEBIBYTE, per_job * MEBIBYTE
