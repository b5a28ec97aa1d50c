"""KEDA's ScaledJob: a Kubernetes Job for each job that waits, never scaled in.

Modelled: the strategy `accurate` (`scale_jobs.go`, `GetEffectiveMaxScale`), one job a slot of the new pod; a pod works
until the queue is empty and ends itself (`rq worker --burst`), so no running job is ever hit. `default` and `eager`
differ only in how they count pods that start.

What flatters it: a pod takes further jobs of the queue instead of one, so the model is loaded once for many jobs;
creating Jobs costs nothing and has no rate limit.
"""

from __future__ import annotations

import math
from typing import Final

from pool_operator.simulate.policy import Victim, View, Wish


class ScaledJob:
    """`poll_seconds`: `pollingInterval`, 30 unless somebody sets it."""

    victim = Victim.IDLE
    self_exit = True

    def __init__(self, name: str, *, poll_seconds: float = 30.0) -> None:
        self.name = name
        self.tick_seconds = poll_seconds

    def decide(self, view: View) -> Wish:
        """7 jobs wait, slots for 2: 4 pods are due; 3 start already: 1 more. Pods that run count only for the maximum."""
        due = min(view.max_replicas, math.ceil(view.waiting / view.slots))
        if due + view.current - view.starting > view.max_replicas:
            more = view.max_replicas - view.current
        else:
            more = due - view.starting
        return Wish(view.current + max(0, more), quiet_until=math.inf)

    def idle(self, ticks: int) -> None:
        """Nothing here counts ticks."""


POLICIES: Final = {
    "scaledjob": lambda: ScaledJob("scaledjob"),
    "scaledjob-p5": lambda: ScaledJob("scaledjob-p5", poll_seconds=5),
}
