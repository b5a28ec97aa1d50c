"""What a worker process is told by its environment: the same names as in a pod. Pure."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

from pool_operator.backends.base import Credentials, PoolObject
from pool_operator.backends.environment import redis_url
from pool_operator.backends.local.template import WorkerTemplate


def base_environment(inherited: Mapping[str, str], *, cores: int, replicas: int) -> dict[str, str]:
    """What every worker starts from: the caller's own environment, and a fair share of the cores."""
    kept = {name: value for name, value in inherited.items() if not name.startswith("PROCESSINGPOOL_REDIS_")}
    shared = {
        "PROCESSINGPOOL_CPU_THREADS": str(max(1, cores // max(1, replicas))),
        "OMP_WAIT_POLICY": "PASSIVE",  # waiting threads of one replica must not spin on the cores of the others
    }
    # `processingpool` in a template means the one of this installation
    path = os.pathsep.join((str(Path(sys.executable).parent), inherited.get("PATH", os.defpath)))
    return {**shared, **kept, "PATH": path}


def worker_environment(
    pool: PoolObject, template: WorkerTemplate, *, replica: str, grace_seconds: float, credentials: Credentials
) -> dict[str, str]:
    """The template's entries, and over them what this replica is."""
    assert pool.spec is not None
    assert pool.spec.redis is not None
    redis = pool.spec.redis
    found = {
        **template.environment,
        "PROCESSINGPOOL_POOL": str(pool.key),
        "PROCESSINGPOOL_POOL_UID": pool.uid,
        "PROCESSINGPOOL_REPLICA": replica,
        "PROCESSINGPOOL_QUEUES": ",".join(queue.name for queue in pool.spec.queues),
        "PROCESSINGPOOL_GRACE_SECONDS": f"{grace_seconds:g}",
        "PROCESSINGPOOL_SLOTS": "1",  # until the live value arrives by Redis
        "PROCESSINGPOOL_HEALTH_PORT": "0",  # any free one: many replicas share this machine
        "PROCESSINGPOOL_PARENT_PID": str(os.getpid()),
        "PROCESSINGPOOL_REDIS_URL": redis_url(redis),
        "PROCESSINGPOOL_KEY_PREFIX": redis.key_prefix,
        "RQ_KEY_PREFIX": redis.key_prefix,
    }
    optional = {
        "PROCESSINGPOOL_REDIS_SERVER_NAME": redis.tls.server_name if redis.tls else None,
        "PROCESSINGPOOL_REDIS_USERNAME": credentials.username,
        "PROCESSINGPOOL_REDIS_PASSWORD": credentials.password,
        "PROCESSINGPOOL_REDIS_CA_FILE": os.environ.get("PROCESSINGPOOL_REDIS_CA_FILE") if redis.tls else None,
    }
    return found | {name: value for name, value in optional.items() if value}
