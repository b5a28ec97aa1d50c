"""What is to be run, what has been run already, and running the rest on all cores."""

from __future__ import annotations

import hashlib
import json
import os
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

from benchmarks.policy.fingerprint import fingerprint
from benchmarks.policy.metrics import CLAIRVOYANT, OURS, Row
from pool_operator.engine.types import PoolSpec, QueueSpec
from pool_operator.simulate.clairvoyant import BEST_OF, references
from pool_operator.simulate.generate import generate
from pool_operator.simulate.ours import Ours
from pool_operator.simulate.peers import PEERS
from pool_operator.simulate.result import quantiles
from pool_operator.simulate.run import simulate
from pool_operator.simulate.terms import Terms
from pool_operator.simulate.trace import Trace, load

CACHE = Path("build/bench/policy-cache")
GENERATED = ("podcast", "burst", "transcription-blind")
"""Traces of our own, for a run that is given no others."""
COST = {OURS: 12.0, "kpa": 3.0, CLAIRVOYANT: 1.0}
"""Of one job's simulation, roughly and relatively: for the order and the remaining time. Others: 1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One policy on one trace. `wait_value`: of ours."""

    traces: str  # a folder, or "" for generated ones
    trace: str
    cold_start_seconds: float
    slots: int
    policy: str
    wait_value: float | None = None

    @property
    def weight(self) -> float:
        return trace_of(self.traces, self.trace).jobs * COST.get(self.policy, 1.0)

    @property
    def turn(self) -> tuple[int, bool, float]:
        """One cold start and one number of slots after the other, 60 s and 1 first; in each the long ones first."""
        return self.slots, self.cold_start_seconds != 60, -self.weight

    @property
    def path(self) -> Path:
        """Where its rows are kept: another file when anything that they depend on changes."""
        what = (self.trace, self.cold_start_seconds, self.slots, self.policy, self.wait_value)
        parts = (repr(what), _content(self.traces, self.trace), _sources(self.policy))
        return CACHE / f"{hashlib.sha256(' '.join(parts).encode()).hexdigest()[:32]}.json"

    def run(self) -> list[Row]:
        trace = trace_of(self.traces, self.trace)
        if self.policy == CLAIRVOYANT:
            return _clairvoyant(self, trace)
        policy = _ours(trace, self.wait_value) if self.wait_value is not None else PEERS[self.policy]()
        found = simulate(trace, policy, Terms(cold_start_seconds=self.cold_start_seconds, slots=self.slots)).summary()
        waits = found["wait_seconds"]
        return [
            Row(
                trace=trace.name,
                policy=self.policy,
                wait_value=self.wait_value,
                cold_start_seconds=self.cold_start_seconds,
                slots=self.slots,
                jobs=found["jobs"],
                mean_seconds=waits["mean"],
                p50_seconds=waits["p50"],
                p95_seconds=waits["p95"],
                p99_seconds=waits["p99"],
                gpu_hours=found["gpu_hours"],
                work_gpu_hours=found["work_gpu_hours"],
                pod_starts=found["pod_starts"],
                unused_starts=found["unused_starts"],
                scale_actions=found["scale_actions"],
                jobs_hit=found["jobs_hit"],
            )
        ]


def _ours(trace: Trace, wait_value: float) -> Ours:
    queues = tuple(QueueSpec(name=name) for name in trace.queue_names or ("jobs",))
    return Ours(
        spec=PoolSpec(queues=queues, min_replicas=0, max_replicas=400, slots_per_replica=1, wait_value=wait_value)
    )


