"""No trustworthy reading: unknown is not zero, so nothing is lowered."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from pool_operator.engine.allowance import allowance
from pool_operator.engine.capacity import room
from pool_operator.engine.fleet import Fleet
from pool_operator.engine.limits import Limits, limit
from pool_operator.engine.schedule import Bounds
from pool_operator.engine.slots import slots_of
from pool_operator.engine.state import Memory
from pool_operator.engine.types import Decision, Observed, PoolSpec, Unknown
from pool_operator.engine.wording import number
from pool_operator.names import Limit, OnUnknown, Reason

_NO_MORE: Final = {Limit.BUDGET: "spec.budget pays for no more", Limit.CAPACITY: "the cluster gives no more"}


def hold_unknown(
    spec: PoolSpec, observed: Observed, unknown: Unknown, fleet: Fleet, memory: Memory, now: float
) -> tuple[Decision, Memory]:
    """Want what is there, or at least the minimum as far as money and the cluster allow; marks stay as they are.

    What is held counts as wished for: the scale-down window starts anew when the queues can be read again.
    """
    slots, replicas, limited_by = slots_of(spec, memory.learned), observed.wanted, None
    if spec.on_unknown is OnUnknown.MINIMUM and spec.min_replicas > replicas:
        limits = Limits(
            bounds=Bounds(minimum=spec.min_replicas, maximum=spec.max_replicas),
            slots=slots,
            room=room(memory.capacity, fleet),
            allowance=allowance(spec, observed, fleet, memory, slots=slots, now=now),
        )
        limited = limit(spec, fleet, replicas, limits)
        replicas, limited_by = max(replicas, limited.goal), limited.goal_by
    held = f"{number(replicas, 'replica')} held"
    if replicas > observed.wanted:
        held = f"raised to {number(replicas, 'replica')} for spec.minReplicas {spec.min_replicas}"
    if limited_by is not None and limited_by in _NO_MORE:
        held += f" ({_NO_MORE[limited_by]})"
    window = spec.scale_down_window_seconds
    decision = Decision(
        at=now,
        replicas=replicas,
        slots=slots,
        reason=Reason.HOLD_UNKNOWN,
        message=f"the queues cannot be read, {held}: {unknown.why}",
        limited_by=limited_by,
        inputs={"unknown_since": unknown.since, "wanted": observed.wanted, "minimum": spec.min_replicas},
    )
    since = unknown.since if memory.unknown_since is None else memory.unknown_since
    return decision, replace(memory, proposals=((now, replicas),) if window > 0 else (), unknown_since=since)
