"""When replicas may go, and which number to write: the protocol of a scale-down. Pure.

Lowering `replicas` names a number; the ReplicaSet controller picks the pods, from its own cache. Three things must
hold before we write: our marks (deletion cost) have reached its cache, it counts the same pods as we do, and its first
k picks are exactly pods that are proved empty.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from pool_operator.backends.base import Target
from pool_operator.backends.kubernetes.objects import DRAINED_COST, IDLE_COST, OUR_COSTS, PodFact
from pool_operator.backends.kubernetes.ranking import deletion_order
from pool_operator.backends.kubernetes.view import Facts, condemned, lowering_blocked

SETTLE_SECONDS: Final = 1.0
"""How long our watch must have shown a cost: the controller manager reads from a cache of its own, behind ours or ahead."""
RETRY_SECONDS: Final = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Lowering:
    """What to do now: write a number, or wait and look again."""

    replicas: int | None = None
    wait_seconds: float | None = None
    why: str = ""


def wanted_costs(facts: Facts, target: Target) -> dict[str, int | None]:
    """Deletion cost per pod where it has to change: a number, or None to take our annotation away.

    A condemned pod keeps its cost whatever the target says: the controller may be choosing at this moment.
    """
    rolling = len([one for one in facts.sets if one.wanted > 0]) > 1
    changes: dict[str, int | None] = {}
    doomed = condemned(facts)
    for pod in facts.active:
        uid = pod.id.uid
        if uid in doomed:
            continue
        if uid in target.drained:
            wanted: int | None = DRAINED_COST
        elif rolling and uid in target.idle:
            wanted = IDLE_COST
        else:
            wanted = pod.cost if pod.cost not in OUR_COSTS else None
        if wanted != pod.cost:
            changes[uid] = wanted
    return changes


def plan_lowering(
    facts: Facts, target: Target, *, cost_seen_at: Mapping[str, float], monotonic: float, now: float
) -> Lowering:
    """Decide whether `replicas` may be lowered now.

    Args:
        facts: the caches for this pool.
        target: what the reconciler wants.
        cost_seen_at: pod UID -> monotonic time at which our own watch first showed its present cost.
        monotonic: the same clock, now.
        now: unix seconds, for ages.
    """
    deployment = facts.deployment
    if deployment is None or target.replicas >= deployment.wanted:
        return Lowering()
    active = facts.active
    drained = [pod for pod in active if pod.id.uid in target.drained]
    if lowering_blocked(facts):
        return _blocked(facts, active, drained)
    replicas = max(target.replicas, len(active) - len(drained))
    if replicas >= deployment.wanted:
        return Lowering()  # nothing is proved empty yet
    present = sum(one.present for one in facts.sets)
    if present != len(active):
        return Lowering(
            wait_seconds=RETRY_SECONDS, why=f"the ReplicaSet counts {present} pods, our watch {len(active)}"
        )
    leave = len(active) - replicas
    if leave <= 0:
        return Lowering(replicas=replicas, why="replicas that never came are no longer asked for")
    return _judge(active, drained, leave, replicas, cost_seen_at=cost_seen_at, monotonic=monotonic, now=now)


def _blocked(facts: Facts, active: tuple[PodFact, ...], drained: list[PodFact]) -> Lowering:
    """During a rollout the lower number would be split over both templates; only "all of them" cannot be split."""
    deployment = facts.deployment
    counted = sum(one.present for one in facts.sets) == len(active)
    if counted and deployment is not None and deployment.caught_up and len(drained) == len(active):
        return Lowering(replicas=0, why="every replica is drained and empty")
    return Lowering(wait_seconds=RETRY_SECONDS, why=lowering_blocked(facts))


def _judge(
    active: tuple[PodFact, ...],
    drained: list[PodFact],
    leave: int,
    replicas: int,
    *,
    cost_seen_at: Mapping[str, float],
    monotonic: float,
    now: float,
) -> Lowering:
    settled = [pod for pod in drained if pod.cost == DRAINED_COST]
    if len(settled) < len(drained):
        return Lowering(wait_seconds=RETRY_SECONDS, why="our watch does not show the deletion cost yet")
    youngest = max((cost_seen_at.get(pod.id.uid, monotonic) for pod in settled), default=monotonic)
    if (left := youngest + SETTLE_SECONDS - monotonic) > 0:
        return Lowering(wait_seconds=left, why="the deletion cost has to reach the controller's cache")
    proved = {pod.id.uid for pod in drained}
    first = deletion_order(active, related=active, now=now)[:leave]
    if wrong := [pod.id.name for pod in first if pod.id.uid not in proved]:
        return Lowering(
            wait_seconds=RETRY_SECONDS, why=f"the ReplicaSet would remove {wrong[0]} first, which is not drained"
        )
    return Lowering(replicas=replicas, why=f"{leave} drained replicas go")
