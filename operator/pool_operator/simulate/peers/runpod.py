"""RunPod Serverless with its scaler "queue delay".

Modelled: a worker for each slot's worth of jobs that have waited longer than 4 s and that no starting worker covers; a
worker without a job goes after its idle timeout of 5 s (RunPod's documented defaults: `endpoint-configurations.mdx`).
Workers finish what they run.

What flatters it: how many workers one trigger adds is not documented; this is the generous reading. Its limits of
workers, and its throttling, are left out.
"""

from __future__ import annotations

import math
from typing import Final

from pool_operator.simulate.policy import Victim, View, Wish


class Runpod:
    tick_seconds = 1.0
    victim = Victim.IDLE
    self_exit = False

    def __init__(self, name: str, *, delay_seconds: float = 4.0, idle_seconds: float = 5.0) -> None:
        self.name = name
        self._delay_seconds = delay_seconds
        self._idle_seconds = idle_seconds

    def decide(self, view: View) -> Wish:
        """3 jobs have waited for 5 s, 1 worker starts: 2 more."""
        late = view.waited_longer_than(self._delay_seconds) if view.waiting else 0
        more = math.ceil(late / view.slots) - view.starting
        if more > 0:
            return Wish(min(view.max_replicas, view.current + more))
        if late < view.waiting:  # the next of them will soon have waited too long
            return Wish(view.current)
        idle = view.idle_seconds()
        if gone := sum(seconds > self._idle_seconds for seconds in idle):
            return Wish(max(view.min_replicas, view.current - gone))
        return Wish(view.current, quiet_until=view.now + self._idle_seconds - max(idle) if idle else math.inf)

    def idle(self, ticks: int) -> None:
        """Nothing here counts ticks."""


POLICIES: Final = {"runpod": lambda: Runpod("runpod")}
