"""Time, as a parameter: the only module of the runtime that asks the machine for it."""

from __future__ import annotations

import asyncio
import heapq
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol


class Timer(Protocol):
    """Something that was to happen later and can be called off."""

    def cancel(self) -> None: ...


class Clock(Protocol):
    def unix(self) -> float:
        """Seconds since 1970: for what other machines read; may jump."""

    def monotonic(self) -> float:
        """Seconds from an arbitrary start: for durations; never jumps."""

    def call_later(self, seconds: float, action: Callable[[], None]) -> Timer:
        """Run `action` on the event loop after `seconds`."""

    async def sleep(self, seconds: float) -> None: ...


class SystemClock:
    """The machine's clocks and the running event loop's timers."""

    def unix(self) -> float:
        return time.time()

    def monotonic(self) -> float:
        return time.monotonic()

    def call_later(self, seconds: float, action: Callable[[], None]) -> Timer:
        return asyncio.get_running_loop().call_later(seconds, action)

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


@dataclass(slots=True, order=True)
class _Pending:
    at: float
    number: int
    action: Callable[[], None] = field(compare=False)
    cancelled: bool = field(default=False, compare=False)

    def cancel(self) -> None:
        self.cancelled = True


class FakeClock:
    """A clock that moves only when told to; due timers run in order."""

    def __init__(self, unix: float = 1_700_000_000.0) -> None:
        self._offset = unix
        self._now = 0.0
        self._numbers = 0
        self._pending: list[_Pending] = []

    def unix(self) -> float:
        return self._offset + self._now

    def monotonic(self) -> float:
        return self._now

    def call_later(self, seconds: float, action: Callable[[], None]) -> Timer:
        self._numbers += 1
        pending = _Pending(self._now + seconds, self._numbers, action)
        heapq.heappush(self._pending, pending)
        return pending

    async def sleep(self, seconds: float) -> None:
        woken = asyncio.Event()
        self.call_later(seconds, woken.set)
        await woken.wait()

    def advance(self, seconds: float) -> None:
        """Move on, running each timer at its own time."""
        end = self._now + seconds
        while self._pending and self._pending[0].at <= end:
            pending = heapq.heappop(self._pending)
            self._now = max(self._now, pending.at)
            if not pending.cancelled:
                pending.action()
        self._now = end
