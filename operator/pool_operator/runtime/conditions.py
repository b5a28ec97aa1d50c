"""The conditions of a pool, judged afresh in each pass. Pure; their sentences hold still while nothing happens.

Before: the facts of a pass. After: runtime/status.py, which gives them their times.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from pool_operator.backends.base import BackendView, PoolObject, Problem
from pool_operator.engine.state import Spend
from pool_operator.engine.types import Budget, Decision, Unknown
from pool_operator.engine.types import Observed as ObservedPool
from pool_operator.names import Condition, ConditionReason, Limit, Mode, Reason
from pool_operator.runtime.spending import Verdict, budget_available

HOLDING: Final = frozenset({Reason.HOLD_UNKNOWN, Reason.HOLD_CONTRADICTION})
TROUBLE: Final = HOLDING | {Reason.INVALID, Reason.CAPACITY_SHORT}
LIMITS: Final = {
    Limit.MINIMUM: "spec.minReplicas lifts the wish",
    Limit.MAXIMUM: "spec.maxReplicas caps the wish",
    Limit.SCHEDULE: "the minimum or maximum of a schedule of spec.schedules holds now",
    Limit.THRESHOLD: "spec.scaling.thresholds have not been over or under their values for long enough",
    Limit.OVERFLOW: "the pool of spec.overflow.forPoolRef keeps up, so this one is not needed",
    Limit.CONCURRENCY: "spec.jobs.maxConcurrent caps the wish",
    Limit.RATE: "spec.jobs.ratePerMinute caps the wish",
    Limit.CAPACITY: "the cluster gives no more replicas",
    Limit.BUDGET: "spec.budget caps the wish",
    Limit.RUNNING: "running jobs keep replicas that are not needed otherwise",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """Everything a status is made of.

    `pool_problem`: why the pool as a whole is not followed (spec, shared queue).
    `queue_problem`: why its queues cannot be read. `apply_problem`: what the backend said last.
    """

    pool: PoolObject
    decision: Decision
    observed: ObservedPool
    view: BackendView
    pool_problem: Problem | None = None
    queue_problem: Problem | None = None
    apply_problem: Problem | None = None
    mode: Mode = Mode.ACTIVE
    budget: Budget | None = None
    spend: Spend = field(default_factory=Spend)
    job_cost: float = 0.0  # of one more job, at most


def judged(facts: Facts) -> dict[Condition, Verdict]:
    """All conditions of a pool."""
    return {
        Condition.READY: _ready(facts),
        Condition.SCALING_ACTIVE: _active(facts),
        Condition.SCALING_LIMITED: _limited(facts),
        Condition.QUEUE_REACHABLE: _queue_reachable(facts),
        Condition.TEMPLATE_VALID: _template(facts),
        Condition.CAPACITY_AVAILABLE: _capacity(facts),
        Condition.BUDGET_AVAILABLE: budget_available(
            facts.budget, facts.spend, facts.decision, job_cost=facts.job_cost
        ),
    }


def _ready(facts: Facts) -> Verdict:
    for problem in (facts.pool_problem, facts.view.template_problem, facts.apply_problem, facts.queue_problem):
        if problem is not None:
            return _false(problem)
    if isinstance(facts.observed.reading, Unknown):
        return ("False", str(ConditionReason.NOT_YET_KNOWN), facts.observed.reading.why)
    return _true("the pool is served")


def _active(facts: Facts) -> Verdict:
    decision = facts.decision
    if facts.pool_problem is not None:
        return _false(facts.pool_problem)
    if not decision.acts or facts.mode is not Mode.ACTIVE:
        reason = {Mode.PAUSED: Reason.PAUSED, Mode.DRY_RUN: Reason.DRY_RUN}.get(facts.mode)
        # the decision's sentence has counts that change all the time; a condition holds still
        message = decision.message if reason is None else f"spec.mode is {facts.mode}"
        return ("False", str(reason or decision.reason), message)
    if facts.observed.primary_missing:
        return ("False", str(Reason.HOLD_UNKNOWN), facts.observed.primary_missing)
    if decision.reason in HOLDING or isinstance(facts.observed.reading, Unknown):
        return ("False", str(decision.reason), decision.message)
    return _true("replicas follow the work")


def _limited(facts: Facts) -> Verdict:
    limit = facts.decision.limited_by
    if limit is None:
        return ("False", str(ConditionReason.OK), "no limit binds")
    if limit is Limit.OVERFLOW and facts.observed.primary is None:
        return (
            "True",
            str(limit),
            facts.observed.primary_missing or "the pool of spec.overflow.forPoolRef is not seen",
        )
    return ("True", str(limit), LIMITS[limit])


def _queue_reachable(facts: Facts) -> Verdict:
    if facts.queue_problem is not None:
        return _false(facts.queue_problem)
    if isinstance(facts.observed.reading, Unknown):
        return ("Unknown", str(ConditionReason.NOT_YET_KNOWN), facts.observed.reading.why)
    return _true("all queues are read")


def _template(facts: Facts) -> Verdict:
    if facts.view.template_problem is not None:
        return _false(facts.view.template_problem)
    if (problem := facts.apply_problem) is not None and problem.reason is ConditionReason.TEMPLATE_REFUSED:
        return _false(problem)
    if facts.view.exists:
        return _true("the template is accepted")
    return ("Unknown", str(ConditionReason.NOT_YET_KNOWN), "the template has not been tried yet")


def _capacity(facts: Facts) -> Verdict:
    """What is wanted and why it is not there, without counts of jobs and times."""
    decision, problem = facts.decision, facts.view.capacity_problem
    wanted = dict(decision.without).get(Limit.CAPACITY)
    if problem is not None:
        more = "" if wanted is None else f"{wanted} replicas are wanted, {decision.replicas} are asked for: "
        return ("False", str(problem.reason), f"{more}{problem.message}")
    if (problem := facts.apply_problem) is not None and problem.reason is not ConditionReason.TEMPLATE_REFUSED:
        return _false(problem)
    if wanted is not None:  # nothing is asked for in vain any more, so that the cluster says nothing either
        told = decision.message if decision.reason is Reason.CAPACITY_SHORT else f"{wanted} replicas are wanted"
        return ("False", str(Reason.CAPACITY_SHORT), told)
    return _true("nothing keeps replicas from coming")


def _true(message: str) -> Verdict:
    return ("True", str(ConditionReason.OK), message)


def _false(problem: Problem) -> Verdict:
    return ("False", str(problem.reason), problem.message)
