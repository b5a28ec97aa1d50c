"""AWS target tracking on the backlog per instance (ECS or an Auto Scaling group on SQS).

Modelled: visible messages over instances against a target of acceptable latency (300 s) over mean run time
(`as-using-sqs-queue.md`); a metric a minute; out after 3 points above the target, in after 15 points below 90 % of it;
with no instance the metric is the raw backlog, and one point is enough. Points and band are not documented by AWS for all
services (unverified).

What flatters it: the mean run time is the trace's true one; points are never late; a busy victim may finish what it
runs.
"""

from __future__ import annotations

import math
from typing import Final

from pool_operator.simulate.policy import Victim, View, Wish

POINTS_OUT: Final = 3
POINTS_IN: Final = 15
BAND: Final = 0.9


class Aws:
    tick_seconds = 60.0
    victim = Victim.RANDOM
    self_exit = False

    def __init__(self, name: str, *, acceptable_seconds: float = 300.0) -> None:
        self.name = name
        self._acceptable_seconds = acceptable_seconds
        self._above = 0  # points in a row
        self._below = 0

    def decide(self, view: View) -> Wish:
        """Mean run time 100 s: target 3. 20 messages for 3 minutes, 4 instances: 5 each, so 7 instances."""
        target = max(1.0, self._acceptable_seconds / view.mean_service_seconds) * view.slots
        instances = max(1, view.current)
        backlog = view.waiting / instances
        self._above = self._above + 1 if backlog > target else 0
        self._below = self._below + 1 if backlog < BAND * target else 0
        wanted = view.current
        if self._above >= POINTS_OUT or (view.current == 0 and view.waiting > 0):
            wanted, self._above = math.ceil(instances * backlog / target), 0
        elif self._below >= POINTS_IN:
            wanted, self._below = math.ceil(view.current * backlog / target), 0
        return Wish(max(view.min_replicas, min(view.max_replicas, wanted)))

    def idle(self, ticks: int) -> None:
        self._above, self._below = 0, (self._below + ticks) % POINTS_IN


POLICIES: Final = {"aws": lambda: Aws("aws")}
