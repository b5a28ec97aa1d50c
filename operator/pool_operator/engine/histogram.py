"""Decayed counts in logarithmic bins: what a pool has learned about times, sizes and growth.

New samples get heavier instead of old ones lighter, so that taking one in touches one bin.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate
from typing import Final

from pool_operator.engine.state import Histogram

HEAVY: Final = 1e9
"""A unit this heavy is brought back to 1; the shares stay what they are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LogBins:
    """`count` bins of equal ratio from `low` to `high`; what is smaller or larger goes to the first or last."""

    low: float
    high: float
    count: int

    def position(self, value: float) -> float:
        """Where a value lies, in bins: 1 s .. 16 s in 4 bins, value 2 s: 1.0."""
        if value <= self.low:
            return 0.0
        return math.log(value / self.low) * self.count / math.log(self.high / self.low)

    def index(self, value: float) -> int:
        return min(self.count - 1, int(self.position(value)))

    def value(self, position: float) -> float:
        """The other way round: 1 s .. 16 s in 4 bins, position 1.0: 2 s."""
        return self.low * math.exp(position / self.count * math.log(self.high / self.low))


def samples(histogram: Histogram) -> float:
    """How many undecayed samples it is worth."""
    return histogram.total / histogram.unit


def add(histogram: Histogram, index: int, *, decay: float) -> Histogram:
    """Take one sample in; all before it lose the factor `decay` against it.

    With decay 0.5, samples in bins 0, 2, 2: shares 1/7, 0, 6/7.
    """
    unit = histogram.unit / decay
    weights = [*histogram.weights, *(0.0,) * (index + 1 - len(histogram.weights))]
    weights[index] += unit
    grown = Histogram(weights=tuple(weights), total=histogram.total + unit, unit=unit)
    return grown if unit < HEAVY else _scaled(grown, 1.0 / unit)


def add_many(histogram: Histogram, index: int, count: int, *, decay: float) -> Histogram:
    """`count` equal samples at once, at the cost of two: each older one has lost `decay` once more."""
    fade, unit = decay ** (count - 1), 1.0 / decay
    factor = fade / histogram.unit
    before = (1.0 - fade) / (1.0 - decay)  # the samples but the last, in units before its growth
    weights = [weight * factor for weight in histogram.weights]
    weights += (0.0,) * (index + 1 - len(weights))
    weights[index] = weights[index] + unit + before
    return Histogram(weights=tuple(weights), total=histogram.total * factor + unit + before, unit=unit)


def tails(histogram: Histogram) -> tuple[float, ...]:
    """Weight in and above each bin, and 0 at the end: of weights 1, 2, 3 it is 6, 5, 3, 0."""
    return tuple(accumulate(reversed(histogram.weights), initial=0.0))[::-1]


@lru_cache(maxsize=1024)
def quantile(histogram: Histogram, bins: LogBins, share: float) -> float:
    """The value below which that share lies, even within a bin. An empty histogram has none: 0.

    Bins 1 s .. 16 s in 4 bins, all weight in the second (2 s .. 4 s), share 0.5: 2.83 s.
    """
    wanted, below = share * histogram.total, 0.0
    for index, weight in enumerate(histogram.weights):
        if weight > 0.0 and below + weight >= wanted:
            return bins.value(index + (wanted - below) / weight)
        below += weight
    return bins.value(len(histogram.weights)) if histogram.weights else 0.0


def _scaled(histogram: Histogram, factor: float) -> Histogram:
    return Histogram(
        weights=tuple([weight * factor for weight in histogram.weights]),
        total=histogram.total * factor,
        unit=histogram.unit * factor,
    )
