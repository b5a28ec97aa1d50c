"""No trustworthy reading: unknown is not zero, so nothing is lowered."""

from __future__ import annotations

from dataclasses import replace

from pool_operator.engine.slots import slots_of
from pool_operator.engine.state import Memory
from pool_operator.engine.types import Decision, Observed, PoolSpec, Unknown
from pool_operator.engine.wording import number
from pool_operator.names import Limit, OnUnknown, Reason


def hold_unknown(
    spec: PoolSpec, observed: Observed, unknown: Unknown, memory: Memory, now: float
) -> tuple[Decision, Memory]:
    """Want what is there, or at least the minimum; marks stay as they are.

    What is held counts as wished for: the scale-down window starts anew when the queues can be read again.
    """
    lifted = spec.on_unknown is OnUnknown.MINIMUM and spec.min_replicas > observed.wanted
    replicas = spec.min_replicas if lifted else observed.wanted
    held = (
        f"raised to spec.minReplicas, {number(replicas, 'replica')}"
        if lifted
        else f"{number(replicas, 'replica')} held"
    )
    window = spec.scale_down_window_seconds
    decision = Decision(
        at=now,
        replicas=replicas,
        slots=slots_of(spec, memory.learned),
        reason=Reason.HOLD_UNKNOWN,
        message=f"the queues cannot be read, {held}: {unknown.why}",
        limited_by=Limit.MINIMUM if lifted else None,
        inputs={"unknown_since": unknown.since, "wanted": observed.wanted, "minimum": spec.min_replicas},
    )
    since = unknown.since if memory.unknown_since is None else memory.unknown_since
    return decision, replace(memory, proposals=((now, replicas),) if window > 0 else (), unknown_since=since)
