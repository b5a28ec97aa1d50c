"""A raw ProcessingPool → PoolObject. A pool that cannot be read is a value with a sentence, never an exception."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from fnmatch import fnmatchcase
from typing import Any

from pydantic import ValidationError

from pool_operator.api.models import ProcessingPoolSpec
from pool_operator.api.sentences import sentence
from pool_operator.backends.base import PoolKey, PoolObject, Problem
from pool_operator.backends.kubernetes.objects import unix
from pool_operator.names import ConditionReason
from pool_operator.settings import OperatorSettings

Raw = Mapping[str, Any]
Check = Callable[[ProcessingPoolSpec], Problem | None]


def parse_pool(raw: Raw, *, check: Check) -> PoolObject:
    """Read a pool leniently (unknown fields are a newer version's), then let `check` judge it."""
    meta = raw["metadata"]
    spec, problem = _spec(raw, check)
    return PoolObject(
        key=PoolKey(namespace=meta["namespace"], name=meta["name"]),
        uid=meta["uid"],
        generation=meta.get("generation", 0),
        created_at=unix(meta.get("creationTimestamp")) or 0.0,
        spec=spec,
        problem=problem,
        deleting=bool(meta.get("deletionTimestamp")),
        status=dict(raw.get("status") or {}),
    )


def _spec(raw: Raw, check: Check) -> tuple[ProcessingPoolSpec | None, Problem | None]:
    try:
        spec = ProcessingPoolSpec.model_validate(raw.get("spec") or {})
    except ValidationError as error:
        return None, Problem(reason=ConditionReason.SPEC_INVALID, message=sentence(error, ProcessingPoolSpec))
    problem = check(spec)
    # a spec that may not be followed is not read either: nobody connects to a host that is not allowed
    return (spec, None) if problem is None else (None, problem)


def check_host(spec: ProcessingPoolSpec, settings: OperatorSettings) -> Problem | None:
    """A pool names its Redis; which hosts it may name is the installation's choice."""
    if spec.redis is None:
        message = "spec.redis: is required on a cluster; name the host of the Redis that the jobs are in"
        return Problem(reason=ConditionReason.SPEC_INVALID, message=message)
    allowed = settings.allowed_redis_hosts
    if not allowed or any(fnmatchcase(spec.redis.host, pattern) for pattern in allowed):
        return None
    message = (
        f"spec.redis.host: '{spec.redis.host}' is not among the hosts that this installation allows "
        f"({', '.join(allowed)}); use one of them or ask for it to be allowed"
    )
    return Problem(reason=ConditionReason.HOST_NOT_ALLOWED, message=message)