def _clairvoyant(task: Task, trace: Trace) -> list[Row]:
    """One row for each schedule; `wait_value` is the longest wait that it allows."""
    rows = []
    longest = (0.0, *map(float, BEST_OF))
    for bound, one in zip(longest, references(trace, task.cold_start_seconds, task.slots), strict=False):
        half, most, nearly = quantiles(one.waits, (0.5, 0.95, 0.99))
        rows.append(
            Row(
                trace=trace.name,
                policy=CLAIRVOYANT,
                wait_value=bound,
                cold_start_seconds=task.cold_start_seconds,
                slots=task.slots,
                jobs=trace.jobs,
                mean_seconds=sum(one.waits) / trace.jobs,
                p50_seconds=half,
                p95_seconds=most,
                p99_seconds=nearly,
                gpu_hours=one.replica_seconds / 3600,
                work_gpu_hours=sum(trace.services) / task.slots / 3600,
                pod_starts=one.starts,
                unused_starts=0,
                scale_actions=0,
                jobs_hit=0,
            )
        )
    return rows


@cache
def trace_of(folder: str, name: str) -> Trace:
    return _folder(folder)[name] if folder else generate(name)


@cache
def _folder(folder: str) -> dict[str, Trace]:
    return {trace.name: trace for trace in load(Path(folder))}


def names_of(folder: str) -> tuple[str, ...]:
    return tuple(_folder(folder)) if folder else GENERATED


@cache
def _content(folder: str, name: str) -> str:
    trace = trace_of(folder, name)
    return hashlib.sha256(repr((trace.arrivals, trace.services, trace.hints, trace.known)).encode()).hexdigest()


@cache
def _sources(policy: str) -> str:
    """Peers and references do not depend on our engine: they are computed once."""
    simulate_ = "pool_operator.simulate"
    if policy == CLAIRVOYANT:
        return fingerprint(f"{simulate_}.clairvoyant")
    if policy == OURS:
        return fingerprint(f"{simulate_}.run")
    made_in = type(PEERS[policy]()).__module__
    return fingerprint(made_in, f"{simulate_}.ticking", f"{simulate_}.result", alone=(f"{simulate_}.run",))


# --- running ----------------------------------------------------------------------------------------------------------


def run_all(tasks: Sequence[Task], processes: int) -> list[Row]:
    """What is not in the cache is run, by turn. Stopped half-way, the next run goes on from there."""
    CACHE.mkdir(parents=True, exist_ok=True)
    left = sorted((task for task in tasks if not task.path.exists()), key=lambda task: task.turn)
    if left:
        print(f"{len(tasks)} runs, {len(tasks) - len(left)} of them are in {CACHE}; {processes} processes", flush=True)
        progress = Progress(sum(task.weight for task in left), len(left))
        with ProcessPoolExecutor(processes) as pool:
            futures = {pool.submit(_keep, task): task for task in left}
            try:
                for future in as_completed(futures):
                    future.result()
                    progress.done(futures[future].weight)
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise
        progress.end()
    return [row for task in tasks for row in _kept(task)]


def _keep(task: Task) -> None:
    """In a process of its own. Written whole or not at all."""
    rows = json.dumps([asdict(row) for row in task.run()])
    path = task.path
    part = path.with_suffix(f".{os.getpid()}")
    part.write_text(rows, encoding="utf-8")
    part.replace(path)


def _kept(task: Task) -> Iterator[Row]:
    yield from (Row(**one) for one in json.loads(task.path.read_text(encoding="utf-8")))


class Progress:
    """One line with the time that is left; on a terminal it is written over, elsewhere twice a minute."""

    def __init__(self, weight: float, runs: int) -> None:
        self._weight, self._runs = weight, runs
        self._done_weight, self._done = 0.0, 0
        self._began = self._told = time.monotonic()
        self._terminal = sys.stdout.isatty()

    def done(self, weight: float) -> None:
        self._done_weight += weight
        self._done += 1
        now = time.monotonic()
        if now - self._told < (0.2 if self._terminal else 30):
            return
        self._told = now
        left = (now - self._began) * (self._weight / self._done_weight - 1)
        line = f"{self._done}/{self._runs} runs, {self._done_weight / self._weight:.0%}, about {left / 60:.0f} min left"
        print(f"\r{line}  " if self._terminal else line, end="" if self._terminal else "\n", flush=True)

    def end(self) -> None:
        minutes = (time.monotonic() - self._began) / 60
        print(f"{chr(13) if self._terminal else ''}{self._runs} runs in {minutes:.1f} min{' ' * 30}", flush=True)
