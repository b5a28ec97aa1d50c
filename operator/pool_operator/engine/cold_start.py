"""How long a replica takes from its creation to its first possible claim, measured."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from pool_operator.engine.fleet import Fleet
from pool_operator.engine.histogram import add
from pool_operator.engine.starts import SECONDS
from pool_operator.engine.state import ColdStarts

DECAY: Final = 0.98
MEAN_WEIGHT: Final = 0.2


def learn_cold_starts(starts: ColdStarts, fleet: Fleet) -> ColdStarts:
    """Replicas that became ready since the newest one that was taken in.

    The first one measured replaces the first guess of 60 s; later each weighs 20 %, so that a change settles within
    about five. One that the cluster held up until it was called stuck waited for something else than its start, and
    teaches nothing; nor does one that was started again in its place. What was ready before the first decision ever is
    only noted: who knows what its clock had seen.
    """
    stuck = starts.stuck
    if fleet.stuck or stuck:
        still = {one.id for one in fleet.active if one.ready_at is None}
        seen = {one.id for one in fleet.active if one.blocked is not None and one.id in fleet.stuck_ids}
        stuck = tuple(sorted(seen | still.intersection(stuck)))
    until, known = fleet.last_ready_at, starts.ready_until
    if until is None or (known is not None and until <= known):
        if known is None:
            return replace(starts, ready_until=-float("inf"), stuck=stuck)
        return starts if stuck == starts.stuck else replace(starts, stuck=stuck)
    if known is not None:
        new = [one for one in fleet.active if one.ready_at is not None and one.ready_at > known]
        for one in sorted(new, key=lambda one: (one.ready_at, one.id)):
            if one.id not in starts.stuck and one.ready_at is not None and one.restarted_at is None:
                starts = _taken_in(starts, one.ready_at - one.created_at)
    return replace(starts, ready_until=until, stuck=stuck)


def _taken_in(starts: ColdStarts, seconds: float) -> ColdStarts:
    seconds = min(SECONDS.high, max(SECONDS.low, seconds))
    weight = max(MEAN_WEIGHT, 1.0 / (starts.samples + 1))
    return replace(
        starts,
        samples=starts.samples + 1,
        mean_seconds=starts.mean_seconds + weight * (seconds - starts.mean_seconds),
        seconds=add(starts.seconds, SECONDS.index(seconds), decay=DECAY),
    )
