"""KEDA with the HPA that it makes, on the length of a Redis list.

Modelled: KEDA's scale loop, which alone moves 0 <-> 1 (`scale_scaledobjects.go`, `RequestScale`): to 1 at the first poll
that sees work, to 0 from any number once no poll has seen work for the cooldown. Between 1 and many the HPA, every
15 s, as a HorizontalPodAutoscaler without `behavior` does (`replica_calculator.go`, `horizontal.go`): the metric over the
target, rounded up; nothing within 10 %; up at most to the double or to 4 more; down to the highest recommendation of its
window.

What flatters it: the metric is read at the instant of the sync (a real one comes through a metrics server), the HPA's
first sync follows an activation at once, a busy victim may finish what it runs, and nobody else writes `replicas`.
"""

from __future__ import annotations

import math
from collections import deque
from typing import Final

from pool_operator.simulate.policy import Victim, View, Wish

SYNC_SECONDS: Final = 15.0
TOLERANCE: Final = 0.1


class Hpa:
    """What an HPA keeps: its recommendations of the last window."""

    def __init__(self, window_seconds: float) -> None:
        self._window_seconds = window_seconds
        self._recommended: deque[tuple[float, int]] = deque()

    def sync(self, now: float, current: int, metric: float, target: float) -> int:
        """20 jobs, target 1, 2 replicas: 20 is recommended, 6 is wished now (4 more are more than the double).

        Then 5 jobs, target 1, 20 replicas: 5 is recommended, but 20 stay until nothing in the window says more.
        """
        near = abs(metric / (target * current) - 1) <= TOLERANCE
        recommended = current if near else math.ceil(metric / target)
        while self._recommended and self._recommended[0][0] < now - self._window_seconds:
            self._recommended.popleft()
        self._recommended.append((now, recommended))
        if recommended >= current:
            return min(recommended, max(current + 4, 2 * current))
        return min(current, max(replicas for _, replicas in self._recommended))


class Keda:
    """One ScaledObject with one Redis trigger.

    Args:
        jobs_per_replica: `listLength`; None: as many as a replica has slots.
        count_running: the metric is the list and what runs (a second trigger on the registry of running jobs, joined
            by `scalingModifiers.formula`): an expert's KEDA. Else the list alone.
        poll_seconds: `pollingInterval`.
        cooldown_seconds: `cooldownPeriod`.
        window_seconds: the HPA's scale-down stabilisation.
    """

    tick_seconds = 1.0
    victim = Victim.RANDOM
    self_exit = False

    def __init__(
        self,
        name: str,
        *,
        jobs_per_replica: int | None,
        count_running: bool = False,
        poll_seconds: float = 30.0,
        cooldown_seconds: float = 300.0,
        window_seconds: float = 300.0,
    ) -> None:
        self.name = name
        self._jobs_per_replica = jobs_per_replica
        self._count_running = count_running
        self._poll_seconds = poll_seconds
        self._cooldown_seconds = cooldown_seconds
        self._hpa = Hpa(window_seconds)
        self._synced_at = -math.inf
        self._called_at = -math.inf
        self._active_at = -math.inf  # the last poll that saw work
        self._saw_work = False  # at the call before

    def decide(self, view: View) -> Wish:
        metric = view.waiting + (view.busy + view.draining_jobs if self._count_running else 0)
        polls = self._take_in_polls(view.now, active=metric > 0)
        replicas = self._activation(view, metric) if polls else None
        if replicas is None:
            replicas = self._hpa_step(view, metric)
        return Wish(replicas, quiet_until=self._next_act(view, metric, replicas))

    def idle(self, ticks: int) -> None:
        """Nothing here counts ticks."""

    def _take_in_polls(self, now: float, *, active: bool) -> bool:
        """Whether KEDA polls now. Between the call before and this one nothing happened: its polls saw what it saw."""
        before = (math.ceil(now / self._poll_seconds) - 1) * self._poll_seconds
        if self._saw_work and before > self._called_at:
            self._active_at = before
        polls = now % self._poll_seconds == 0
        if polls and active:
            self._active_at = now
        self._called_at, self._saw_work = now, active
        return polls

    def _activation(self, view: View, metric: int) -> int | None:
        """0 <-> 1; None: the HPA's affair."""
        if metric > 0 and view.current == 0:
            return max(1, view.min_replicas)
        cold = view.now - self._active_at > self._cooldown_seconds
        return 0 if metric == 0 and view.current > 0 and view.min_replicas == 0 and cold else None

    def _hpa_step(self, view: View, metric: int) -> int:
        if view.current == 0 or view.now - self._synced_at < SYNC_SECONDS:
            return view.current
        self._synced_at = view.now
        target = self._jobs_per_replica or view.slots
        wanted = self._hpa.sync(view.now, view.current, metric, target)
        return max(1, view.min_replicas, min(view.max_replicas, wanted))

    def _next_act(self, view: View, metric: int, replicas: int) -> float:
        if replicas > 0:
            sync = max(self._synced_at + SYNC_SECONDS, view.now + self.tick_seconds)
            return sync if metric > 0 else min(sync, self._poll_after(self._active_at + self._cooldown_seconds))
        return self._poll_after(view.now) if metric > 0 else math.inf

    def _poll_after(self, time: float) -> float:
        """The first poll later than a time."""
        return (math.floor(time / self._poll_seconds) + 1) * self._poll_seconds if math.isfinite(time) else math.inf


POLICIES: Final = {
    "keda": lambda: Keda("keda", jobs_per_replica=5),
    "keda-t1-poll1": lambda: Keda("keda-t1-poll1", jobs_per_replica=None, poll_seconds=1),
    "keda-inflight": lambda: Keda("keda-inflight", jobs_per_replica=None, poll_seconds=1, count_running=True),
    "keda-inflight-fast": lambda: Keda(
        "keda-inflight-fast",
        jobs_per_replica=None,
        poll_seconds=1,
        count_running=True,
        cooldown_seconds=60,
        window_seconds=60,
    ),
}
"""KEDA's defaults; one job a slot, polled every second; running jobs count too; the same with 60 s instead of 300 s."""
