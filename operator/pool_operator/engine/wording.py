"""Sentences with numbers, for people: status, events, `explain`."""

from __future__ import annotations

from datetime import UTC, datetime

from pool_operator.engine.demand import Demand
from pool_operator.engine.fleet import Fleet
from pool_operator.engine.limits import Limited
from pool_operator.engine.state import CapacityTruth
from pool_operator.engine.types import Observed, PoolSpec
from pool_operator.names import Limit


def number(count: int, noun: str) -> str:
    """`1 replica`, `2 replicas`."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def work(spec: PoolSpec, demand: Demand, wish: int) -> str:
    """What there is to do, and what that needs.

    "12 jobs wait, 3 run: 15 slots, 4 replicas of 4 slots"
    """
    fillers = f" ({number(demand.fillers, 'job')} of queues with scaleUp Never may fill free slots)"
    told = fillers if demand.fillers else ""
    if not demand.slots:
        return f"no job waits or runs{told}"
    jobs = f"{number(demand.waiting, 'job')} {'waits' if demand.waiting == 1 else 'wait'}, {demand.running} "
    jobs += "runs" if demand.running == 1 else "run"
    slots = number(spec.slots_per_replica, "slot")
    return f"{jobs}{told}: {number(demand.slots, 'slot')}, {number(wish, 'replica')} of {slots}"


def bound(spec: PoolSpec, fleet: Fleet, limited: Limited) -> str:
    """How a limit changed the wish; "" if none did."""
    if limited.limited_by is Limit.MINIMUM:
        return f"spec.minReplicas keeps {spec.min_replicas}"
    if limited.limited_by is Limit.MAXIMUM:
        return f"spec.maxReplicas allows {spec.max_replicas}"
    if limited.limited_by is Limit.RUNNING:
        return f"{number(fleet.busy, 'replica')} with running jobs may finish them"
    return ""


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
