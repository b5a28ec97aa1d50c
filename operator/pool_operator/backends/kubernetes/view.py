"""Deployment, ReplicaSets and Pods of one pool → what the reconciler sees. Pure.

Before: cache.py. After: runtime's observe step.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pool_operator.backends.base import BackendView, Problem
from pool_operator.backends.kubernetes.causes import one_line
from pool_operator.backends.kubernetes.objects import DRAINED_COST, DeploymentFact, PodFact, ReplicaSetFact
from pool_operator.backends.kubernetes.ranking import deletion_order
from pool_operator.engine.types import Blocked, Replica, ReplicaPhase
from pool_operator.names import ConditionReason


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What the caches hold for one pool."""

    deployment: DeploymentFact | None = None
    sets: tuple[ReplicaSetFact, ...] = ()
    pods: tuple[PodFact, ...] = ()
    excused: Mapping[str, str] | None = None  # pod UID -> why, for pods that are gone or going
    out_of_memory_at: float | None = None  # of any replica there was
    lowered_lately: bool = False  # we wrote a lower number moments ago

    @property
    def active(self) -> tuple[PodFact, ...]:
        return tuple(pod for pod in self.pods if pod.active)

    @property
    def current(self) -> ReplicaSetFact | None:
        """The ReplicaSet of the Deployment's present template."""
        if self.deployment is None:
            return None
        return next((one for one in self.sets if one.revision == self.deployment.revision), None)


def build_view(facts: Facts, *, synced: bool, now: float, template_problem: Problem | None = None) -> BackendView:
    """Snapshot for one pool; `now` in unix seconds."""
    deployment = facts.deployment
    return BackendView(
        synced=synced,
        replicas=tuple(_replicas(facts, now)),
        wanted=deployment.wanted if deployment else 0,
        exists=deployment is not None,
        lowering_blocked=lowering_blocked(facts),
        template_problem=template_problem,
        capacity_problem=capacity_problem(facts),
        refused=any(one.failure and one.wanted > one.present for one in facts.sets),
        out_of_memory_at=facts.out_of_memory_at,
        excused_replicas=tuple(sorted(facts.excused or ())),
        deadlines={pod.id.uid: pod.id.deletion_at for pod in facts.pods if pod.id.deletion_at is not None},
    )


def _replicas(facts: Facts, now: float) -> Sequence[Replica]:
    order = deletion_order(facts.active, related=facts.active, now=now, equal_cost=True)
    rank = {pod.id.uid: position for position, pod in enumerate(order)}
    current, doomed = facts.current, condemned(facts)
    alive = [pod for pod in facts.pods if pod.phase not in {"Succeeded", "Failed"}]
    return [
        Replica(
            id=pod.id.uid,
            phase=ReplicaPhase.TERMINATING if pod.id.uid in doomed else _phase(pod),
            created_at=pod.created_at,
            ready_at=pod.ready_at,
            restarted_at=pod.restarted_at,
            removal_rank=rank.get(pod.id.uid, -1),
            blocked=_blocked(pod),
            outdated=current is not None and pod.id.owner_uid != current.id.uid,
        )
        for pod in sorted(alive, key=lambda pod: (pod.created_at, pod.id.uid))
    ]


def _phase(pod: PodFact) -> ReplicaPhase:
    if pod.id.deletion_at is not None:
        return ReplicaPhase.TERMINATING
    return ReplicaPhase.READY if pod.ready else ReplicaPhase.STARTING


def _blocked(pod: PodFact) -> Blocked | None:
    if pod.stuck is None:
        return None
    return Blocked.UNSCHEDULABLE if pod.stuck.reason is ConditionReason.UNSCHEDULABLE else Blocked.FAILING


def condemned(facts: Facts) -> frozenset[str]:
    """Drained pods that a lower number, already written, may be about to end.

    They are shown as terminating before the cluster says so. If work came back in this moment and the mark of such a
    pod were taken away, it would claim a job and be ended with it. Whoever is still there when the controllers have
    caught up, count as we do, and a settling time has passed, is an ordinary drained replica again.
    """
    deployment = facts.deployment
    if deployment is None:
        return frozenset()
    drained = frozenset(pod.id.uid for pod in facts.active if pod.cost == DRAINED_COST)
    settled = (
        not facts.lowered_lately
        and deployment.caught_up
        and all(one.caught_up for one in facts.sets)
        and sum(one.wanted for one in facts.sets) == deployment.wanted
        and len(facts.active) <= deployment.wanted
    )
    return frozenset() if settled else drained


def lowering_blocked(facts: Facts) -> str:
    """Why a lower number would be split over two templates, or be judged on old news; "" if it may be lowered."""
    deployment = facts.deployment
    if deployment is None:
        return ""
    if not deployment.caught_up:
        return "the Deployment controller has not seen the last change yet"
    live = [one for one in facts.sets if one.wanted > 0]
    if len(live) > 1:
        return f"a rollout runs: {len(live)} templates have replicas"
    if any(not one.caught_up for one in facts.sets):
        return "the ReplicaSet controller has not seen the last change yet"
    return ""


def capacity_problem(facts: Facts) -> Problem | None:
    """What keeps replicas from coming, in the cluster's own words."""
    waiting = [pod.stuck for pod in facts.active if pod.stuck is not None]
    for reason, verb in (
        (ConditionReason.UNSCHEDULABLE, "cannot be scheduled"),
        (ConditionReason.STARTS_FAILING, "cannot start"),
    ):
        found = [problem for problem in waiting if problem.reason is reason]
        if found:
            noun = "replica" if len(found) == 1 else "replicas"
            return Problem(reason=reason, message=f"{len(found)} {noun} {verb}: {found[0].message}")
    for one in facts.sets:
        if one.failure and one.wanted > 0:
            return Problem(
                reason=ConditionReason.FAILED_CREATE,
                message=f"the cluster refuses new replicas: {one_line(one.failure)}",
            )
    if facts.deployment is not None and facts.deployment.stalled and len([s for s in facts.sets if s.wanted > 0]) > 1:
        return Problem(
            reason=ConditionReason.ROLLOUT_STUCK,
            message=f"the rollout makes no progress, replicas of both templates are kept and paid for: {one_line(facts.deployment.stalled)}",
        )
    return None
