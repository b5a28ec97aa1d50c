"""From what is seen to what is wanted: the table of contents of the engine. Pure, total, and the same every time.

Before: the runtime's snapshot. After: the reconciler, which marks, raises and lowers. The simulator, the replayer, a
cluster and one machine all call this function.

What outlives a decision is frozen. The values that one part hands to the next within it (Fleet, Demand, Wish …) are not,
because a frozen one takes three times as long to make; nobody changes them all the same.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from pool_operator.engine.allowance import allowance
from pool_operator.engine.capacity import capacity_wake_at, room
from pool_operator.engine.demand import Demand, Learned, demand_of
from pool_operator.engine.drain import marked_besides, plan_drain
from pool_operator.engine.fleet import Fleet, fleet_of
from pool_operator.engine.gates import Gated, pass_gates
from pool_operator.engine.guard import hold_unknown
from pool_operator.engine.learn import handed_on, learn
from pool_operator.engine.limits import Limited, Limits, limit
from pool_operator.engine.retention import Wish, wish_of
from pool_operator.engine.schedule import Bounds, bounds_at
from pool_operator.engine.set_back import set_back
from pool_operator.engine.slots import slots_of
from pool_operator.engine.state import Memory
from pool_operator.engine.types import Decision, Observed, PoolSpec, Reading, Unknown
from pool_operator.engine.wake import wake_at
from pool_operator.engine.window import Stabilised, stabilise
from pool_operator.engine.wording import bound, number, ready, short, work
from pool_operator.names import Limit, Mode, Reason

LIFTS_OR_NOTHING: Final = frozenset({None, Limit.MINIMUM, Limit.SCHEDULE})
"""Limits under which a growing wish still makes a difference."""


def decide(spec: PoolSpec, observed: Observed, memory: Memory, now: float) -> tuple[Decision, Memory]:
    """Decide how many replicas a pool should have, which may go, and why.

    100 jobs wait, nothing is there, at most 10 replicas of 1 slot: 10, in one step, WorkWaiting, limited by Maximum.
    Then 4 jobs are left and all run: 4 replicas, the 6 empty ones are marked and go, WorkShrank. Then none: 0, Idle.

    Args:
        spec: what the pool asks for.
        observed: the snapshot; its reading may be unknown, which is not zero.
        memory: what the decision before this one handed on.
        now: unix seconds.
    """
    memory = set_back(memory, now)
    fleet = fleet_of(observed, memory, now)
    memory = learn(spec, observed, fleet, memory, now)
    bounds = bounds_at(spec, now)
    if spec.schedules:
        spec = replace(spec, min_replicas=bounds.minimum, max_replicas=bounds.maximum)
    if spec.deleted:
        return _ending(spec, observed, fleet, memory, now), memory
    if spec.mode is Mode.PAUSED:
        return _paused(spec, observed, fleet, memory, now), memory
    if isinstance(observed.reading, Unknown):
        decision, after = hold_unknown(spec, observed, observed.reading, fleet, memory, now)
    else:
        decision, after = _follow(spec, observed, observed.reading, fleet, bounds, memory, now)
    if bounds.until is not None:
        decision = replace(decision, wake_at=_first((decision.wake_at, bounds.until), now))
    return (_dry(decision, fleet) if spec.mode is Mode.DRY_RUN else decision), after


def _follow(
    spec: PoolSpec, observed: Observed, reading: Reading, fleet: Fleet, bounds: Bounds, memory: Memory, now: float
) -> tuple[Decision, Memory]:
    # 1 demand: slots that the work at hand needs
    slots, cold_seconds = slots_of(spec, memory.learned), memory.cold_starts.mean_seconds
    learned = Learned(run_times=memory.run_times, cold_seconds=cold_seconds, wait_value=spec.wait_value, slots=slots)
    demand = demand_of(spec, reading, fleet, learned, now)

    # 2 wish: replicas for it, and spares for work expected within one cold start
    wish = wish_of(spec, observed, fleet, demand, memory, slots=slots, minimum=bounds.minimum, now=now)

    # 3 gates: an overflow pool's condition, sustained thresholds; then the window: do not go down on a dip
    gated, memory = pass_gates(spec, observed, fleet, demand, wish.replicas, memory, slots, now)
    steady = stabilise(
        memory.proposals, gated.replicas, wanted=observed.wanted, window_seconds=spec.scale_down_window_seconds, now=now
    )

    # 4 limits: minimum, maximum, concurrency, rate, capacity, budget, never below what runs
    money = allowance(spec, observed, fleet, memory, slots=slots, now=now)
    limits = Limits(
        bounds=bounds,
        slots=slots,
        run_seconds=memory.run_times.mean_seconds,
        room=room(memory.capacity, fleet),
        capacity_short=observed.capacity_short,
        allowance=money,
    )
    limited = limit(spec, fleet, steady.replicas, limits, ungated=wish.replicas, held_by=gated.held_by)

    # 5 drain: who finishes what it runs and goes
    plan = plan_drain(observed, fleet, goal=limited.goal, idle=demand.slots == 0 and fleet.busy == 0)

    # 6 words
    reason, message = _explain(spec, observed, fleet, memory, demand, wish, gated, steady, limited, limits)
    decision = Decision(
        at=now,
        replicas=limited.replicas,
        slots=slots,
        reason=reason,
        message=message,
        limited_by=limited.limited_by,
        demand_slots=wish.slots,
        wish=wish.replicas,
        drain=plan.drain,
        undrain=plan.undrain,
        wake_at=_first(
            (
                wake_at(
                    spec,
                    reading,
                    demand,
                    wish,
                    may_rise=limited.limited_by in LIFTS_OR_NOTHING,
                    cold_seconds=cold_seconds,
                    now=now,
                ),
                gated.wake_at,
                steady.until,
                capacity_wake_at(fleet, memory, now),
                money.wake_at,
            ),
            now,
        ),
        granted=money.granted(reading, new_replicas=limited.replicas - len(fleet.active)),
        steps=(
            ("demand", wish.for_work),
            ("headroom", wish.replicas),
            ("gates", gated.replicas),
            ("window", steady.replicas),
        ),
        without=limited.without,
        inputs=_inputs(spec, observed, reading, fleet, demand, memory, slots, now),
    )
    return decision, handed_on(memory, wish, steady.proposals)


def _explain(
    spec: PoolSpec,
    observed: Observed,
    fleet: Fleet,
    memory: Memory,
    demand: Demand,
    wish: Wish,
    gated: Gated,
    steady: Stabilised,
    limited: Limited,
    limits: Limits,
) -> tuple[Reason, str]:
    """The reason that a user would give, and the sentence."""
    if limited.limited_by is Limit.CAPACITY:
        return Reason.CAPACITY_SHORT, short(observed, fleet, limited, memory.capacity)
    if limited.limited_by is Limit.RUNNING and fleet.silent:
        message = (
            f"{number(fleet.silent, 'replica')} did not tell what {'it runs' if fleet.silent == 1 else 'they run'}, "
            "or told of jobs that Redis does not know: nothing that may run is ended"
        )
        return Reason.HOLD_CONTRADICTION, message
    reason = _reason(observed, demand, wish, gated, limited)
    parts = [work(demand, wish, memory, limits.slots)]
    if wish.spares > 0 and limited.goal == wish.replicas:
        parts.append(ready(spec, observed, wish, memory))
    if steady.replicas > gated.replicas and limited.goal == steady.replicas:
        reason = Reason.STABILIZING
        kept = number(steady.replicas, "replica")
        parts.append(f"{kept} stay while the scale-down window of {spec.scale_down_window_seconds:g} s runs")
    return reason, "; ".join(part for part in (*parts, bound(spec, observed, fleet, gated, limited, limits)) if part)


def _reason(observed: Observed, demand: Demand, wish: Wish, gated: Gated, limited: Limited) -> Reason:
    rises, falls = limited.replicas > observed.wanted, limited.goal < observed.wanted
    by_limit = _by_limit(gated, limited, rises=rises, falls=falls)
    if by_limit is not None:
        return by_limit
    if wish.spares > 0 and limited.goal == wish.replicas and not (rises and wish.for_work > observed.wanted):
        return Reason.HEADROOM if wish.expected else Reason.STABILIZING
    if demand.slots == 0:
        return Reason.IDLE
    if rises:
        return Reason.WORK_WAITING
    return Reason.WORK_SHRANK if falls else Reason.WORK_FITS


def _by_limit(gated: Gated, limited: Limited, *, rises: bool, falls: bool) -> Reason | None:
    if limited.goal_by is None and limited.limited_by is None:
        return None
    if limited.goal_by is Limit.BUDGET:
        return Reason.BUDGET_EXHAUSTED
    if limited.goal_by is Limit.THRESHOLD:
        return Reason.THRESHOLD_NOT_MET
    if limited.goal_by is Limit.OVERFLOW:
        return Reason.HOLD_UNKNOWN if gated.blind else Reason.PRIMARY_KEEPS_UP
    lifted = limited.goal > gated.replicas
    if limited.limited_by in (Limit.MINIMUM, Limit.SCHEDULE) and lifted and not falls:
        return Reason.AT_MINIMUM
    if limited.limited_by in (Limit.MAXIMUM, Limit.SCHEDULE) and not rises and not falls:
        return Reason.AT_MAXIMUM
    return None


def _inputs(
    spec: PoolSpec,
    observed: Observed,
    reading: Reading,
    fleet: Fleet,
    demand: Demand,
    memory: Memory,
    slots: int,
    now: float,
) -> dict[str, float | int | str]:
    return {
        "waiting": demand.waiting,
        "running": demand.running,
        "upcoming": demand.upcoming,
        "fillers": demand.fillers,
        "oldest_wait_seconds": round(demand.oldest_wait_seconds, 3),
        "reading_age_seconds": round(max(0.0, now - reading.at), 3),
        "wanted": observed.wanted,
        "active": len(fleet.active),
        "busy": fleet.busy,
        "stuck": fleet.stuck,
        "minimum": spec.min_replicas,
        "maximum": spec.max_replicas,
        "slots_per_replica": slots,
        "window_seconds": spec.scale_down_window_seconds,
        "wait_value": spec.wait_value,
        "cold_start_seconds": round(memory.cold_starts.mean_seconds, 3),
        "run_seconds": round(memory.run_times.mean_seconds, 3),
        "arrivals_per_hour": round(memory.traffic.fast_per_second * 3600.0, 3),
    }


def _ending(spec: PoolSpec, observed: Observed, fleet: Fleet, memory: Memory, now: float) -> Decision:
    """A deleted pool: nobody takes anything new; what runs ends in peace. Its mode does not matter any more."""
    left = f"{number(fleet.busy, 'replica')} may finish what {'it runs' if fleet.busy == 1 else 'they run'}"
    return Decision(
        at=now,
        replicas=min(fleet.busy, observed.wanted),
        slots=slots_of(spec, memory.learned),
        reason=Reason.DELETED,
        message=f"the pool is deleted; {left}" if fleet.busy else "the pool is deleted",
        limited_by=Limit.RUNNING if fleet.busy else None,
        drain=plan_drain(observed, fleet, goal=0, idle=fleet.busy == 0).drain,
        inputs={"wanted": observed.wanted, "active": len(fleet.active), "busy": fleet.busy},
    )


def _first(times: tuple[float | None, ...], now: float) -> float | None:
    return min([at for at in times if at is not None and at > now], default=None)


def _paused(spec: PoolSpec, observed: Observed, fleet: Fleet, memory: Memory, now: float) -> Decision:
    slots = slots_of(spec, memory.learned)
    money = allowance(spec, observed, fleet, memory, slots=slots, now=now)
    return Decision(
        at=now,
        replicas=observed.wanted,
        slots=slots,
        granted=money.granted(observed.reading, new_replicas=0) if isinstance(observed.reading, Reading) else None,
        wake_at=money.wake_at,
        reason=Reason.PAUSED,
        message=f"spec.mode is Paused: {number(observed.wanted, 'replica')} held",
        undrain=marked_besides(fleet),  # held replicas are to work
        acts=False,
        inputs={"wanted": observed.wanted, "active": len(fleet.active)},
    )


def _dry(decision: Decision, fleet: Fleet) -> Decision:
    """The same decision, not acted on."""
    message = f"spec.mode is DryRun, nothing is done: {decision.message}"
    return replace(decision, message=message, drain=(), undrain=marked_besides(fleet), acts=False)
