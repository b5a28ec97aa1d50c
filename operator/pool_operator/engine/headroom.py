"""Slots kept ready for work expected within one cold start: a newsvendor's stock, of what the traffic has taught.

Keeping the j-th spare slot for one cold start S costs S. If it is needed, with probability P(growth >= j), it saves a
cold start, S, and a wait of S, worth v·S. So it is worth keeping where P·(1+v) >= 1. To start one, which costs its own
cold start as well, P must be twice as high: between the two nothing moves.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

from pool_operator.engine.growth import MOST_GROWTH, context_of, keys, rates
from pool_operator.engine.state import Traffic

START_FACTOR: Final = 2.0
SUREST: Final = 0.95
"""Surer than this one need not be to start a spare, however little waiting is worth."""
BACK_OFF: Final = 4.0
"""A context's samples weigh against so many of the next coarser one; the coarsest against a Poisson process."""
MOST_EXPECTED: Final = 500.0


@dataclass(slots=True, kw_only=True)
class Headroom:
    """Spare slots worth starting, and worth keeping where they are there."""

    start: int = 0
    hold: int = 0


NONE: Final = Headroom()


def break_even_seconds(wait_value: float, cold_seconds: float) -> float:
    """As long as this an idle replica costs less than its next cold start and the wait for it: S·(1+v).

    The best deterministic answer to a gap of unknown length (ski rental): never worse than twice the best in hindsight.
    """
    return cold_seconds * (1.0 + wait_value)


def headroom_of(wait_value: float, traffic: Traffic, cold_seconds: float, now: float) -> Headroom:
    """Spares for what comes within one cold start; none if nothing has come for a break-even time.

    Nothing learned, 1 job a minute, cold start 60 s, v = 2: Poisson(1). P(>=1) = 63 % is over 1/3, P(>=2) = 26 % is
    not: hold 1. To start one needs 2/3: start 0.
    """
    last = traffic.last_arrival_at
    if wait_value <= 0.0 or last is None or now - last >= break_even_seconds(wait_value, cold_seconds):
        return NONE
    hold_from = 1.0 / (1.0 + wait_value)
    start_from = max(hold_from, min(SUREST, START_FACTOR * hold_from))
    expected = min(MOST_EXPECTED, rates(traffic, now)[0] * cold_seconds)
    learned = [traffic.growth[key] for key in keys(context_of(traffic, cold_seconds, now)) if key in traffic.growth]
    left = [histogram.total for histogram in learned]
    weights = [histogram.weights for histogram in learned]
    backing = [BACK_OFF * histogram.unit for histogram in learned]
    totals = [histogram.total + back for histogram, back in zip(learned, backing, strict=True)]
    start = hold = 0
    term, chance_of_more = math.exp(-expected), 1.0
    for jobs in range(1, MOST_GROWTH + 1):
        chance_of_more -= term
        term *= expected / jobs
        chance = max(0.0, chance_of_more)
        for at, seen in enumerate(weights):  # coarsest first, each backed by the one before
            if jobs <= len(seen):
                left[at] -= seen[jobs - 1]
            chance = (left[at] + backing[at] * chance) / totals[at]
        if chance >= start_from:
            start = jobs
        if chance < hold_from:
            break
        hold = jobs
    return Headroom(start=start, hold=hold)
