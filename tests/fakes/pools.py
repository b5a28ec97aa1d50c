"""Pools for tests: a valid spec with the fields that a test names changed."""

from __future__ import annotations

import time
import uuid

from pool_operator.api.models import ProcessingPoolSpec
from pool_operator.backends.base import PoolKey, PoolObject

TEMPLATE = {
    "spec": {
        "containers": [
            {"name": "worker", "image": "worker:test", "resources": {"limits": {"memory": "4Gi"}}},
        ]
    }
}


def pool_spec(**changes) -> ProcessingPoolSpec:
    queues = changes.pop("queues", ("default",))
    raw = {
        "redis": changes.pop("redis", {"host": "127.0.0.1"}),
        "queues": [{"name": name} for name in queues],
        "max_replicas": 10,
        # a replica for each job, and none to spare: what is worth more or less is the engine's tests' business
        "scaling": {"profile": "Economy", "target_wait_seconds": 1},
        "template": TEMPLATE,
    }
    return ProcessingPoolSpec.model_validate(raw | changes)


def pool_object(name="pool", *, uid=None, generation=1, created_at=None, status=None, **changes) -> PoolObject:
    return PoolObject(
        key=PoolKey(namespace="test", name=name),
        uid=uid or str(uuid.uuid4()),
        generation=generation,
        created_at=time.time() if created_at is None else created_at,
        spec=pool_spec(**changes),
        status=status or {},
    )
