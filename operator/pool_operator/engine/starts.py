"""Which replicas will not start: by the cluster's word, and by how long starts take here."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Final

from pool_operator.engine.histogram import LogBins, quantile
from pool_operator.engine.state import CapacityTruth, ColdStarts
from pool_operator.engine.types import Blocked, Replica

SECONDS: Final = LogBins(low=1.0, high=1800.0, count=48)
"""Cold starts as they are measured stay within these bounds: 1 s to 30 min."""
LONG: Final = 0.95
SHORTEST_PATIENCE_SECONDS: Final = 600.0
"""A cluster autoscaler needs minutes to bring a node, and a Pending pod all that time to act on."""
LONG_START: Final = 3.0  # in 95th percentiles of this pool's cold starts
FAILING_SECONDS: Final = 120.0
"""How long a start may fail: registries and configuration heal, and the cluster tries again by itself."""
ALONE: Final = 2.0
"""While nobody has started since, a slow start is as likely as a bad place: be twice as patient."""


def patience_seconds(cold_starts: ColdStarts) -> float:
    """How long a start may take.

    Cold starts of a minute: 600 s. A model that takes 10 minutes to load: 1800 s.
    """
    return max(LONG_START * quantile(cold_starts.seconds, SECONDS, LONG), SHORTEST_PATIENCE_SECONDS)


def begun_at(one: Replica) -> float:
    """When its present start began."""
    return one.created_at if one.restarted_at is None else one.restarted_at


def given_up_at(
    coming: Sequence[Replica], started_last: float | None, cold_starts: ColdStarts, truth: CapacityTruth
) -> Mapping[str, float]:
    """When each starting replica will be called stuck if it goes on as it does.

    Created at 1000, cold starts of a minute: at 1600 if the cluster finds no place for it, or if another one has started
    since (`started_last`); at 2200 if nobody has and the cluster says nothing. One whose start fails, seen first at 1100:
    at 1220.
    """
    if not coming:
        return {}
    patience, failing_since = patience_seconds(cold_starts), dict(truth.failing)

    def end(one: Replica) -> float:
        begun = begun_at(one)
        if one.blocked is None and (started_last is None or started_last <= begun):
            return begun + ALONE * patience
        failing = failing_since.get(one.id, math.inf) if one.blocked is Blocked.FAILING else math.inf
        return min(begun + patience, failing + FAILING_SECONDS)

    return {one.id: end(one) for one in coming}
