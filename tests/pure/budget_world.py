"""A small world with money: replicas, jobs and claims that keep the allowance protocol, run by `decide` itself.

What it counts is the truth: every replica from its creation until it is gone. Time steps are as short as things happen.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from itertools import cycle

from pool_operator.engine.checkpoint import memory_text, read_memory
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

GRANT_EXPIRES_SECONDS = 60.0


@dataclass(slots=True)
class Worker:
    id: str
    created_at: float
    ready_at: float
    runs: list[tuple[float, float]] = field(default_factory=list)  # since, until
    drained: bool = False
    gone_at: float | None = None


@dataclass(slots=True)
class World:
    spec: PoolSpec
    now: float
    arrivals: list[float]
    run_seconds: list[float]  # taken in turn
    cold_seconds: float = 30.0
    exit_seconds: float = 10.0
    away: list[tuple[float, float]] = field(default_factory=list)  # (from, until): no operator decides
    resync_seconds: float = 15.0
    waiting: list[float] = field(default_factory=list)
    workers: list[Worker] = field(default_factory=list)
    memory: Memory = field(default_factory=Memory)
    used: float = 0.0
    granted: float | None = None
    granted_at: float = -math.inf
    decision: Decision | None = None
    decisions: int = 0
    done: int = 0
    paid: dict[str, float] = field(default_factory=dict)  # by day and by month (UTC)
    ended: list[Ended] = field(default_factory=list)
    _changed: bool = True

    def run(self, until: float) -> None:
        runs = cycle(self.run_seconds)
        due, absent = self.now, False
        while self.now < until:
            self._settle(runs)
            if not self._operator():
                absent = True
            elif absent:
                absent, due = False, self.now
                self.restart()
            if not absent and (self.now >= due or self._changed):
                self._decide()
                assert self.decision is not None
                due = min(self.decision.wake_at or math.inf, self.now + self.resync_seconds)
                self._settle(runs)
            self._advance(min(self._next(due), until))

    def _operator(self) -> bool:
        return not any(start <= self.now < end for start, end in self.away)

    def _next(self, due: float) -> float:
        times = [due, *self.arrivals[:1]]
        times += [end for span in self.away for end in span]
        for one in self.workers:
            times += [one.ready_at, *(until for _, until in one.runs)]
            times += [] if one.gone_at is None else [one.gone_at]
        later = [at for at in times if at > self.now]
        return min(later, default=self.now + self.resync_seconds)

    def _advance(self, to: float) -> None:
        rate = self.spec.budget.price_per_replica_hour / 3600.0
        while self.now < to:
            midnight = (math.floor(self.now / 86400.0) + 1) * 86400.0
            end = min(to, midnight)
            day = datetime.fromtimestamp(self.now, UTC).strftime("%Y-%m-%d")
            for name in (day, day[:7]):
                self.paid[name] = self.paid.get(name, 0.0) + rate * len(self.workers) * (end - self.now)
            self.now = end

    def _settle(self, runs) -> None:
        """Everything that happens at this instant."""
        self._changed = self.decisions == 0
        while self.arrivals and self.arrivals[0] <= self.now:
            self.waiting.append(self.arrivals.pop(0))
            self._changed = True
        for one in self.workers:
            for run in [run for run in one.runs if run[1] <= self.now]:
                one.runs.remove(run)
                self.done += 1
                self.ended.append(Ended(id=(self.done, 0), at=self.now, seconds=run[1] - run[0]))
                self._changed = True
            self._changed = self._changed or one.ready_at == self.now
        before = len(self.workers)
        self.workers = [one for one in self.workers if one.gone_at is None or one.gone_at > self.now]
        self._changed = self._changed or len(self.workers) != before
        for one in self.workers:
            while self._may_claim(one):
                self.used += self._commitment
                self.waiting.pop(0)
                one.runs.append((self.now, self.now + next(runs)))
                self._changed = True

    @property
    def _commitment(self) -> float:
        return self.spec.budget.price_per_replica_hour * self.spec.job_timeout_seconds / 3600.0

    def _may_claim(self, one: Worker) -> bool:
        slot = one.ready_at <= self.now and one.gone_at is None and not one.drained
        if not slot or len(one.runs) >= self.spec.slots_per_replica or not self.waiting:
            return False
        if not self.spec.budget.hard:
            return True
        fresh = self.granted is not None and self.now - self.granted_at < GRANT_EXPIRES_SECONDS
        return fresh and self.used + self._commitment <= self.granted + 1e-9

    def restart(self) -> None:
        """A new operator: it has what was written down at the last change of replicas, and nothing else."""
        self.memory = read_memory(memory_text(replace(Memory(), spend=self.memory.spend)))

    def _decide(self) -> None:
        active = [one for one in self.workers if one.gone_at is None]
        running = sum(len(one.runs) for one in self.workers)
        oldest = self.now - self.waiting[0] if self.waiting else None
        queue = QueueReading(waiting=len(self.waiting), running=running, oldest_wait_seconds=oldest)
        observed = Observed(
            reading=Reading(at=self.now, queues={"jobs": queue}, allowance_used=self.used),
            replicas=tuple(self._replica(one, rank) for rank, one in enumerate(self.workers)),
            wanted=len(active),
            ended=tuple(self.ended[-200:]),
        )
        self.decision, self.memory = decide(self.spec, observed, self.memory, self.now)
        self.decisions += 1
        self.granted, self.granted_at = self.decision.granted, self.now
        for one in active:
            one.drained = (one.drained or one.id in self.decision.drain) and one.id not in self.decision.undrain
        for number in range(len(active), self.decision.replicas):
            name = f"w{self.decisions}-{number}"
            self.workers.append(Worker(id=name, created_at=self.now, ready_at=self.now + self.cold_seconds))
        for one in active:
            if (
                one.drained
                and not one.runs
                and len([w for w in self.workers if w.gone_at is None]) > self.decision.replicas
            ):
                one.gone_at = self.now + self.exit_seconds

    def _replica(self, one: Worker, rank: int) -> Replica:
        phase = ReplicaPhase.STARTING if one.ready_at > self.now else ReplicaPhase.READY
        return Replica(
            id=one.id,
            phase=ReplicaPhase.TERMINATING if one.gone_at is not None else phase,
            created_at=one.created_at,
            ready_at=one.ready_at if one.ready_at <= self.now else None,
            slots=self.spec.slots_per_replica,
            claims=len(one.runs),
            runs=tuple(Run(since) for since, _ in one.runs),
            drained=one.drained,
            removal_rank=rank,
        )
