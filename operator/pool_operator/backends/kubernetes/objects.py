"""What our caches keep of Deployments, ReplicaSets and Pods: frozen facts parsed once from the raw objects.

Raw objects come from the watch (source.py) or from a LIST (resync.py); facts go to cache.py. Nothing is kept of the
raw object, so that a thousand pods cost kilobytes and not megabytes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from pool_operator.backends.base import PoolKey, Problem
from pool_operator.backends.kubernetes.causes import excuse, killed_for_memory, stuck_problem
from pool_operator.names import (
    ANNOTATION_STAMP,
    DELETION_COST,
    LABEL_MANAGED_BY,
    LABEL_POOL,
    LABEL_POOL_UID,
    MANAGED_BY,
    REPLICAS_FIELD_MANAGER,
    WORKER_CONTAINER,
)

DRAINED_COST: Final = -1000
IDLE_COST: Final = -100  # during a rollout: the Deployment controller should end idle pods before busy ones
OUR_COSTS: Final = frozenset({DRAINED_COST, IDLE_COST})
REVISION: Final = "deployment.kubernetes.io/revision"
Raw = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Which object this is, which version of it, and whose it is."""

    uid: str
    name: str
    namespace: str
    version: int  # resourceVersion; comparable within one kind
    pool: str  # name, from our label
    pool_uid: str
    owner_uid: str = ""  # its controller
    deletion_at: float | None = None  # unix seconds: the real end, request time + grace

    @property
    def key(self) -> PoolKey:
        return PoolKey(namespace=self.namespace, name=self.pool)


@dataclass(frozen=True, slots=True, kw_only=True)
class PodFact:
    id: Identity
    node: str
    phase: str  # Pending | Running | Succeeded | Failed | Unknown
    ready: bool
    ready_at: float | None
    created_at: float
    cost: int | None  # deletion cost; None: no annotation
    restarted_at: float | None  # when the worker's container was last started again
    restarts: tuple[int, int]  # most restarts of a regular container, of a sidecar
    stuck: Problem | None
    out_of_memory_at: float | None  # unix time at which the worker's container was last killed for memory
    excuse: str  # why an end of this pod is not its job's fault, "" if nothing speaks for that

    @property
    def active(self) -> bool:
        """Whether the ReplicaSet controller counts it: neither ended nor told to end."""
        return self.phase not in {"Succeeded", "Failed"} and self.id.deletion_at is None


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplicaSetFact:
    id: Identity
    wanted: int
    present: int  # status.replicas
    revision: str
    caught_up: bool  # observedGeneration is the generation
    failure: str  # message of ReplicaFailure, "" if none


@dataclass(frozen=True, slots=True, kw_only=True)
class DeploymentFact:
    id: Identity
    wanted: int
    revision: str
    caught_up: bool
    stamp: str  # our annotation: stamp version and hash of what was rendered
    replicas_handed_over: bool  # the replicas field manager owns spec.replicas
    ours: bool  # carries the labels by which we watch and find it
    stalled: str  # message of Progressing=False, "" if it moves


def unix(text: str | None) -> float | None:
    """Kubernetes time (RFC 3339, UTC) in unix seconds."""
    return datetime.fromisoformat(text).timestamp() if text else None


def identity(raw: Raw) -> Identity:
    meta = raw["metadata"]
    labels = meta.get("labels") or {}
    owners = meta.get("ownerReferences") or ()
    return Identity(
        uid=meta["uid"],
        name=meta["name"],
        namespace=meta.get("namespace", ""),
        version=version(raw),
        pool=labels.get(LABEL_POOL, ""),
        pool_uid=labels.get(LABEL_POOL_UID, ""),
        owner_uid=next((owner["uid"] for owner in owners if owner.get("controller")), ""),
        deletion_at=unix(meta.get("deletionTimestamp")),
    )


def version(raw: Raw) -> int:
    text = str(raw["metadata"].get("resourceVersion", "0"))
    return int(text) if text.isdigit() else 0


