"""When a decision can change although nothing happens: as seldom as possible, never at rest."""

from __future__ import annotations

import math
from typing import Final

from pool_operator.engine.demand import Demand
from pool_operator.engine.retention import Wish
from pool_operator.engine.types import PoolSpec, Reading

SHORTEST_SECONDS: Final = 2.0
LONGEST_SECONDS: Final = 60.0
SPARES_LOOKED_AT: Final = 2.0
"""Times in a cold start. Eight times costs a Fast pool four times the decisions, and makes J no better."""


def wake_at(
    spec: PoolSpec, reading: Reading, demand: Demand, wish: Wish, *, may_rise: bool, cold_seconds: float, now: float
) -> float | None:
    """The next of: jobs that wait lose patience, spares lose their worth, a clock runs out, a scheduled job comes near.

    A cold start of 60 s: every 2 s to 9 s while jobs wait for slots that will be free in time, the oftener the less time
    is left; every 30 s while there are spares.
    """
    times = [wish.until, *[one.next_due_at for one in reading.queues.values()]]
    for queue in spec.queues:
        if queue.triggers and (one := reading.queues.get(queue.name)) is not None:
            times += [at - cold_seconds for at in one.upcoming]
    if demand.moves_in < math.inf and may_rise:
        times.append(now + _bounded(demand.moves_in))
    if wish.spares > 0:
        times.append(now + _bounded(cold_seconds / SPARES_LOOKED_AT))
    return min([at for at in times if at is not None and at > now], default=None)


def _bounded(seconds: float) -> float:
    return min(LONGEST_SECONDS, max(SHORTEST_SECONDS, seconds))
