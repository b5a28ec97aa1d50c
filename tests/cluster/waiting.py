"""Wait for a condition, with a limit and a sentence."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")
PATIENCE_SECONDS = 90.0


def until(
    condition: Callable[[], T], *, what: str, seconds: float = PATIENCE_SECONDS, seen: Callable[[], object] = str
) -> T:
    """The first true value; `seen` is asked for what to show when it does not come."""
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, f"not within {seconds:g} s: {what}\n{seen()}"
        time.sleep(0.2)
    return found
