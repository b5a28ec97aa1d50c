"""A pool's Deployment, rendered from its spec and a stamp version only. Pure.

Learned values (slots, live settings) travel by Redis and never through the template, so that learning replaces no pod.
The stamp version names how we render: a newer operator renders a pool anew only after the pool's own spec has changed,
so that an operator upgrade replaces no pod.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from copy import deepcopy
from typing import Any, Final

from pool_operator.api.models import ProcessingPoolSpec, Redis
from pool_operator.backends.base import PoolObject
from pool_operator.backends.environment import redis_url
from pool_operator.backends.kubernetes.stamp import harden, stamp_worker
from pool_operator.names import (
    ANNOTATION_STAMP,
    GROUP,
    KIND,
    LABEL_MANAGED_BY,
    LABEL_POOL,
    LABEL_POOL_UID,
    MANAGED_BY,
    VERSION,
    WORKER_CONTAINER,
)

STAMP_VERSION: Final = "1"
"""Raise it when rendering changes in a way that running pools should get with their next change."""
MARGIN_SECONDS: Final = 30
LONGEST_GRACE_SECONDS: Final = 7200
"""A node drain waits this long at most for one pod; a longer job is handed back and starts again elsewhere."""
CA_VOLUME: Final = "processingpool-redis-ca"
CA_FOLDER: Final = "/var/run/processingpool/redis-ca"
Json = dict[str, Any]


def stamp(pool: PoolObject, version: str | None = None) -> str:
    """`<stamp version>-<hash of what rendering depends on>`: the annotation that says whether a Deployment is current."""
    spec = _spec(pool)
    # without defaults: a newer operator whose spec.redis knows one more field finds what is there as current as before
    redis = spec.redis.model_dump(mode="json", exclude_defaults=True) if spec.redis else None
    inputs = [spec.template, redis, [queue.name for queue in spec.queues], spec.jobs.timeout_seconds]
    text = json.dumps(inputs, sort_keys=True, separators=(",", ":"))
    return f"{version or STAMP_VERSION}-{hashlib.sha256(text.encode()).hexdigest()[:16]}"


def is_current(stored: str, pool: PoolObject) -> bool:
    """Whether the Deployment with this stored stamp shows the pool's spec, whichever operator version rendered it."""
    return stored.partition("-")[2] == stamp(pool).partition("-")[2]


def render(pool: PoolObject) -> Json:
    """The whole intent for a server-side apply, without `spec.replicas`."""
    labels = our_labels(pool)
    return {
        **identity(pool),
        "metadata": {
            **identity(pool)["metadata"],
            "labels": labels,
            "annotations": {ANNOTATION_STAMP: stamp(pool)},
            "ownerReferences": [
                {
                    "apiVersion": f"{GROUP}/{VERSION}",
                    "kind": KIND,
                    "name": pool.key.name,
                    "uid": pool.uid,
                    "controller": True,
                }
            ],
        },
        "spec": {
            "selector": {"matchLabels": {LABEL_POOL_UID: pool.uid}},
            "revisionHistoryLimit": 2,
            "progressDeadlineSeconds": grace_seconds(_spec(pool)) + 600,
            # maxSurge 0: on a full GPU cluster the old pod must free its GPU before a new one asks for it
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 0, "maxUnavailable": "25%"}},
            "template": _template(pool, labels),
        },
    }


def identity(pool: PoolObject) -> Json:
    """What names the Deployment in any apply."""
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": pool.key.name, "namespace": pool.key.namespace},
    }


def our_labels(pool: PoolObject) -> dict[str, str]:
    return {
        LABEL_MANAGED_BY: MANAGED_BY,
        LABEL_POOL: pool.key.name,
        LABEL_POOL_UID: pool.uid,
    }


def grace_seconds(spec: ProcessingPoolSpec) -> int:
    """The user's terminationGracePeriodSeconds, else what the longest job needs, up to LONGEST_GRACE_SECONDS."""
    chosen = (spec.template.get("spec") or {}).get("terminationGracePeriodSeconds")
    if isinstance(chosen, int):
        return chosen
    return min(spec.jobs.timeout_seconds + MARGIN_SECONDS, LONGEST_GRACE_SECONDS)


