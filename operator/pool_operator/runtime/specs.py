"""A pool's spec as the engine takes it, or the problem that its status tells."""

from __future__ import annotations

from pool_operator.api.models import ProcessingPoolSpec
from pool_operator.backends.base import Problem
from pool_operator.engine.memory import Misfit
from pool_operator.engine.spec import pool_spec
from pool_operator.engine.types import PoolSpec
from pool_operator.names import ConditionReason


def followed_spec(spec: ProcessingPoolSpec, *, deleted: bool) -> PoolSpec | Problem:
    """As `pool_spec`; a Problem if no job fits into a replica's memory."""
    found = pool_spec(spec, deleted=deleted)
    if isinstance(found, Misfit):
        return Problem(reason=ConditionReason.SPEC_INVALID, message=found.message)
    return found
