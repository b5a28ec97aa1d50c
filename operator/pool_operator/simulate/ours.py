"""Runs our engine in the world: the very same `decide`, the same drain rules, events instead of ticks.

As the reconciler does it: an event wakes the pool, a moment later one decision looks at everything afresh (whatever
happened meanwhile is seen by the same decision). Replicas rise at once; only replicas that were marked and hold no job
go, starting ones among them; a marked one that works finishes what it runs, or is un-marked when work returns.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import islice
from typing import Final

from pool_operator.engine.decide import decide
from pool_operator.engine.state import Memory
from pool_operator.engine.types import (
    Decision,
    Ended,
    Observed,
    PoolSpec,
    QueueReading,
    Reading,
    Replica,
    ReplicaPhase,
    Run,
)
from pool_operator.simulate.claims import Claims
from pool_operator.simulate.scheduled import Scheduled
from pool_operator.simulate.terms import Progress, Terms
from pool_operator.simulate.ticking import AFTERWARDS_SECONDS
from pool_operator.simulate.trace import Trace
from pool_operator.simulate.world import DRAINING, NEVER, STARTING, Job, Pod, World

REACTION_SECONDS: Final = 0.05
"""From what happens to the decision on it: the operator's own measured reaction is of this size (docs/measured.md)."""
SOONEST_SECONDS: Final = 0.01
"""The reconciler looks again after this at the earliest."""
HINTED_AT_MOST: Final = 100
PATIENCE_SECONDS: Final = 40 * 86_400.0
"""All jobs have come, and none has run for so long, money for a new month included: what waits, waits for ever."""
UPCOMING_AT_MOST: Final = 64
"""As many jobs of a queue the read script tells of."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ours:
    """The policy `processingpool`.

    Args:
        spec: the pool; its slots and bounds are those of the comparison's terms.
        profile: told in the result; None if the wait value was set by hand.
    """

    spec: PoolSpec
    profile: str | None = None
    name: str = "processingpool"
    reaction_seconds: float = REACTION_SECONDS

    def under(self, terms: Terms) -> Ours:
        """The same pool on the terms of a comparison."""
        spec = replace(
            self.spec,
            slots_per_replica=terms.slots,
            max_slots=terms.slots,
            min_replicas=terms.min_replicas,
            max_replicas=terms.max_replicas,
            learn_slots=False,
        )
        return replace(self, spec=spec)


def run_ours(trace: Trace, ours: Ours, terms: Terms, progress: Progress | None = None) -> tuple[World, int]:
    """From the first job until every job has ended and every replica is gone; returns the calls of `decide`."""
    driver = _Driver(trace, ours.under(terms), terms)
    return driver.world, driver.run(progress)


class _Driver:
    def __init__(self, trace: Trace, ours: Ours, terms: Terms) -> None:
        self._spec, self._reaction = ours.spec, ours.reaction_seconds
        self._epoch = terms.epoch
        self._memory = Memory()
        self._ended: list[Ended] = []
        self._runs = 0  # that have ended
        self._ended_at = trace.arrivals[-1]  # the last one, and never before all jobs have come
        self._claims = Claims(ours.spec) if Claims.needed(ours.spec) else None
        self._names = tuple(queue.name for queue in ours.spec.queues)
        gate = None if self._claims is None else self._may_claim
        self.world = World(trace, terms, names=self._names, may_claim=gate)
        self._scheduled = Scheduled(trace, self.world.queue_of)
        self.world.drained_exit = False
        self.world.on_end = self._on_end

    def run(self, progress: Progress | None) -> int:
        world = self.world
        calls = 0
        decide_at = 0.0
        while True:
            event_at = min(world.next_at(), self._wakes_at())
            if world.ended == world.trace.jobs and (
                not world.pods or min(event_at, decide_at) > world.all_ended_at + AFTERWARDS_SECONDS
            ):
                break
            if event_at == NEVER and decide_at == NEVER:
                break  # nothing can happen any more: what waits, waits for ever
            if event_at <= decide_at:
                self._happen(event_at)
                decide_at = min(decide_at, event_at + self._reaction)
                continue
            world.pass_to(decide_at)
            if progress is not None and calls % 1024 == 0:
                progress(world.ended, world.trace.jobs)
            decision = self._decide()
            calls += 1
            decide_at = NEVER
            if decision.wake_at is not None:
                decide_at = max(decision.wake_at - self._epoch, world.now + SOONEST_SECONDS)
            if self._apply(decision):
                decide_at = min(decide_at, world.now + self._reaction)
            if world.now > self._ended_at + PATIENCE_SECONDS and not world.busy + world.draining_jobs and world.waiting:
                break
        if world.pods:
            if world.all_ended_at < NEVER:
                world.pass_to(max(world.now, world.all_ended_at + AFTERWARDS_SECONDS))
            world.cut()
        return calls

    # --- what happens ---------------------------------------------------------------------------------------------

    def _wakes_at(self) -> float:
        """When a refused claim may be tried again, or a job becomes known ahead of its time."""
        at = self._scheduled.next_at
        return at if self._claims is None else min(at, self._claims.again_at)

    def _happen(self, at: float) -> None:
        world = self.world
        if world.next_at() <= at:
            world.step()
        else:
            world.pass_to(at)
            world.assign()
        self._scheduled.pass_to(at)

    def _may_claim(self) -> bool:
        assert self._claims is not None
        world = self.world
        return self._claims.take(world.now, running=world.busy + world.draining_jobs)

    def _on_end(self, job: Job) -> None:
        world = self.world
        self._runs += 1
        self._ended_at = max(self._ended_at, world.now)
        number = job.number
        self._ended.append(
            Ended(
                id=(int((self._epoch + world.now) * 1000), self._runs),
                at=self._epoch + world.now,
                seconds=job.end - job.began,
                queue=self._names[world.queue_of[number]],
                hint_seconds=world.trace.hints[number] if world.trace.hints else 0.0,
                slots=world.terms.slots,
            )
        )

    # --- deciding -------------------------------------------------------------------------------------------------

    def _decide(self) -> Decision:
        world = self.world
        now = self._epoch + world.now
        pods = (*world.starting.values(), *world.ready.values(), *world.draining.values())
        observed = Observed(
            reading=Reading(
                at=now,
                queues={name: self._queue(place) for place, name in enumerate(self._names)},
                allowance_used=0.0 if self._claims is None else self._claims.used,
            ),
            replicas=tuple([pod.seen or self._show(pod) for pod in pods]),
            wanted=len(pods),
            ended=tuple(self._ended),
        )
        self._ended.clear()
        decision, self._memory = decide(self._spec, observed, self._memory, now)
        return decision

    def _queue(self, place: int) -> QueueReading:
        world = self.world
        queue = world.queues[place]
        known = self._scheduled.of(place, self._epoch)
        hints = world.trace.hints
        told = (hints[number] for number in islice(queue, HINTED_AT_MOST)) if hints else ()
        hinted = [hint for hint in told if hint > 0]
        return QueueReading(
            waiting=len(queue),
            running=world.running_of[place],
            oldest_wait_seconds=world.now - world.trace.arrivals[queue[0]] if queue else None,
            scheduled=len(known),
            next_due_at=known[0] if known else None,
            upcoming=known[:UPCOMING_AT_MOST],
            hinted=len(hinted),
            hinted_seconds=sum(hinted),
        )

    def _show(self, pod: Pod) -> Replica:
        """Built only when something changed."""
        hints, epoch = self.world.trace.hints, self._epoch
        seen = Replica(
            id=str(pod.number),
            phase=ReplicaPhase.STARTING if pod.phase == STARTING else ReplicaPhase.READY,
            created_at=epoch + pod.created,
            ready_at=None if pod.phase == STARTING else epoch + pod.ready_at,
            slots=len(pod.free_since),
            claims=len(pod.running),
            runs=tuple([Run(epoch + job.began, hints[job.number] if hints else 0.0) for job in pod.running.values()]),
            drained=pod.phase == DRAINING,
            removal_rank=-pod.number,  # the youngest first, as a ReplicaSet has it
        )
        pod.seen = seen
        return seen

    # --- acting ---------------------------------------------------------------------------------------------------

    def _apply(self, decision: Decision) -> bool:
        """True: something is different from what the decision saw, so that another one must follow it.

        That replicas were created, or have gone, wakes the product too; it changes nothing but the counting of money, so
        it is left out without a budget: it would make half of all calls.
        """
        world = self.world
        if self._claims is not None:
            self._claims.grant(decision.granted)
        if not decision.acts:
            return False
        began = world.waiting
        current = world.pods
        for name in decision.undrain:
            if (pod := world.draining.get(int(name))) is not None:
                world.undrain(pod)
        for name in decision.drain:
            if (pod := world.ready.get(int(name))) is not None:
                world.drain(pod)
        if decision.replicas > current:
            world.scale_actions += 1
            for _ in range(decision.replicas - current):
                world.start()
        elif decision.replicas < current:
            world.scale_actions += self._lower(decision, current - decision.replicas)
        world.assign()
        return world.waiting < began or (self._spec.budget is not None and world.pods != current)

    def _lower(self, decision: Decision, surplus: int) -> bool:
        """Of those that were marked, the empty ones go, as many as are too many."""
        world = self.world
        marked = [world.starting.get(int(name)) or world.draining.get(int(name)) for name in decision.drain]
        leaving = [pod for pod in marked if pod is not None and not pod.running][:surplus]
        for pod in leaving:
            world.leave(pod)
        return bool(leaving)
