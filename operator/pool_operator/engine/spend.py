"""Money: what replicas have cost this day and this month, and what new claims may still take on."""

from __future__ import annotations

from pool_operator.engine.fleet import Fleet
from pool_operator.engine.state import Spend
from pool_operator.engine.types import Observed, PoolSpec, Reading


def accrue(spec: PoolSpec, observed: Observed, spend: Spend, now: float) -> Spend:
    """Count the time since the decision before; a gap is billed at the higher of the two rates."""
    del spec, observed, now
    return spend


def granted(spec: PoolSpec, reading: Reading, fleet: Fleet, spend: Spend, now: float) -> float | None:
    """`Reading.allowance_used` up to which claims may go; None without a hard budget."""
    del spec, reading, fleet, spend, now
    return None
