"""A pool that lives through random events, decided on and recorded as a running operator does it."""

from __future__ import annotations

import json
from dataclasses import replace
from random import Random

from pool_contract.messages import RunOutcome
from pool_operator.engine.checkpoint import to_text
from pool_operator.engine.decide import decide
from pool_operator.engine.record import Recording, Step
from pool_operator.engine.state import Memory
from pool_operator.engine.types import (
    Budget,
    Ended,
    Observed,
    PoolSpec,
    QueueReading,
    QueueSpec,
    Reading,
    Replica,
    ReplicaPhase,
    Run,
    Schedule,
    Unknown,
)

START = 1_795_600_000.0  # 2026-11-25 10:26:40 UTC
ABOUT = {"pool": {"namespace": "media", "name": "speech", "uid": "uid-1"}, "fingerprint": "test"}
SPEC = PoolSpec(
    queues=(QueueSpec(name="urgent"), QueueSpec(name="default")),
    min_replicas=0,
    max_replicas=8,
    slots_per_replica=2,
    budget=Budget(price_per_replica_hour=0.36, daily_hard=50.0),
    schedules=(Schedule(name="nights", start="0 1 * * *", duration_seconds=3600.0, time_zone="UTC", min_replicas=1),),
)


class RecordedPool:
    """`run` goes on for so many decisions; `records` has what was written, `steps` what was done."""

    def __init__(self, seed=1, *, spec=SPEC, about=ABOUT, memory=None, start=START, arrivals_per_second=0.01):
        self.random = Random(seed)
        self.spec = spec
        self.now = start
        self.memory = memory or Memory()
        self.recording = Recording(about)
        self.records = []
        self.steps = []
        self.arrivals = []  # (time, queue) of each job
        self.per_second = arrivals_per_second
        self._waiting = {queue.name: [] for queue in spec.queues}
        self._replicas = {}
        self._runs = {}  # replica -> [(queue, since, until, arrived)]
        self._ended = []
        self._number = 0
        self._away_until = 0.0

    def run(self, decisions, *, quiet=0.3, odd=0.02):
        for _ in range(decisions):
            self.now += self.random.choice((0.005, 1.0, 5.0)) if self.random.random() > quiet else 30.0
            self._live()
            if self.random.random() < odd:
                self._odd_event()
            self._decide()
        return self

    def quietly(self, decisions, *, seconds=30.0):
        """Nothing comes, nothing ends; only time passes."""
        for _ in range(decisions):
            self.now += seconds
            self._decide()
        return self

    def flush(self):
        """As the writer does now and then: through JSON."""
        self.records += [json.loads(to_text(record)) for record in self.recording.drain()]
        return self.records

    # --- the world ------------------------------------------------------------------------------------------------

    def _live(self):
        for queue in self._waiting:
            if self.random.random() < min(0.9, self.per_second * 8):
                for _ in range(self.random.choice((1, 1, 2, 7))):
                    self._waiting[queue].append(self.now)
                    self.arrivals.append((self.now, queue))
        for one in list(self._replicas.values()):
            if one.phase is ReplicaPhase.STARTING and self.now - one.created_at > 20:
                self._replicas[one.id] = replace(one, phase=ReplicaPhase.READY, ready_at=self.now)
        self._work()

    def _work(self):
        for name, runs in self._runs.items():
            for run in [run for run in runs if run[2] <= self.now]:
                runs.remove(run)
                self._end(run, RunOutcome.FAILED if self.random.random() < 0.1 else RunOutcome.FINISHED)
            replica = self._replicas[name]
            while (
                replica.phase is ReplicaPhase.READY and not replica.drained and len(runs) < self.spec.slots_per_replica
            ):
                queue = next((queue for queue, jobs in self._waiting.items() if jobs), None)
                if queue is None:
                    break
                arrived = self._waiting[queue].pop(0)
                runs.append((queue, self.now, self.now + self.random.uniform(5, 200), arrived))
            runs_now = tuple(Run(run[1]) for run in runs)
            self._replicas[name] = replace(self._replicas[name], claims=len(runs), runs=runs_now)

    def _end(self, run, outcome):
        self._number += 1
        ended = Ended((int(self.now * 1000), self._number), self.now, self.now - run[1], outcome, run[0])
        self._ended = [*self._ended[-20:], ended]

    def _odd_event(self):
        event = self.random.choice(("away", "spec", "shuffle", "memory", "short"))
        if event == "away":
            self._away_until = self.now + self.random.uniform(5, 120)
        elif event == "spec":
            self.spec = replace(self.spec, max_replicas=self.random.randint(2, 8))
        elif event == "shuffle":
            found = list(self._replicas.items())
            self.random.shuffle(found)
            self._replicas = dict(found)
        elif event == "memory" and self._replicas:
            gone = self.random.choice(list(self._replicas))
            self._replicas.pop(gone)
            for run in self._runs.pop(gone):  # its jobs go back to the heads of their queues
                self._end(run, RunOutcome.LOST)
                self._waiting[run[0]].insert(0, run[3])

    def observed(self):
        reading = Unknown(since=self._away_until - 120, why="Redis is away")
        if self.now >= self._away_until:
            reading = Reading(
                at=self.now - self.random.choice((0.0, 0.002)),
                queues={
                    queue: QueueReading(
                        waiting=len(jobs),
                        running=sum(run[0] == queue for runs in self._runs.values() for run in runs),
                        oldest_wait_seconds=self.now - jobs[0] if jobs else None,
                    )
                    for queue, jobs in self._waiting.items()
                },
            )
        active = sum(one.phase is not ReplicaPhase.TERMINATING for one in self._replicas.values())
        return Observed(
            reading=reading, replicas=tuple(self._replicas.values()), wanted=active, ended=tuple(self._ended)
        )

    def _decide(self):
        before, observed = self.memory, self.observed()
        decision, self.memory = decide(self.spec, observed, before, self.now)
        step = Step(spec=self.spec, observed=observed, before=before, decision=decision, after=self.memory)
        self.recording.take(step)
        self.steps.append(step)
        if self.random.random() < 0.1:
            self.flush()
        self._apply(decision)

    def _apply(self, decision):
        for name in decision.undrain:
            self._replicas[name] = replace(self._replicas[name], drained=False)
        for name in decision.drain:
            if name in self._replicas and not self._runs[name]:
                self._replicas.pop(name)
                self._runs.pop(name)
        while len(self._replicas) < decision.replicas:
            self._number += 1
            name = f"r{self._number}"
            self._replicas[name] = Replica(id=name, phase=ReplicaPhase.STARTING, created_at=self.now, slots=2)
            self._runs[name] = []
