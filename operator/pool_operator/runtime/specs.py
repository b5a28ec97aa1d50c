"""From the resource to what the engine decides on, or the sentence that says why not."""

from __future__ import annotations

from pool_contract.model_memory import memory_of
from pool_operator.api.models import ProcessingPoolSpec, ScaleUp
from pool_operator.api.quantity import parse_bytes
from pool_operator.api.template import Raw, environment, limits, worker_container
from pool_operator.backends.base import Problem
from pool_operator.engine.memory import Misfit, Worker, slots_that_fit
from pool_operator.engine.types import PoolSpec, QueueSpec
from pool_operator.names import ConditionReason


def pool_spec(spec: ProcessingPoolSpec, *, deleted: bool) -> PoolSpec | Problem:
    """What the engine needs of a pool; a Problem if no job fits into a replica's memory."""
    try:
        fit = slots_that_fit(spec.concurrency, worker_of(spec.template))
    except ValueError as error:
        message = f"spec.template: resources.limits.memory of the container `worker`: {error}"
        return Problem(reason=ConditionReason.SPEC_INVALID, message=message)
    if isinstance(fit, Misfit):
        return Problem(reason=ConditionReason.SPEC_INVALID, message=fit.message)
    return PoolSpec(
        queues=tuple(QueueSpec(name=one.name, triggers=one.scale_up is ScaleUp.ALWAYS) for one in spec.queues),
        min_replicas=spec.min_replicas,
        max_replicas=spec.max_replicas,
        slots_per_replica=fit.slots,
        mode=spec.mode,
        on_unknown=spec.scaling.on_unknown,
        scale_down_window_seconds=spec.scaling.behavior.scale_down.stabilization_window_seconds,
        deleted=deleted,
    )


def worker_of(template: Raw) -> Worker:
    """The worker container's memory limit, GPU and model.

    Raises:
        ValueError: its memory limit is not a quantity.
    """
    container = worker_container(template) or {}
    bounds, variables = limits(container), environment(container)
    memory = bounds.get("memory")
    return Worker(
        limit_bytes=None if memory is None else parse_bytes(memory),
        on_gpu=any(name.endswith("/gpu") for name in bounds),
        int8="int8" in variables.get("PROCESSINGPOOL_MODEL_COMPUTE_TYPE", ""),
        model=memory_of(variables.get("PROCESSINGPOOL_MODEL", "")),
    )
