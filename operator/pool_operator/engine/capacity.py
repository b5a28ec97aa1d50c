"""What the cluster really gives: stop asking for what cannot be had, ask again with back-off, replace bad starts.

States of a pool that gets less than it wants (state.CapacityTruth):

- Nothing is known to be short: `ceiling` is None, everything that is wanted is asked for.
- Short: `ceiling` is what can be had, `probe` what is asked for beyond it. How a probe is kept depends on what holds it
  up. Where nothing has room, it stays Pending: that costs nothing, the scheduler starts it the moment something is free,
  and a cluster autoscaler sees it. Where the start fails (image, configuration) or the cluster refuses to create it
  (quota), nothing pending is there to wait: it is given back and asked for again after 1, 2, 4 … 30 minutes.
- A probe that starts raises the ceiling, and the next one is twice as large.
- When nobody has wanted more than there is for a while, the shortage is forgotten.

12 replicas are wanted and 4 GPUs are there: 12 are asked for, and ten minutes later 4 and 1 more, which waits. When
three GPUs become free it starts, 2 more are asked for, and so on.
"""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import takewhile
from typing import Final

from pool_operator.engine.fleet import Fleet
from pool_operator.engine.starts import begun_at, given_up_at, patience_seconds
from pool_operator.engine.state import CapacityTruth, ColdStarts, Memory
from pool_operator.engine.types import Blocked, Observed, Replica

FIRST_BACKOFF_SECONDS: Final = 60.0
LONGEST_BACKOFF_SECONDS: Final = 1800.0
SHARE: Final = 10  # one tenth: of the ceiling to ask for in addition, of the replicas to replace at once
FORGET_SECONDS: Final = 600.0


def learn_capacity(
    observed: Observed, fleet: Fleet, truth: CapacityTruth, cold_starts: ColdStarts, now: float
) -> CapacityTruth:
    """Take in which replicas start and which do not."""
    truth = _failing(fleet, truth, now)
    truth = _replacing(observed, fleet, truth, cold_starts, now)
    return _ceiling(observed, fleet, truth, now)


def room(truth: CapacityTruth, fleet: Fleet) -> int | None:
    """Most replicas to ask for now; None: whatever is wanted."""
    ceiling = None if truth.ceiling is None else truth.ceiling + truth.probe
    if not truth.replacing:
        return ceiling
    without = len(fleet.active) - sum(one.id in truth.replacing for one in fleet.coming)
    return without if ceiling is None else min(ceiling, without)


def capacity_wake_at(fleet: Fleet, memory: Memory, now: float) -> float | None:
    """When a start is given up, the next probe is due, or a shortage is forgotten: nothing else might happen then."""
    truth = memory.capacity
    times: list[float] = []
    if fleet.coming:
        times += given_up_at(fleet.coming, fleet.last_ready_at, memory.cold_starts, truth).values()
    if fleet.stuck_ids:
        times += [_replace_at(one, truth, memory.cold_starts) for one in fleet.coming if one.id in fleet.stuck_ids]
    if truth.ceiling is not None and not truth.probe and truth.probe_at is not None:
        times.append(truth.probe_at)
    if truth.unasked_since is not None:
        times.append(truth.unasked_since + FORGET_SECONDS)
    return min([at for at in times if at > now], default=None)


def backoff_seconds(failures: int) -> float:
    """1, 2, 4 … 30 minutes."""
    return min(LONGEST_BACKOFF_SECONDS, FIRST_BACKOFF_SECONDS * 2.0 ** min(failures, 10))