def _spec(pool: PoolObject) -> ProcessingPoolSpec:
    if pool.spec is None:
        raise ValueError(f"pool {pool.key} has no readable spec")
    return pool.spec


def _template(pool: PoolObject, labels: Mapping[str, str]) -> Json:
    spec = _spec(pool)
    template: Json = deepcopy(dict(spec.template))
    metadata = template.get("metadata") or {}
    template["metadata"] = {
        key: value for key, value in metadata.items() if key in {"labels", "annotations", "finalizers"}
    }
    template["metadata"]["labels"] = {**(metadata.get("labels") or {}), **labels}
    pod = template.setdefault("spec", {})
    pod["enableServiceLinks"] = False  # a Service named `redis` would inject REDIS_PORT=tcp://…
    # true only where the installation allows it: else the template was refused
    pod["automountServiceAccountToken"] = pod.get("automountServiceAccountToken") is True
    pod["terminationGracePeriodSeconds"] = grace_seconds(spec)
    worker = next((one for one in pod.get("containers") or () if one.get("name") == WORKER_CONTAINER), None)
    if worker is not None:
        stamp_worker(worker, environment(pool))
        _mount_ca(pod, worker, spec.redis)
    harden(pod)
    return template


def _mount_ca(pod: Json, worker: Json, redis: Redis | None) -> None:
    """The CA comes as a file, only where TLS and a Secret are configured; a Secret without `ca.crt` mounts nothing."""
    if redis is None or redis.tls is None or redis.credentials_secret_ref is None:
        return
    source = {
        "secretName": redis.credentials_secret_ref.name,
        "optional": True,
        "items": [{"key": "ca.crt", "path": "ca.crt"}],
    }
    pod.setdefault("volumes", []).append({"name": CA_VOLUME, "secret": source})
    worker.setdefault("volumeMounts", []).append({"name": CA_VOLUME, "mountPath": CA_FOLDER, "readOnly": True})


def environment(pool: PoolObject) -> list[Json]:
    """What the operator tells a worker by environment; the names are the worker's own settings."""
    spec = _spec(pool)
    plain = {
        "PROCESSINGPOOL_POOL": str(pool.key),
        "PROCESSINGPOOL_POOL_UID": pool.uid,
        "PROCESSINGPOOL_QUEUES": ",".join(queue.name for queue in spec.queues),
        "PROCESSINGPOOL_GRACE_SECONDS": str(grace_seconds(spec)),
        "PROCESSINGPOOL_SLOTS": "1",  # until the live value arrives by Redis
    }
    entries: list[Json] = [{"name": name, "value": value} for name, value in plain.items()]
    entries.append(
        {"name": "PROCESSINGPOOL_REPLICA", "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.uid"}}}
    )
    if spec.redis is not None:
        entries += _redis_environment(spec.redis)
    return entries


def _redis_environment(redis: Redis) -> list[Json]:
    entries: list[Json] = [
        {"name": "PROCESSINGPOOL_REDIS_URL", "value": redis_url(redis)},
        {"name": "PROCESSINGPOOL_KEY_PREFIX", "value": redis.key_prefix},
        {"name": "RQ_KEY_PREFIX", "value": redis.key_prefix},
    ]
    if redis.tls is not None and redis.tls.server_name:
        entries.append({"name": "PROCESSINGPOOL_REDIS_SERVER_NAME", "value": redis.tls.server_name})
    if redis.credentials_secret_ref is None:
        return entries
    for name, key in (("PROCESSINGPOOL_REDIS_USERNAME", "username"), ("PROCESSINGPOOL_REDIS_PASSWORD", "password")):
        source = {"name": redis.credentials_secret_ref.name, "key": key, "optional": True}
        entries.append({"name": name, "valueFrom": {"secretKeyRef": source}})
    if redis.tls is not None:
        entries.append({"name": "PROCESSINGPOOL_REDIS_CA_FILE", "value": f"{CA_FOLDER}/ca.crt"})
    return entries
