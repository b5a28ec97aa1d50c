"""The world that policies act in: jobs, queues and replicas in virtual time, nothing else happens by itself.

Jobs come as the trace says and wait in strict priority of their queues, first come first served. Replicas take a cold
start to be ready, then their slots take jobs, the slot that has idled longest first, as blocked clients of Redis are
served. A job that runs is not interrupted. Time is billed from a replica's creation to its exit.

A driver (simulate/ticking.py for peers, simulate/ours.py for us) calls `step` for what happens next, and in between
`start`, `cancel`, `drain` and `leave` as its policy wants it.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from functools import lru_cache
from heapq import heappop, heappush
from typing import Any, Final

from pool_operator.simulate.terms import Terms
from pool_operator.simulate.timeline import Timeline
from pool_operator.simulate.trace import Trace

STARTING, READY, DRAINING, GONE = range(4)
NEVER: Final = math.inf
DRAWS: Final = 4096
TRIES: Final = 4
"""A job that was killed so many times is given up."""


class Job:
    """A run of a job in a slot."""

    __slots__ = ("began", "end", "number", "slot")

    def __init__(self, number: int, slot: int, began: float, end: float) -> None:
        self.number, self.slot, self.began, self.end = number, slot, began, end


class Pod:
    """One replica."""

    __slots__ = ("created", "exited", "free_since", "number", "phase", "ready_at", "running", "seen", "served")

    def __init__(self, number: int, created: float, ready_at: float, slots: int) -> None:
        self.number, self.created, self.ready_at = number, created, ready_at
        self.exited = NEVER
        self.phase = STARTING
        self.served = False
        self.running: dict[int, Job] = {}  # by slot
        self.free_since = [NEVER] * slots  # NEVER: busy, or not ready
        self.seen: Any = None  # what the driver shows of it; taken away when it changes


@lru_cache(maxsize=16)
def cold_starts(seconds: float, spread: float, seed: int) -> tuple[float, ...]:
    """How long the first, second … start takes: the same for every policy, so that none is just luckier."""
    import numpy as np  # comes with the extra `simulate`; only this needs it

    draws: list[float] = np.random.default_rng(seed).normal(0.0, spread, DRAWS).tolist()
    return tuple(seconds * math.exp(one) for one in draws)


class World:
    """All state of one run. Counters are kept as things happen, so that looking costs nothing.

    Args:
        trace: the jobs.
        terms: what is the same for every policy.
        names: the queues, by priority; jobs of the trace without a queue are in the first.
        may_claim: asked before each claim; False leaves the job in its queue until something happens.
    """

    def __init__(
        self, trace: Trace, terms: Terms, *, names: tuple[str, ...] = ("",), may_claim: Callable[[], bool] | None = None
    ) -> None:
        self.now = 0.0
        self.trace = trace
        self.terms = terms
        self.may_claim = may_claim
        self.self_exit = False  # ready replicas without a job end themselves when nothing waits
        self.drained_exit = True  # drained ones end themselves after their last job; False: the driver looks
        self.names = names
        self.queues: list[deque[int]] = [deque() for _ in names]
        self.queue_of = _queue_of(trace, names)
        self.running_of = [0] * len(names)
        self.ready: dict[int, Pod] = {}
        self.starting: dict[int, Pod] = {}
        self.draining: dict[int, Pod] = {}
        self.waiting = self.busy = self.draining_jobs = self.busy_replicas = 0
        self.arrived = self.ended = 0  # since the trace began
        self.ended_seconds = 0.0
        self.job_seconds = 0.0  # waiting and running jobs, integrated over time
        self.began = [-1.0] * trace.jobs  # when the run began that counts
        self.finished = [-1.0] * trace.jobs
        self.all_ended_at = NEVER
        self.gone: list[Pod] = []
        self.pod_starts = self.scale_actions = self.hits = self.kills = self.given_up = self.peak = 0
        self.killed_seconds = 0.0
        self.on_end: Callable[[Job], None] | None = None
        self.timeline = Timeline(trace.arrivals[-1] + trace.services[-1])
        self._tries: dict[int, int] = {}
        self._arrivals = [*trace.arrivals, NEVER]
        self._events: list[tuple[float, int, Pod, Job | None]] = []
        self._order = 0
        self._free: list[tuple[float, int, int, Pod]] = []
        self._cold = cold_starts(terms.cold_start_seconds, terms.cold_start_spread, terms.seed)

    # --- time -----------------------------------------------------------------------------------------------------

    def next_at(self) -> float:
        """When something happens next; NEVER if nothing will."""
        at = self._arrivals[self.arrived]
        return self._events[0][0] if self._events and self._events[0][0] < at else at

    @property
    def in_system(self) -> int:
        return self.waiting + self.busy + self.draining_jobs

    @property
    def pods(self) -> int:
        return len(self.ready) + len(self.starting) + len(self.draining)

    def pass_to(self, now: float) -> None:
        """Let time go by in which nothing happens."""
        if now > self.now:
            running = self.busy + self.draining_jobs
            self.job_seconds += (self.waiting + running) * (now - self.now)
            self.timeline.held(self.now, now, self.pods, running, self.waiting)
            self.now = now

    def step(self) -> None:
        """Everything that happens at the next instant at which something does."""
        now = self.next_at()
        self.pass_to(now)
        idle: list[Pod] = []
        while self._arrivals[self.arrived] <= now:
            self.queues[self.queue_of[self.arrived]].append(self.arrived)
            self.arrived += 1
            self.waiting += 1
        events = self._events
        while events and events[0][0] <= now:
            _, _, pod, job = heappop(events)
            if job is None:
                if pod.phase == STARTING:
                    self._becomes_ready(pod)
                    idle.append(pod)
            elif pod.running.get(job.slot) is job:
                self._ends(pod, job)
                idle.append(pod)
        self.assign()
        if self.self_exit and not self.waiting:
            for pod in idle:
                if pod.phase == READY and not pod.running:
                    self.leave(pod)

    def _becomes_ready(self, pod: Pod) -> None:
        pod.phase = READY
        pod.seen = None
        del self.starting[pod.number]
        self.ready[pod.number] = pod
        for slot in range(len(pod.free_since)):
            self._free_slot(pod, slot)

    def _free_slot(self, pod: Pod, slot: int) -> None:
        pod.free_since[slot] = self.now
        heappush(self._free, (self.now, pod.number, slot, pod))

    def _ends(self, pod: Pod, job: Job) -> None:
        del pod.running[job.slot]
        pod.seen = None
        self.running_of[self.queue_of[job.number]] -= 1
        self._count_end(job.number)
        self.ended_seconds += job.end - job.began
        if pod.phase == READY:
            self.busy -= 1
            if not pod.running:
                self.busy_replicas -= 1
            self._free_slot(pod, job.slot)
        else:
            self.draining_jobs -= 1
            if self.drained_exit and not pod.running:
                self.leave(pod)
        if self.on_end is not None:
            self.on_end(job)

    def _count_end(self, number: int) -> None:
        self.finished[number] = self.now
        self.ended += 1
        if self.ended == self.trace.jobs:
            self.all_ended_at = self.now

    # --- claims ---------------------------------------------------------------------------------------------------

    def assign(self) -> None:
        """Free slots take what waits."""
        free = self._free
        while self.waiting and free:
            since, _, slot, pod = free[0]
            if pod.phase != READY or pod.free_since[slot] != since:  # it has gone, drains, or was taken back in between
                heappop(free)
                continue
            if self.may_claim is not None and not self.may_claim():
                return
            heappop(free)
            self._begin(pod, slot, self._pop())

    def _pop(self) -> int:
        for queue in self.queues:
            if queue:
                return queue.popleft()
        raise AssertionError("counted as waiting, but in no queue")

    def _begin(self, pod: Pod, slot: int, number: int) -> None:
        job = Job(number, slot, self.now, self.now + self.trace.services[number])
        self.waiting -= 1
        self.busy += 1
        self.running_of[self.queue_of[number]] += 1
        if not pod.running:
            self.busy_replicas += 1
        pod.running[slot] = job
        pod.free_since[slot] = NEVER
        pod.served = True
        pod.seen = None
        self.began[number] = self.now
        self._at(job.end, pod, job)

    def _at(self, when: float, pod: Pod, job: Job | None) -> None:
        self._order += 1
        heappush(self._events, (when, self._order, pod, job))

    # --- what policies do -----------------------------------------------------------------------------------------

    def start(self) -> None:
        """Create a replica."""
        cold = self._cold[self.pod_starts % DRAWS]
        pod = Pod(self.pod_starts, self.now, self.now + cold, self.terms.slots)
        self.pod_starts += 1
        self.starting[pod.number] = pod
        self.peak = max(self.peak, len(self.ready) + len(self.starting))
        self._at(pod.ready_at, pod, None)

    def leave(self, pod: Pod) -> None:
        """A replica without a job goes at once: cancelled while it starts, or idle."""
        assert not pod.running, "a replica that runs a job does not go"
        for group in (self.starting, self.ready, self.draining):
            group.pop(pod.number, None)
        pod.phase = GONE
        pod.exited = self.now
        self.gone.append(pod)

    def drain(self, pod: Pod) -> None:
        """A ready replica finishes what it runs and takes nothing new."""
        del self.ready[pod.number]
        self.draining[pod.number] = pod
        pod.phase = DRAINING
        pod.seen = None
        self.busy -= len(pod.running)
        self.draining_jobs += len(pod.running)
        self.busy_replicas -= bool(pod.running)

    def undrain(self, pod: Pod) -> None:
        """A draining replica takes jobs again."""
        del self.draining[pod.number]
        self.ready[pod.number] = pod
        pod.phase = READY
        pod.seen = None
        self.busy += len(pod.running)
        self.draining_jobs -= len(pod.running)
        self.busy_replicas += bool(pod.running)
        for slot in range(len(pod.free_since)):
            if slot not in pod.running:
                self._free_slot(pod, slot)

    def kill(self, pod: Pod, grace_seconds: float) -> None:
        """End a draining replica after its grace: what fits into it finishes, the rest goes back to the queue's head."""
        deadline = self.now + grace_seconds
        for job in [one for one in pod.running.values() if one.end > deadline]:
            del pod.running[job.slot]
            self.draining_jobs -= 1
            self.running_of[self.queue_of[job.number]] -= 1
            self.kills += 1
            self.killed_seconds += deadline - job.began
            tries = self._tries[job.number] = self._tries.get(job.number, 0) + 1
            if tries >= TRIES:
                self.given_up += 1
                self._count_end(job.number)
            else:
                self.queues[self.queue_of[job.number]].appendleft(job.number)
                self.waiting += 1
        if not pod.running:
            self.leave(pod)
            pod.exited = deadline

    def cut(self) -> None:
        """Bill what still exists and end."""
        for pod in (*self.starting.values(), *self.ready.values(), *self.draining.values()):
            pod.phase = GONE
            pod.exited = self.now
            self.gone.append(pod)
        self.starting, self.ready, self.draining = {}, {}, {}


def _queue_of(trace: Trace, names: tuple[str, ...]) -> list[int]:
    """For each job, the place of its queue among the names."""
    if trace.queues is None:
        return [0] * trace.jobs
    place = [names.index(one) for one in trace.queue_names]
    return [place[one] for one in trace.queues]
