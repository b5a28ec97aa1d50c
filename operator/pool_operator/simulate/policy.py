"""What a peer's policy sees and answers. Peers live in simulate/peers/; ours is simulate/ours.py, which decides by events.

Before: simulate/ticking.py fills the view at each tick. After: it starts replicas, or picks victims as Kubernetes would.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from typing import NamedTuple, Protocol


class Victim(StrEnum):
    """Who goes when a policy only says how many."""

    RANDOM = "Random"  # Kubernetes: not-ready replicas first, the youngest of them; then any, busy or not
    IDLE = "Idle"  # not-ready ones likewise; then only ready ones without a job


class Wish(NamedTuple):
    """Replicas that should be there (started or starting, not ending), and how long the policy may be left alone.

    Both times only save calls; leaving them at 0 means to be called at every tick. Being called earlier must not
    change what the policy decides: it says here that it would have done nothing.
    """

    replicas: int
    rest_until: float = 0.0
    """Before this it does nothing, whatever happens: the next call is at the first tick at or after it."""
    quiet_until: float = 0.0
    """Before this it does nothing unless something happens: a job arrives, starts or ends, a replica becomes ready or
    goes. The next call is at the first tick at or after it, or at or after what happens."""


class View:
    """The world at a tick. One object per run, filled anew for each call: keep numbers, not the view."""

    __slots__ = (
        "arrived",
        "busy",
        "busy_replicas",
        "draining_jobs",
        "ended",
        "ended_seconds",
        "idle_seconds",
        "max_replicas",
        "mean_in_system",
        "mean_service_seconds",
        "min_replicas",
        "now",
        "oldest_wait_seconds",
        "ready",
        "slots",
        "starting",
        "waited_longer_than",
        "waiting",
    )

    now: float
    """Seconds since the trace began."""
    waiting: int
    """Jobs in the queue."""
    busy: int
    """Jobs that run on replicas that are not draining."""
    ready: int
    starting: int
    """Replicas of either kind; `ready + starting` is what Kubernetes counts as current."""
    draining_jobs: int
    """Jobs that still run on replicas which were told to go."""
    busy_replicas: int
    """Ready replicas with at least one job."""
    oldest_wait_seconds: float
    arrived: int
    """Jobs since the call before."""
    ended: int
    """Jobs that ended since the call before."""
    ended_seconds: float
    """The sum of their run times."""
    mean_in_system: float
    """Jobs that waited or ran, averaged over the time since the call before."""
    mean_service_seconds: float
    """The trace's true mean run time, for peers that are configured with it."""
    slots: int
    """Jobs that a replica runs at once."""
    min_replicas: int
    max_replicas: int
    waited_longer_than: Callable[[float], int]
    """Jobs in the queue that have waited for more than so many seconds."""
    idle_seconds: Callable[[], list[float]]
    """For each ready replica without a job: seconds since its last slot fell idle."""

    @property
    def current(self) -> int:
        """Replicas that are ready or starting."""
        return self.ready + self.starting


class Peer(Protocol):
    """Another autoscaler's rule. Built anew for each run, so it may keep what it likes in itself."""

    name: str
    tick_seconds: float
    victim: Victim
    self_exit: bool
    """A ready replica without a job ends itself when the queue is empty (`rq worker --burst` in a ScaledJob)."""

    def decide(self, view: View) -> Wish:
        """Called at second 0 and at multiples of `tick_seconds`, after everything else that happens at that instant."""
        ...

    def idle(self, ticks: int) -> None:
        """So many ticks were left out because no job and no replica existed: let windows and counters catch up."""
        ...
