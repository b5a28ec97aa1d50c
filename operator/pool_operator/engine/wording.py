"""Sentences with numbers, for people: status, events, `explain`."""

from __future__ import annotations

from datetime import UTC, datetime

from pool_operator.engine.allowance import Allowance
from pool_operator.engine.demand import Demand
from pool_operator.engine.fleet import Fleet
from pool_operator.engine.gates import Gated
from pool_operator.engine.limits import Limited, Limits
from pool_operator.engine.retention import Wish
from pool_operator.engine.schedule import zone_of
from pool_operator.engine.state import CapacityTruth, Memory
from pool_operator.engine.types import Observed, PoolSpec
from pool_operator.names import Direction, Limit


def number(count: int, noun: str) -> str:
    """`1 replica`, `2 replicas`."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def work(demand: Demand, wish: Wish, memory: Memory, slots: int) -> str:
    """What there is to do, and what that needs.

    "12 jobs wait (about 40 min of work), 3 run: 15 slots, 4 replicas of 4 slots"
    """
    fillers = f" ({number(demand.fillers, 'job')} of queues with scaleUp Never may fill free slots)"
    told = fillers if demand.fillers else ""
    if not wish.slots:
        return f"no job waits or runs{told}"
    jobs = f"{number(demand.waiting, 'job')} {'waits' if demand.waiting == 1 else 'wait'}"
    if demand.waiting and memory.run_times.jobs:
        jobs += f" (about {duration(demand.work_seconds)} of work)"
    jobs += f", {demand.running} {'runs' if demand.running == 1 else 'run'}"
    if demand.upcoming:
        jobs += f", {demand.upcoming} due within a cold start"
    replicas = f"{number(wish.for_work, 'replica')} of {number(slots, 'slot')}"
    return f"{jobs}{told}: {number(wish.slots, 'slot')}, {replicas}"


def ready(spec: PoolSpec, observed: Observed, wish: Wish, memory: Memory) -> str:
    """Say what is there for nobody yet: "1 replica is kept ready for work expected within a cold start of 58 s (profile value 2)"."""
    one = wish.spares == 1
    if not wish.expected:
        return f"{number(wish.spares, 'replica')} {'stays' if one else 'stay'} a moment, should work come back"
    verb = ("is " if one else "are ") + ("started" if wish.replicas > observed.wanted else "kept ready")
    cold = duration(memory.cold_starts.mean_seconds)
    return (
        f"{number(wish.spares, 'replica')} {verb} for work expected within a cold start of {cold} "
        f"(profile value {spec.wait_value:g})"
    )


def duration(seconds: float) -> str:
    """`58 s`, `40 min`, `6.5 h`."""
    if seconds < 120.0:
        return f"{seconds:.0f} s"
    return f"{seconds / 60.0:.0f} min" if seconds < 7200.0 else f"{seconds / 3600.0:.1f} h"


def bound(spec: PoolSpec, observed: Observed, fleet: Fleet, gated: Gated, limited: Limited, limits: Limits) -> str:
    """How limits changed the wish; "" if none did. Of what runs on beside the goal both are told."""
    if limited.limited_by is None and limited.goal_by is None:
        return ""
    running = f"{number(fleet.busy, 'replica')} with running jobs may finish them"
    parts = [
        _goal_bound(spec, observed, gated, limited, limits),
        running if limited.limited_by is Limit.RUNNING else "",
    ]
    return "; ".join(part for part in parts if part)


def _goal_bound(spec: PoolSpec, observed: Observed, gated: Gated, limited: Limited, limits: Limits) -> str:
    bounds = limits.bounds
    match limited.goal_by:
        case Limit.MINIMUM:
            return f"spec.minReplicas keeps {spec.min_replicas}"
        case Limit.MAXIMUM:
            return f"spec.maxReplicas allows {spec.max_replicas}"
        case Limit.SCHEDULE if bounds.minimum_of and limited.goal == bounds.minimum > gated.replicas:
            return f"the schedule '{bounds.minimum_of}' keeps {bounds.minimum}"
        case Limit.SCHEDULE:
            return f"the schedule '{bounds.maximum_of}' allows {bounds.maximum}"
        case Limit.CONCURRENCY:
            return f"spec.jobs.maxConcurrent {spec.max_concurrent} fills {number(limited.goal, 'replica')}"
        case Limit.RATE:
            return f"spec.jobs.ratePerMinute {spec.rate_per_minute:g} keeps {number(limited.goal, 'replica')} busy"
        case Limit.BUDGET:
            return _money(spec, limited, limits.allowance)
        case Limit.THRESHOLD:
            verb = "rises" if gated.direction is Direction.UP else "falls"
            return f"nothing {verb}: no threshold of spec.scaling.thresholds with direction {gated.direction} has held long enough"
        case Limit.OVERFLOW if observed.primary_missing:
            return observed.primary_missing
        case Limit.OVERFLOW if gated.blind:
            return "the pool that this one helps out was not seen lately: what is there stays"
        case Limit.OVERFLOW:
            return "the pool that this one helps out keeps up"
        case _:
            return ""


def _money(spec: PoolSpec, limited: Limited, money: Allowance) -> str:
    """`spec.budget.daily.soft 10 pays for no more work until 2026-11-26 00:00 (Europe/Berlin)`."""
    assert spec.budget is not None
    assert money.until is not None
    limit = f"spec.budget.{money.field} {money.amount:.6g}"
    if (first := money.too_small_for) is not None:
        job = f" and one usual job of {duration(first.run_seconds)}" if first.run_seconds else ""
        return (
            f"{limit} is less than what one cold start of {duration(first.cold_seconds)}{job} cost "
            f"({first.price:.6g}): no replica starts until it is raised"
        )
    pays = number(money.paid, "replica") if money.paid else "no more work"
    kept = f"; spec.budget.onExhausted Minimum keeps {limited.goal}" if limited.goal > money.paid else ""
    until = datetime.fromtimestamp(money.until, zone_of(spec.budget.time_zone)).strftime("%Y-%m-%d %H:%M")
    return f"{limit} pays for {pays} until {until} ({spec.budget.time_zone}){kept}"


def short(observed: Observed, fleet: Fleet, limited: Limited, truth: CapacityTruth) -> str:
    """What was wanted, why it is not there, and what is done about it. Without counts of jobs: it must hold still."""
    wanted = f"{number(limited.uncapped, 'replica')} wanted"
    if truth.replacing:
        return f"{wanted}, {number(len(truth.replacing), 'replica')} of them did not start in time: replaced"
    had = min(fleet.had, limited.uncapped)
    text = f"{wanted}, {had} can be had: {observed.capacity_short or truth.words or 'they do not start'}"
    if limited.uncapped == limited.goal:
        return text
    if truth.probe:
        return f"{text}; {truth.probe} more asked for"
    return f"{text}; next try at {clock_time(truth.probe_at)}" if truth.probe_at is not None else text


def clock_time(at: float) -> str:
    """`14:05 UTC`."""
    return datetime.fromtimestamp(at, UTC).strftime("%H:%M UTC")
