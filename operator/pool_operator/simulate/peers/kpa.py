"""Knative's pod autoscaler (KPA), with jobs that wait or run as its concurrency.

Modelled: `Scale` (`pkg/autoscaler/scaling/autoscaler.go`) every 2 s with the defaults of `config-autoscaler`: a stable
window of 60 s and a panic window of 6 s, a target of 70 % of the slots, panic from 200 %, at most 1,000-fold up and by half
down, and 30 s of grace before zero.

What flatters it: concurrency is known exactly (a real one is scraped), a job that waits counts although no proxy would
hold requests for hours, and a busy victim may finish what it runs. `target-burst-capacity` and the progress deadline,
after which Knative gives up on a slow start, are left out.
"""

from __future__ import annotations

import math
from collections import deque
from typing import Final

from pool_operator.simulate.policy import Victim, View, Wish

STABLE_SECONDS: Final = 60.0
STABLE_TICKS: Final = 30
PANIC_TICKS: Final = 3
PANIC_THRESHOLD: Final = 2.0
UP_RATE: Final = 1000.0
DOWN_RATE: Final = 2.0
GRACE_SECONDS: Final = 30.0


class Kpa:
    tick_seconds = 2.0
    victim = Victim.RANDOM
    self_exit = False

    def __init__(self, name: str, *, utilization: float = 0.7) -> None:
        self.name = name
        self._utilization = utilization
        self._concurrency: deque[float] = deque(maxlen=STABLE_TICKS)  # mean of each tick
        self._panic_at: float | None = None
        self._most_in_panic = 0
        self._used_at = 0.0  # the last tick whose stable window was not empty

    def decide(self, view: View) -> Wish:
        """7 jobs for a minute, slots for one: 10 replicas (7 / 0.7). 20 jobs from one tick to the next: panic, 29 at once."""
        self._concurrency.append(view.mean_in_system)
        stable = sum(self._concurrency) / len(self._concurrency)
        last = list(self._concurrency)[-PANIC_TICKS:]
        wanted = self._wanted(view, stable, sum(last) / len(last))
        return Wish(max(view.min_replicas, min(view.max_replicas, wanted)))

    def idle(self, ticks: int) -> None:
        self._concurrency.extend((0.0,) * min(STABLE_TICKS, ticks))

    def _wanted(self, view: View, stable: float, panic: float) -> int:
        ready = max(1, view.ready)
        target = self._utilization * view.slots
        for_stable, for_panic = _up(stable / target), _up(panic / target)
        least, most = math.floor(ready / DOWN_RATE), math.ceil(UP_RATE * ready)
        self._panic(view.now, over=for_panic / ready >= PANIC_THRESHOLD)
        wanted = min(max(for_stable, least), most)
        if self._panic_at is not None:
            self._most_in_panic = wanted = max(wanted, min(max(for_panic, least), most), self._most_in_panic)
        return self._to_zero(view, stable, wanted)

    def _panic(self, now: float, *, over: bool) -> None:
        """Panic lasts a stable window from the last tick that was over the threshold."""
        if over:
            if self._panic_at is None:
                self._most_in_panic = 0
            self._panic_at = now
        elif self._panic_at is not None and now - self._panic_at > STABLE_SECONDS:
            self._panic_at = None

    def _to_zero(self, view: View, stable: float, wanted: int) -> int:
        if stable > 1e-12:
            self._used_at = view.now
            return max(wanted, 1)
        if view.now - self._used_at < GRACE_SECONDS:
            return max(wanted, min(view.current, 1))
        return 0 if self._panic_at is None else wanted


def _up(value: float) -> int:
    """Rounded up, forgiving what floating point adds."""
    return math.ceil(value - 1e-9)


POLICIES: Final = {"kpa": lambda: Kpa("kpa")}
