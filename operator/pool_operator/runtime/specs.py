"""From the resource to what the engine decides on, or the sentence that says why not."""

from __future__ import annotations

from pool_operator.api.models import ProcessingPoolSpec
from pool_operator.backends.base import Problem
from pool_operator.engine.types import PoolSpec


def pool_spec(spec: ProcessingPoolSpec, *, deleted: bool) -> PoolSpec | Problem:
    raise NotImplementedError
