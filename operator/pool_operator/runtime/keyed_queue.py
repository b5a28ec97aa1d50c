"""The work queue: each key at most once in line, never in two hands, urgent keys first.

Before: events, timers, endpoints. After: the reconciler's workers. An event is one look-up in a set, so a burst of a
million pushes costs no more reconciles than there are pools.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Generic, TypeVar

from pool_operator.runtime.clock import Clock, Timer

K = TypeVar("K")

FIRST_RETRY_SECONDS = 0.05
LONGEST_RETRY_SECONDS = 30.0
PATIENT_AFTER_FAILURES = 4
PATIENCE_SECONDS = 1.0
"""A key that fails again and again: events bring it back this seldom, else a busy queue floods a server in trouble."""


class KeyedQueue(Generic[K]):
    """A key added while it is worked on is worked on once more afterwards."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._urgent: deque[K] = deque()
        self._normal: deque[K] = deque()
        self._dirty: dict[K, bool] = {}  # waiting or to be redone -> urgent
        self._busy: set[K] = set()
        self._failures: dict[K, int] = {}
        self._timers: dict[K, tuple[float, Timer]] = {}
        self._filled = asyncio.Event()

    def __len__(self) -> int:
        return len(self._dirty)

    def add(self, key: K, *, urgent: bool = False) -> None:
        """Put the key in line; urgent ones (more work than slots) pass the others."""
        if self._failures.get(key, 0) >= PATIENT_AFTER_FAILURES and key not in self._busy:
            self.add_after(key, PATIENCE_SECONDS)
        else:
            self._enter(key, urgent=urgent)

    def _enter(self, key: K, *, urgent: bool = False) -> None:
        known = self._dirty.get(key)
        if known is not None and (known or not urgent):
            return
        self._dirty[key] = urgent
        if key not in self._busy:
            # a key made urgent later stands in both lines: `get` skips what is no longer dirty
            (self._urgent if urgent else self._normal).append(key)
            self._filled.set()

    def add_after(self, key: K, seconds: float) -> None:
        """Put the key in line later; of several such wishes the earliest counts."""
        if seconds <= 0:
            self.add(key)
            return
        at = self._clock.monotonic() + seconds
        known = self._timers.get(key)
        if known is not None:
            if known[0] <= at:
                return
            known[1].cancel()
        self._timers[key] = (at, self._clock.call_later(seconds, lambda: self._due(key)))

    def _due(self, key: K) -> None:
        self._timers.pop(key, None)
        self._enter(key)

    def retry(self, key: K) -> float:
        """Put the key in line after its back-off; returns the seconds."""
        failures = self._failures.get(key, 0)
        self._failures[key] = failures + 1
        seconds = min(LONGEST_RETRY_SECONDS, FIRST_RETRY_SECONDS * 2.0 ** min(failures, 20))
        if failures + 1 >= PATIENT_AFTER_FAILURES and self._dirty.pop(key, None) is not None:
            seconds = min(seconds, PATIENCE_SECONDS)
        self.add_after(key, seconds)
        return seconds

    def succeeded(self, key: K) -> None:
        """Forget the key's failures."""
        self._failures.pop(key, None)

    def forget(self, key: K) -> None:
        """The key is gone: no timer, no back-off, no place in line."""
        self._failures.pop(key, None)
        self._dirty.pop(key, None)
        if known := self._timers.pop(key, None):
            known[1].cancel()
        for line in (self._urgent, self._normal):
            while key in line:  # nobody else takes it out while nobody works, as in a follower
                line.remove(key)

    async def get(self) -> K:
        """The next key; it is in the caller's hands until `done`."""
        while True:
            for line in (self._urgent, self._normal):
                while line:
                    key = line.popleft()
                    if key in self._dirty and key not in self._busy:
                        del self._dirty[key]
                        self._busy.add(key)
                        return key
            self._filled.clear()
            await self._filled.wait()

    def done(self, key: K) -> None:
        self._busy.discard(key)
        if (urgent := self._dirty.get(key)) is not None:
            (self._urgent if urgent else self._normal).append(key)
            self._filled.set()
