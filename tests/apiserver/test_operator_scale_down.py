"""Many scale-downs under changing load, on real controllers: no pod that works is ever ended.

Twice. The whole operator, real Redis, and workers that claim by the contract, with bursts of jobs of very different
lengths. And the backend alone under a reconciler that the test plays, so that work comes back in the worst moments.
Whoever is told to end while it holds a job is a hit.

SCALE_DOWNS=200 asks for so many removals, half of them while others work (`make scale-downs`).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import time

import pytest
from tests.apiserver.backend_harness import harness
from tests.apiserver.operator_process import enqueue, pool_body, until
from tests.apiserver.test_operator_backend import POOL, create

from pool_operator.backends.base import ConflictError, Target

WANTED = int(os.environ.get("SCALE_DOWNS", "0"))
REMOVALS = WANTED or 20
WHILE_OTHERS_WORK = max(30, WANTED // 2)
AT_MOST_SECONDS = 240.0 + 8 * WANTED  # 35 s on an idle machine
pytestmark = pytest.mark.timeout(AT_MOST_SECONDS + 60)
MOST_REPLICAS = 16


class World:
    """Jobs and marks, as Redis would hold them."""

    def __init__(self, h, seed):
        self.h = h
        self.random = random.Random(seed)
        self.busy = set()
        self.marked = set()
        self.seen = set()
        self.ended = set()
        self.removed_while_others_worked = 0
        self.demand = 6

    def observe(self):
        view = self.h.view(POOL)
        now = {one.id for one in view.replicas}
        for uid in (self.seen - now) | set(view.deadlines):
            if uid not in self.ended:
                self.ended.add(uid)
                self.removed_while_others_worked += bool(self.busy)
                assert uid not in self.busy, f"a working pod was ended, the removal number {len(self.ended)}"
        self.seen |= now
        self.busy &= now
        self.marked &= now
        return view

    def jobs(self, view):
        """A job may start wherever there is no mark, also on a pod that our view believes to be going."""
        for one in view.replicas:
            if one.id in self.busy:
                if self.random.random() < 0.2:
                    self.busy.discard(one.id)
            elif one.ready_at is not None and one.id not in self.marked | self.ended and self.random.random() < 0.3:
                self.busy.add(one.id)

    def decide(self, view):
        """Un-mark first, then start; mark idle replicas first, in the backend's order of removal."""
        if self.random.random() < 0.06:
            self.demand = self.random.randint(0, MOST_REPLICAS)
        staying = [one for one in view.replicas if one.phase != "Terminating"]
        open_for_work = [one for one in staying if one.id not in self.marked]
        if len(open_for_work) < self.demand:
            back = [one.id for one in staying if one.id in self.marked][: self.demand - len(open_for_work)]
            self.marked -= set(back)
        else:
            order = sorted(
                open_for_work, key=lambda one: (one.ready_at is not None, one.id in self.busy, one.removal_rank)
            )
            self.marked |= {one.id for one in order[: len(open_for_work) - self.demand]}
        drained = frozenset(self.marked - self.busy)
        replicas = max(self.demand, len(self.busy))
        return Target(replicas=replicas, slots=1, drained=drained, leaving=frozenset(self.marked), idle=frozenset())

    async def tick(self):
        view = self.observe()
        self.jobs(view)
        target = self.decide(view)
        wanted = view.wanted
        with contextlib.suppress(ConflictError):
            applied = await self.h.backend.apply(self.h.pools[POOL], target)
            if applied.wanted < wanted:  # work comes back in this very moment: the worst one
                self.demand = MOST_REPLICAS
                return
        await asyncio.sleep(self.random.choice([0.0, 0.01, 0.05, 0.2]))


def test_pods_go_while_work_comes_back_at_the_worst_moments_and_none_of_them_worked(namespace):
    async def play():
        async with harness(namespace) as h:
            await create(h)
            world = World(h, seed=20)
            end = time.monotonic() + AT_MOST_SECONDS
            while len(world.ended) < REMOVALS:
                assert time.monotonic() < end, f"only {len(world.ended)} removals"
                await world.tick()
            assert world.removed_while_others_worked > REMOVALS / 4
            print(
                f"\nbackend: {len(world.ended)} removed, {world.removed_while_others_worked} while others worked, 0 hits"
            )

    asyncio.run(play())


def short_or_long(dice):
    """Most replicas of a burst are done while some still work."""
    return dice.uniform(0.1, 0.5) if dice.random() < 0.7 else dice.uniform(3.0, 4.5)


def test_the_operator_removes_pods_while_others_work_and_hits_none(it, queue, workers):
    """The next burst comes while some of the last still run, and while replicas are on their way out."""
    dice = random.Random(7)
    workers.draw = short_or_long
    it.start("--poll-seconds", "0.3")  # that a job ended is seen by the poll
    it.apply(pool_body(queue.port, maxReplicas=MOST_REPLICAS))
    it.wait_ready()
    jobs, end = [], time.monotonic() + AT_MOST_SECONDS
    while workers.removed_while_others_worked < WHILE_OTHERS_WORK or workers.removed < WANTED:
        assert time.monotonic() < end, f"only {workers.removed_while_others_worked} removals while others worked"
        jobs += enqueue(queue, dice.randint(MOST_REPLICAS // 2, MOST_REPLICAS))
        left = dice.randint(0, 2)  # the next burst comes while so many jobs are still to do
        until(lambda: len(workers.done) >= len(jobs) - left, what="most jobs done")  # noqa: B023 - called at once
        time.sleep(dice.choice([0, 0.3, 1.2]))
    until(lambda: len(workers.done) == len(jobs) and not it.pods(), what="all done, none left")
    counted = f"{workers.removed} removed, {workers.removed_while_others_worked} while others worked"
    print(f"\noperator: {len(jobs)} jobs, {counted}, {len(workers.hits)} hits")
    assert workers.hits == []
    assert sorted(workers.done) == sorted(jobs)
