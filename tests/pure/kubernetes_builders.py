"""Builders of pods, ReplicaSets and Deployments as the API server shows them, and of the facts parsed from them."""

from __future__ import annotations

from datetime import UTC, datetime

from pool_operator.api.models import ProcessingPoolSpec
from pool_operator.backends.base import PoolKey, PoolObject, Target
from pool_operator.backends.kubernetes import objects
from pool_operator.backends.kubernetes.view import Facts
from pool_operator.names import DELETION_COST, LABEL_POOL, LABEL_POOL_UID

NOW = 1_800_000_000.0


def time(unix):
    return datetime.fromtimestamp(unix, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def meta(uid, *, owner="", version=1, annotations=None, **more):
    owners = [{"uid": owner, "controller": True}] if owner else []
    return {
        "uid": uid,
        "name": f"name-{uid}",
        "namespace": "media",
        "resourceVersion": str(version),
        "labels": {LABEL_POOL: "speech", LABEL_POOL_UID: "pool-1"},
        "annotations": annotations or {},
        "ownerReferences": owners,
        "creationTimestamp": time(NOW - 1000),
        **more,
    }


def raw_pod(
    uid, *, node="node-1", phase="Running", ready=True, cost=None, owner="set-1", age=1000.0, version=1, **more
):
    status = {"phase": phase, "conditions": [], **more.pop("status", {})}
    status["conditions"] = [
        *status["conditions"],
        {"type": "Ready", "status": str(ready), "lastTransitionTime": time(NOW - age + 10)},
    ]
    annotations = {} if cost is None else {DELETION_COST: str(cost)}
    return {
        "metadata": meta(
            uid, owner=owner, version=version, annotations=annotations, creationTimestamp=time(NOW - age), **more
        ),
        "spec": {"nodeName": node},
        "status": status,
    }


def pod(uid, **more):
    return objects.pod(raw_pod(uid, **more))


def raw_set(uid="set-1", *, wanted=3, present=None, revision="1", **more):
    return {
        "metadata": meta(uid, owner="deploy-1", generation=1, annotations={objects.REVISION: revision}),
        "spec": {"replicas": wanted},
        "status": {"replicas": wanted if present is None else present, "observedGeneration": 1, **more},
    }


def replica_set(uid="set-1", **more):
    return objects.replica_set(raw_set(uid, **more))


def raw_deployment(*, wanted=3, revision="1", generation=1, observed=1, **more):
    return {
        "metadata": meta("deploy-1", generation=generation, annotations={objects.REVISION: revision}),
        "spec": {"replicas": wanted},
        "status": {"observedGeneration": observed, **more},
    }


def deployment(**more):
    return objects.deployment(raw_deployment(**more))


def facts(*pods, wanted=None, sets=None, **more):
    count = len(pods) if wanted is None else wanted
    return Facts(
        deployment=deployment(wanted=count, **more),
        sets=(replica_set(wanted=count, present=len(pods)),) if sets is None else sets,
        pods=pods,
    )


def target(replicas, *, drained=(), leaving=None, idle=()):
    return Target(
        replicas=replicas,
        slots=1,
        drained=frozenset(drained),
        leaving=frozenset(drained if leaving is None else leaving),
        idle=frozenset(idle),
    )


def spec(**more):
    worker = {"name": "worker", "image": "worker:1"} | more.pop("worker", {})
    return {
        "redis": {"host": "redis"},
        "queues": [{"name": "urgent"}, {"name": "default"}],
        "maxReplicas": 10,
        "template": {"spec": {"containers": [worker], **more.pop("pod", {})}},
        **more,
    }


def pool(**more):
    return PoolObject(
        key=PoolKey(namespace="media", name="speech"),
        uid="pool-1",
        generation=1,
        created_at=NOW,
        spec=ProcessingPoolSpec.model_validate(spec(**more)),
    )
