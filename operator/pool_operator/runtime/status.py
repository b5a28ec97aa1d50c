"""From a decision to what users see: status and events. Pure.

Before: the reconciler's step 5, and runtime/conditions.py. After: a Reporter. Nothing in a status changes only because
time passed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from pool_operator.backends.base import Event
from pool_operator.engine.types import Decision, Reading, ReplicaPhase
from pool_operator.names import Reason
from pool_operator.runtime.conditions import TROUBLE, Facts, judged
from pool_operator.runtime.spending import checkpoint

Json = dict[str, Any]
QUEUE_INTERVAL_SECONDS: Final = 10.0
"""Counts of a busy queue change all the time: alone they make a new status this seldom."""


def build_status(facts: Facts, previous: Mapping[str, object], *, keep_queue: bool = False) -> Json:
    """The whole status, settled against the previous one (the last reported, or the stored one after a restart).

    With `keep_queue`, the queue's counts were told a moment ago: they stay if nothing else changed.
    """
    at = _stamp(facts.decision.at)
    fresh: Json = {
        "observedGeneration": facts.pool.generation,
        "replicas": len(facts.observed.replicas),
        "readyReplicas": _count(facts, ReplicaPhase.READY),
        "desiredReplicas": facts.decision.replicas,
        "drainingReplicas": sum(one.drained for one in facts.observed.replicas),
        "slotsPerReplica": facts.decision.slots,
        "queue": _queue(facts, previous),
        "decision": _decision(facts.decision, at, previous),
        "conditions": _conditions(facts, at, previous),
    }
    if (spend := checkpoint(facts.budget, facts.spend, previous.get("spend"))) is not None:
        fresh["spend"] = spend
    return _settled(fresh, previous, keep_queue=keep_queue)


def _count(facts: Facts, phase: ReplicaPhase) -> int:
    return sum(one.phase is phase for one in facts.observed.replicas)


def _queue(facts: Facts, previous: Mapping[str, object]) -> Json:
    reading = facts.observed.reading
    if not isinstance(reading, Reading):
        old = previous.get("queue")
        return dict(old) if isinstance(old, Mapping) else {}
    queues = reading.queues.values()
    waits = [one.oldest_wait_seconds for one in queues if one.oldest_wait_seconds is not None and one.waiting]
    return {
        "waiting": coarse(sum(one.waiting + one.due for one in queues)),
        "running": coarse(sum(one.running for one in queues)),
        "scheduled": coarse(sum(one.scheduled for one in queues)),
        "oldestWaitSeconds": coarse(int(max(waits, default=0.0))),
    }


def coarse(number: int) -> int:
    """Two leading digits: 1234 -> 1200."""
    unit: int = 10 ** max(0, len(str(number)) - 2)
    return number // unit * unit


def _decision(decision: Decision, at: str, previous: Mapping[str, object]) -> Json:
    """The sentence of the moment it was decided; as long as the decision is the same, that sentence stays."""
    fresh: Json = {"reason": str(decision.reason), "message": decision.message, "at": at}
    if decision.limited_by is not None:
        fresh["limitedBy"] = str(decision.limited_by)
    old = previous.get("decision")
    same = (
        isinstance(old, Mapping)
        and old.get("reason") == fresh["reason"]
        and (old.get("message") == fresh["message"] or decision.reason not in TROUBLE)
        and old.get("limitedBy") == fresh.get("limitedBy")
        and previous.get("desiredReplicas") == decision.replicas
    )
    return dict(old) if same and isinstance(old, Mapping) else fresh


def _conditions(facts: Facts, at: str, previous: Mapping[str, object]) -> list[Json]:
    old = {str(one["type"]): one for one in _listed(previous.get("conditions"))}
    conditions: list[Json] = []
    for kind, (status, reason, message) in judged(facts).items():
        before = old.get(str(kind), {})
        conditions.append(
            {
                "type": str(kind),
                "status": status,
                "reason": reason,
                "message": message,
                "observedGeneration": facts.pool.generation,
                "lastTransitionTime": before.get("lastTransitionTime", at) if before.get("status") == status else at,
            }
        )
    return conditions


def _listed(conditions: object) -> list[Mapping[str, Any]]:
    if not isinstance(conditions, Sequence) or isinstance(conditions, str):
        return []
    return [one for one in conditions if isinstance(one, Mapping) and "type" in one]


def _settled(fresh: Json, previous: Mapping[str, object], *, keep_queue: bool) -> Json:
    """The previous status itself where only ages, or counts told a moment ago, differ."""
    old_queue = previous.get("queue")
    if not isinstance(old_queue, Mapping) or not fresh["queue"]:
        return fresh
    if {**fresh, "queue": old_queue} != dict(previous):
        return fresh
    ageless = {key: value for key, value in fresh["queue"].items() if key != "oldestWaitSeconds"}
    same = ageless == {key: value for key, value in old_queue.items() if key != "oldestWaitSeconds"}
    return {**fresh, "queue": dict(old_queue)} if same or keep_queue else fresh


def events_of(before: Decision | None, now: Decision, *, wanted: int) -> list[Event]:
    """Events of a change of decision: another number of replicas, or a new reason to hold.

    `wanted`: replicas asked for before this decision was applied.
    """
    holds = now.reason in TROUBLE or now.reason is Reason.BUDGET_EXHAUSTED
    was = wanted if before is None else before.replicas
    if now.replicas == was and (not holds or (before is not None and before.reason == now.reason)):
        return []
    change = "" if now.replicas == was else f"{was} -> {now.replicas} replicas: "
    kind = "Warning" if holds else "Normal"
    return [Event(type=kind, reason=str(now.reason), message=f"{change}{now.message}")]


def _stamp(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