def conditions(raw: Raw) -> dict[str, Raw]:
    found: Sequence[Raw] = (raw.get("status") or {}).get("conditions") or ()
    return {condition["type"]: condition for condition in found}


def _cost(raw: Raw) -> int | None:
    text = (raw["metadata"].get("annotations") or {}).get(DELETION_COST)
    try:
        return None if text is None else int(text)
    except ValueError:
        return 0  # the ReplicaSet controller reads an unparsable cost as 0 too


def _restarts(raw: Raw) -> tuple[int, int]:
    status = raw.get("status") or {}
    regular = [entry.get("restartCount", 0) for entry in status.get("containerStatuses") or ()]
    sidecar = [entry.get("restartCount", 0) for entry in status.get("initContainerStatuses") or ()]
    return max(regular, default=0), max(sidecar, default=0)


def _restarted_at(raw: Raw) -> float | None:
    for entry in (raw.get("status") or {}).get("containerStatuses") or ():
        if entry.get("name") == WORKER_CONTAINER and entry.get("restartCount", 0) > 0:
            running = (entry.get("state") or {}).get("running") or {}
            ended = (entry.get("lastState") or {}).get("terminated") or {}
            return unix(running.get("startedAt") or ended.get("finishedAt"))
    return None


def pod(raw: Raw) -> PodFact:
    ready = conditions(raw).get("Ready", {})
    is_ready = ready.get("status") == "True"
    return PodFact(
        id=identity(raw),
        node=(raw.get("spec") or {}).get("nodeName") or "",
        phase=(raw.get("status") or {}).get("phase") or "Pending",
        ready=is_ready,
        ready_at=unix(ready.get("lastTransitionTime")) if is_ready else None,
        created_at=unix(raw["metadata"].get("creationTimestamp")) or 0.0,
        cost=_cost(raw),
        restarted_at=_restarted_at(raw),
        restarts=_restarts(raw),
        stuck=stuck_problem(raw),
        out_of_memory_at=unix(killed_for_memory(raw)),
        excuse=excuse(raw),
    )


def _caught_up(raw: Raw) -> bool:
    observed = (raw.get("status") or {}).get("observedGeneration", 0)
    return bool(observed >= raw["metadata"].get("generation", 0))


def replica_set(raw: Raw) -> ReplicaSetFact:
    failure = conditions(raw).get("ReplicaFailure", {})
    return ReplicaSetFact(
        id=identity(raw),
        wanted=(raw.get("spec") or {}).get("replicas", 1),
        present=(raw.get("status") or {}).get("replicas", 0),
        revision=(raw["metadata"].get("annotations") or {}).get(REVISION, ""),
        caught_up=_caught_up(raw),
        failure=failure.get("message", "") if failure.get("status") == "True" else "",
    )


def _handed_over(raw: Raw) -> bool:
    for entry in raw["metadata"].get("managedFields") or ():
        owned = (entry.get("fieldsV1") or {}).get("f:spec") or {}
        if entry.get("manager") == REPLICAS_FIELD_MANAGER and "f:replicas" in owned:
            return True
    return False


def deployment(raw: Raw) -> DeploymentFact:
    annotations, labels = (raw["metadata"].get(field) or {} for field in ("annotations", "labels"))
    progress = conditions(raw).get("Progressing", {})
    return DeploymentFact(
        id=identity(raw),
        wanted=(raw.get("spec") or {}).get("replicas", 1),
        revision=annotations.get(REVISION, ""),
        caught_up=_caught_up(raw),
        stamp=annotations.get(ANNOTATION_STAMP, ""),
        replicas_handed_over=_handed_over(raw),
        ours=labels.get(LABEL_MANAGED_BY) == MANAGED_BY and bool(labels.get(LABEL_POOL_UID)),
        stalled=progress.get("message", "") if progress.get("status") == "False" else "",
    )
