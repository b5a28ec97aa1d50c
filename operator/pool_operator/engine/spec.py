"""From the resource to what the engine decides on, or the sentence that says why not."""

from __future__ import annotations

from pool_contract.model_memory import memory_of
from pool_operator.api.models import ProcessingPoolSpec, ScaleUp
from pool_operator.api.money import Amounts
from pool_operator.api.money import Budget as BudgetField
from pool_operator.api.quantity import parse_bytes
from pool_operator.api.template import Raw, environment, limits, worker_container
from pool_operator.engine.memory import Misfit, Worker, memory_spaces, slots_that_fit
from pool_operator.engine.types import WAIT_VALUE, Budget, PoolSpec, QueueSpec, Schedule, Threshold
from pool_operator.names import Learn


def pool_spec(spec: ProcessingPoolSpec, *, deleted: bool) -> PoolSpec | Misfit:
    """What the engine needs of a pool; a Misfit if no job fits into a replica's memory."""
    try:
        worker = worker_of(spec.template)
    except ValueError as error:
        return Misfit(message=f"spec.template: resources.limits.memory of the container `worker`: {error}")
    fit = slots_that_fit(spec.concurrency, worker)
    if isinstance(fit, Misfit):
        return fit
    return PoolSpec(
        queues=tuple(
            QueueSpec(
                name=one.name, triggers=one.scale_up is ScaleUp.ALWAYS, target_wait_seconds=one.target_wait_seconds
            )
            for one in spec.queues
        ),
        min_replicas=spec.min_replicas,
        max_replicas=spec.max_replicas,
        slots_per_replica=fit.slots,
        mode=spec.mode,
        on_unknown=spec.scaling.on_unknown,
        scale_down_window_seconds=spec.scaling.behavior.scale_down.stabilization_window_seconds,
        deleted=deleted,
        wait_value=WAIT_VALUE[spec.scaling.profile],
        target_wait_seconds=spec.scaling.target_wait_seconds,
        thresholds=tuple(
            Threshold(
                metric=one.metric, direction=one.direction, level=float(one.level), for_seconds=float(one.for_seconds)
            )
            for one in spec.scaling.thresholds
        ),
        schedules=tuple(
            Schedule(
                name=one.name,
                start=one.start,
                duration_seconds=float(one.duration_seconds),
                time_zone=one.time_zone,
                min_replicas=one.min_replicas,
                max_replicas=one.max_replicas,
            )
            for one in spec.schedules
        ),
        budget=None if spec.budget is None else _budget(spec.budget),
        rate_per_minute=spec.jobs.rate_per_minute,
        max_concurrent=spec.jobs.max_concurrent,
        job_timeout_seconds=float(spec.jobs.timeout_seconds),
        learn_slots=spec.concurrency.learn is Learn.AUTO,
        max_slots=spec.concurrency.max_per_replica,
        memory_spaces=memory_spaces(spec.concurrency, worker),
        overflow_after_seconds=None if spec.overflow is None else float(spec.overflow.after_wait_seconds),
    )


def _budget(budget: BudgetField) -> Budget:
    nothing = Amounts()
    daily, monthly = budget.daily or nothing, budget.monthly or nothing
    return Budget(
        price_per_replica_hour=float(budget.price_per_replica_hour),
        daily_soft=_money(daily.soft),
        daily_hard=_money(daily.hard),
        monthly_soft=_money(monthly.soft),
        monthly_hard=_money(monthly.hard),
        time_zone=budget.time_zone,
        on_exhausted=budget.on_exhausted,
    )


def _money(amount: str | None) -> float | None:
    return None if amount is None else float(amount)


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
