"""Runs a peer's policy in the world: on its ticks, by count, with victims chosen as Kubernetes would."""

from __future__ import annotations

import math
import random

from pool_operator.simulate.policy import Peer, Victim, View, Wish
from pool_operator.simulate.terms import Progress
from pool_operator.simulate.world import NEVER, Pod, World

AFTERWARDS_SECONDS = 3600.0
"""Replicas that are still there so long after the last job are billed until then, and the run ends."""


def run_peer(world: World, peer: Peer, progress: Progress | None = None) -> int:
    """From the first tick until every job has ended and every replica is gone; returns the calls of the policy."""
    return _Ticking(world, peer).run(progress)


class _Ticking:
    def __init__(self, world: World, peer: Peer) -> None:
        self._world, self._peer = world, peer
        self._draw = random.Random(world.terms.seed)  # noqa: S311 - a simulation
        self._view = View()
        self._called_at = 0.0
        self._job_seconds = self._ended_seconds = 0.0
        self._arrived = self._ended = 0
        world.self_exit = peer.self_exit
        view, terms = self._view, world.terms
        view.mean_service_seconds = world.trace.mean_service_seconds
        view.slots, view.min_replicas, view.max_replicas = terms.slots, terms.min_replicas, terms.max_replicas
        view.waited_longer_than = self._waited_longer_than
        view.idle_seconds = self._idle_seconds

    def run(self, progress: Progress | None) -> int:
        world = self._world
        calls = 0
        call_at = soonest = 0.0  # the next call; and how soon it may be if something happens before
        while True:
            event_at = world.next_at()
            if world.ended == world.trace.jobs and (
                not world.pods or min(event_at, call_at) > world.all_ended_at + AFTERWARDS_SECONDS
            ):
                break
            if event_at <= call_at:
                world.step()
                if call_at > soonest:  # it wanted to be left alone unless something happens
                    call_at = max(soonest, self._tick_from(event_at))
                continue
            if progress is not None and calls % 4096 == 0:
                progress(world.ended, world.trace.jobs)
            world.pass_to(call_at)
            nothing = not world.in_system and not world.pods and self._arrived == world.arrived
            wish = self._call()
            calls += 1
            self._apply(wish)
            soonest = self._next_tick(wish.rest_until)
            call_at = max(soonest, self._tick_from(wish.quiet_until))
            if nothing and not wish.replicas:
                call_at = soonest = self._leap(soonest)
        if world.pods:
            world.pass_to(max(world.now, world.all_ended_at + AFTERWARDS_SECONDS))
            world.cut()
        return calls

    def _tick_from(self, at: float) -> float:
        """The first tick at or after."""
        tick = self._peer.tick_seconds
        return math.ceil(at / tick - 1e-9) * tick if at < NEVER else NEVER

    def _next_tick(self, rest_until: float) -> float:
        return max(self._world.now + self._peer.tick_seconds, self._tick_from(rest_until))

    def _leap(self, soonest: float) -> float:
        """Nothing exists and nothing is wanted: to the first tick at which there is something to see."""
        event_at = self._world.next_at()
        if event_at == NEVER:
            return soonest
        at = max(soonest, self._tick_from(event_at))
        if skipped := round((at - soonest) / self._peer.tick_seconds):
            self._peer.idle(skipped)
            self._called_at = at - self._peer.tick_seconds
        return at

    # --- looking --------------------------------------------------------------------------------------------------

    def _call(self) -> Wish:
        world, view = self._world, self._view
        now = view.now = world.now
        view.waiting, view.busy, view.draining_jobs = world.waiting, world.busy, world.draining_jobs
        view.ready, view.starting, view.busy_replicas = len(world.ready), len(world.starting), world.busy_replicas
        view.oldest_wait_seconds = now - self._oldest() if world.waiting else 0.0
        view.arrived, self._arrived = world.arrived - self._arrived, world.arrived
        view.ended, self._ended = world.ended - self._ended, world.ended
        view.ended_seconds, self._ended_seconds = world.ended_seconds - self._ended_seconds, world.ended_seconds
        passed = now - self._called_at
        view.mean_in_system = (world.job_seconds - self._job_seconds) / passed if passed > 0 else 0.0
        self._called_at, self._job_seconds = now, world.job_seconds
        return self._peer.decide(view)

    def _oldest(self) -> float:
        arrivals = self._world.trace.arrivals
        return min(arrivals[queue[0]] for queue in self._world.queues if queue)

    def _waited_longer_than(self, seconds: float) -> int:
        world, count = self._world, 0
        for queue in world.queues:
            for number in queue:
                if world.now - world.trace.arrivals[number] <= seconds:
                    break
                count += 1
        return count

    def _idle_seconds(self) -> list[float]:
        now = self._world.now
        return [now - max(pod.free_since) for pod in self._world.ready.values() if not pod.running]

    # --- acting ---------------------------------------------------------------------------------------------------

    def _apply(self, wish: Wish) -> None:
        world = self._world
        excess = len(world.ready) + len(world.starting) - wish.replicas
        if excess < 0:
            world.scale_actions += 1
            for _ in range(-excess):
                world.start()
        elif excess > 0:
            victims = self._victims(excess)
            world.scale_actions += bool(victims)
            for pod in victims:
                self._end(pod)
            if world.waiting:  # a killed job went back to the queue
                world.assign()

    def _victims(self, number: int) -> list[Pod]:
        """Not-ready ones first, the youngest of them, as a ReplicaSet does."""
        world = self._world
        chosen = list(world.starting.values())[-1 : -number - 1 : -1]
        number -= len(chosen)
        if number <= 0:
            return chosen
        if self._peer.victim is Victim.RANDOM:
            return chosen + self._draw.sample(list(world.ready.values()), min(number, len(world.ready)))
        return chosen + [pod for pod in world.ready.values() if not pod.running][:number]

    def _end(self, pod: Pod) -> None:
        world = self._world
        if not pod.running:
            world.leave(pod)
            return
        world.hits += len(pod.running)
        world.drain(pod)
        if world.terms.kill_after_seconds is not None:
            world.kill(pod, world.terms.kill_after_seconds)
