"""Redis' clock and this machine's. Pure."""

from __future__ import annotations

from typing import Final

TOLERANCE_SECONDS: Final = 0.05


def steady_skew(known: float | None, *, asked: float, answered: float, at: float) -> float:
    """Seconds to add to Redis' times for ours.

    A script that ran at Redis' time `at`, between our `asked` and `answered`, tells it only as exactly as the call was
    quick. The known one stays as long as it may be right: a time that was told once must not move with each reading.

    >>> steady_skew(None, asked=100.0, answered=100.01, at=90.0)
    10.0
    >>> steady_skew(10.0, asked=200.003, answered=203.0, at=190.5)
    10.0
    >>> steady_skew(10.0, asked=300.0, answered=300.01, at=289.0)
    11.0
    """
    lowest, highest = asked - at, answered - at
    if known is None:
        return lowest
    if lowest - TOLERANCE_SECONDS <= known <= highest + TOLERANCE_SECONDS:
        return known
    return lowest if known < lowest else highest