def _share(count: int) -> int:
    return max(1, count // SHARE)


def _failing(fleet: Fleet, truth: CapacityTruth, now: float) -> CapacityTruth:
    """Since when each start fails: a container that crashes runs for moments in between, which is no success."""
    if not fleet.blocked and not truth.failing:
        return truth
    known = dict(truth.failing)
    failing = tuple((one.id, known.get(one.id, now)) for one in fleet.coming if one.blocked is Blocked.FAILING)
    return truth if failing == truth.failing else replace(truth, failing=failing)


# --- the ceiling --------------------------------------------------------------------------------------------------


def _ceiling(observed: Observed, fleet: Fleet, truth: CapacityTruth, now: float) -> CapacityTruth:
    if truth.ceiling is None and not observed.refused and not fleet.stuck_ids:
        return truth
    ready = len(fleet.active) - len(fleet.coming)
    held_up = {one.blocked for one in fleet.coming if one.blocked is not None and one.id in fleet.stuck_ids}
    if observed.refused or held_up:
        pending = not observed.refused and Blocked.FAILING not in held_up
        return _short(observed, fleet, truth, ready, now, pending=pending)
    if truth.ceiling is None:
        return truth
    if ready > truth.ceiling:
        return replace(truth, ceiling=ready, probe=max(_share(ready), 2 * truth.probe), failures=0, probe_at=None)
    if not truth.probe:
        due = truth.probe_at is None or now >= truth.probe_at
        return replace(truth, probe=_share(truth.ceiling), probe_at=None) if due else truth
    if observed.wanted > truth.ceiling:
        return replace(truth, unasked_since=None)
    since = now if truth.unasked_since is None else truth.unasked_since
    if now - since >= FORGET_SECONDS:
        return replace(truth, ceiling=None, probe=0, failures=0, unasked_since=None, words="")
    return replace(truth, unasked_since=since)


def _short(
    observed: Observed, fleet: Fleet, truth: CapacityTruth, ready: int, now: float, *, pending: bool
) -> CapacityTruth:
    """Some cannot be had. `pending`: those that cannot wait for room, and nothing is gained by taking them back."""
    known = truth.ceiling
    ceiling = max(ready, fleet.had if known is None else min(known, fleet.had))
    words = observed.capacity_short or truth.words
    if pending and (known is None or truth.probe):
        return replace(truth, ceiling=ceiling, probe=_share(ceiling), probe_at=None, unasked_since=None, words=words)
    if known is not None and not truth.probe:  # on their way out
        return replace(truth, ceiling=ceiling, words=words)
    failures = 0 if known is None or ready > known else truth.failures + 1
    return replace(
        truth,
        ceiling=ceiling,
        probe=0,
        probe_at=now + backoff_seconds(failures),
        failures=failures,
        unasked_since=None,
        words=words,
    )


# --- bad starts ---------------------------------------------------------------------------------------------------


def _replacing(
    observed: Observed, fleet: Fleet, truth: CapacityTruth, cold_starts: ColdStarts, now: float
) -> CapacityTruth:
    """Replicas of which the cluster says nothing and which do not start: on a bad node, most likely.

    At most a tenth at once, strictly in the order in which the backend removes starting replicas, since it would take
    others otherwise. They are marked and given back, and what is wanted is asked for anew when they are gone. Each round
    in a row without a success waits twice as long: a start that is only slow comes through in the end.
    """
    if truth.replaced and (fleet.last_ready_at or 0.0) > (truth.replaced_at or 0.0):
        truth = replace(truth, replaced=0)
    if truth.replacing:
        left = {one.id for one in fleet.coming}
        here = tuple(name for name in truth.replacing if name in left)
        if here:
            return replace(truth, replacing=here)
        return replace(truth, replacing=(), replaced_at=now, replaced=truth.replaced + 1)
    if not fleet.stuck_ids:
        return truth
    steady = observed.wanted == len(fleet.active) and not observed.lowering_blocked
    silent = fleet.stuck_ids - {one.id for one in fleet.coming if one.blocked is not None}
    if not steady or not silent:
        return truth
    due = takewhile(
        lambda one: one.id in silent and now >= _replace_at(one, truth, cold_starts) and one.claims == 0,
        sorted(fleet.coming, key=lambda one: one.removal_rank),
    )
    return replace(truth, replacing=tuple(one.id for one in due)[: _share(len(fleet.active))])


def _replace_at(one: Replica, truth: CapacityTruth, cold_starts: ColdStarts) -> float:
    """When a silent, stuck start is worth another try."""
    long = begun_at(one) + patience_seconds(cold_starts) * 2.0 ** min(truth.replaced, 10)
    again = -math.inf if truth.replaced_at is None else truth.replaced_at + backoff_seconds(truth.replaced)
    return max(long, again)
