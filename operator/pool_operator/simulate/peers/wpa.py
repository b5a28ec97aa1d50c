"""Practo's Worker Pod Autoscaler (k8s-worker-pod-autoscaler): messages over a target, with a floor from their rate.

Modelled: `GetDesiredWorkers` (`controller.go`) with its defaults: one message a slot, messages that wait and those in
flight count, a floor of (seconds for one job) x (messages a minute) / 60, nothing within 10 %, `maxDisruption` 100 %,
a resync every 20 s, and no scale-down until 600 s after the last change (`canScaleDown`).

What flatters it: `secondsToProcessOneJob` is the trace's true mean, which nobody knows beforehand; the rate of messages
is exact; a busy victim may finish what it runs.
"""

from __future__ import annotations

import math
from collections import deque
from typing import Final

from pool_operator.simulate.policy import Victim, View, Wish

TOLERANCE: Final = 0.1


class Wpa:
    tick_seconds = 20.0
    victim = Victim.RANDOM
    self_exit = False

    def __init__(self, name: str, *, delay_seconds: float = 600.0) -> None:
        self.name = name
        self._delay_seconds = delay_seconds
        self._sent: deque[int] = deque((0, 0, 0), maxlen=3)  # messages in each of the last three ticks: a minute
        self._changed_at = 0.0

    def decide(self, view: View) -> Wish:
        """12 messages, 10 replicas of one slot: 12. With 11 replicas 11 stay: less than 10 % apart."""
        self._sent.append(view.arrived)
        wanted = self._wanted(view)
        if wanted < view.current and view.now - self._changed_at < self._delay_seconds:
            wanted = view.current
        if wanted != view.current:
            self._changed_at = view.now
        return Wish(wanted)

    def idle(self, ticks: int) -> None:
        self._sent.extend((0,) * min(3, ticks))

    def _wanted(self, view: View) -> int:
        a_minute = sum(self._sent)
        floor = max(view.min_replicas, math.ceil(view.mean_service_seconds * a_minute / 60 / view.slots))
        if floor >= view.max_replicas:
            return view.max_replicas
        messages = view.waiting + view.busy + view.draining_jobs
        wanted = math.ceil(messages / view.slots)
        if view.current > 0:
            if messages == 0:
                wanted = floor if a_minute > 0 else 0
            elif abs(wanted - view.current) / view.current <= TOLERANCE:
                wanted = view.current
        return min(view.max_replicas, max(floor, wanted))


POLICIES: Final = {"wpa": lambda: Wpa("wpa")}
