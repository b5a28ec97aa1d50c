"""Sustained thresholds: replicas rise or fall only after something has been over or under its level for long enough."""

from __future__ import annotations

import math
from dataclasses import dataclass

from pool_operator.engine.fleet import Fleet
from pool_operator.engine.types import PoolSpec, Reading, Threshold, Unknown
from pool_operator.names import Direction, ThresholdMetric

Since = tuple[float | None, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Passed:
    """`held`: the direction that no threshold allows now, None if the wish went through."""

    replicas: int
    held: Direction | None = None


def learn_thresholds(spec: PoolSpec, reading: Reading | Unknown, fleet: Fleet, met_since: Since, now: float) -> Since:
    """For each threshold, since when it holds without a break. What is not known holds nothing: it begins anew."""
    if not spec.thresholds or isinstance(reading, Unknown):
        return ()
    known = met_since if len(met_since) == len(spec.thresholds) else (None,) * len(spec.thresholds)
    values = {
        ThresholdMetric.WAITING: float(
            sum(
                one.waiting + one.due
                for queue in spec.queues
                if queue.triggers and (one := reading.queues.get(queue.name)) is not None
            )
        ),
        ThresholdMetric.UTILIZATION: _utilization(fleet),
    }
    return tuple(
        (now if since is None else since) if _met(one, values[one.metric]) else None
        for one, since in zip(spec.thresholds, known, strict=True)
    )


def gate(spec: PoolSpec, fleet: Fleet, wish: int, met_since: Since, *, wanted: int, slots: int, now: float) -> Passed:
    """Let a wish through if a threshold of its direction has held for its `forSeconds`.

    - With Up thresholds, replicas rise above what is wanted now only while one of them has held; from none to one they
      rise at once, since work must not wait for ever. The pool's minimum comes afterwards and is not held back.
    - While an Up threshold of Utilization has held, so many are wished for that it would no longer hold; and what is
      there stays as long as less would be over it again.
    - With Down thresholds, replicas fall only while one of them has held.

    Up above 70 % for 300 s, 10 replicas of one slot, all busy, 3 jobs wait: 10 replicas for five minutes, then
    ceil(10 / 0.7) = 15.
    """
    held = {
        one.direction
        for one, since in zip(spec.thresholds, met_since, strict=False)
        if since is not None and now - since >= one.for_seconds
    }
    gated = {one.direction for one in spec.thresholds}
    level = _needed(spec, fleet, slots)
    target = max(wish, level if Direction.UP in held else min(level, wanted))
    if Direction.UP in gated - held and target > max(wanted, 1):
        return Passed(replicas=max(wanted, 1), held=Direction.UP)
    if Direction.DOWN in gated - held and target < wanted:
        return Passed(replicas=wanted, held=Direction.DOWN)
    return Passed(replicas=target)


def thresholds_wake_at(spec: PoolSpec, met_since: Since, now: float) -> float | None:
    """When the next threshold has held for long enough."""
    times = [
        since + one.for_seconds for one, since in zip(spec.thresholds, met_since, strict=False) if since is not None
    ]
    return min((at for at in times if at > now), default=None)


def _utilization(fleet: Fleet) -> float | None:
    """Busy slots of all slots of ready replicas, in percent; 0 where none is ready; None if nobody can tell."""
    slots = fleet.ready_slots - fleet.new_slots
    if slots <= 0:
        return None if fleet.new_slots or fleet.silent else 0.0
    return 100.0 * (slots - fleet.free_slots) / slots


def _met(one: Threshold, value: float | None) -> bool:
    if value is None:
        return False
    return value > one.level if one.direction is Direction.UP else value < one.level


def _needed(spec: PoolSpec, fleet: Fleet, slots: int) -> int:
    """Replicas with which no Up threshold of Utilization would hold; 0 without such thresholds."""
    levels = [
        one.level
        for one in spec.thresholds
        if one.direction is Direction.UP and one.metric is ThresholdMetric.UTILIZATION and one.level > 0
    ]
    busy = fleet.ready_slots - fleet.new_slots - fleet.free_slots
    return math.ceil(round(100.0 * busy / min(levels) / slots, 9)) if levels else 0
