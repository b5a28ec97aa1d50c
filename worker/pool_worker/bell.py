"""Wakes idle slots: one ring wakes one slot, so that one push makes at most one claim attempt per replica."""

from __future__ import annotations

import random
import threading
import time


class Bell:
    """A ring that meets no waiting slot is kept for the next one: it may come just before a slot lies down."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._rung = False
        self._spread_seconds = 0.0
        self._waiting = 0

    @property
    def waiting(self) -> int:
        """Idle slots."""
        return self._waiting

    def ring(self, spread_seconds: float = 0.0) -> None:
        """Wake one slot. With a spread it waits a random part of it, so that replicas do not ask Redis all at once."""
        with self._changed:
            self._rung = True
            self._spread_seconds = spread_seconds
            self._changed.notify()

    def ring_all(self) -> None:
        """Wake every slot now: something about them has changed."""
        with self._changed:
            self._rung = True
            self._spread_seconds = 0.0
            self._changed.notify_all()

    def wait(self, timeout_seconds: float) -> None:
        """Until rung, or the time is over."""
        with self._changed:
            self._waiting += 1
            try:
                if not self._rung:
                    self._changed.wait(timeout_seconds)
            finally:
                self._waiting -= 1
            rung, self._rung = self._rung, False
            spread = self._spread_seconds if rung else 0.0
        if spread > 0:
            time.sleep(random.uniform(0, spread))  # noqa: S311 - no secret
