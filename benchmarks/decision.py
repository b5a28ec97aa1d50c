"""What one decision costs: 1,000 running jobs on 1,000 replicas, and one pass over 1,000 pools of 100 jobs.

The pools have lived for a while: run times, traffic and cold starts are learned, as in a pool of a day.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import replace

from benchmarks.numbers import quantile, row, spread_ms
from pool_operator.engine.decide import decide
from pool_operator.engine.state import Memory
from pool_operator.engine.types import (
    Ended,
    Observed,
    PoolSpec,
    QueueReading,
    QueueSpec,
    Reading,
    Replica,
    ReplicaPhase,
    Run,
)

NOW = 1_800_000_000.0
SEED = 4
ROUNDS = 60
POOLS = 1000
EVENTS = 400


def run() -> list[dict[str, object]]:
    draw = random.Random(SEED)
    spec = PoolSpec(queues=(QueueSpec(name="default"),), min_replicas=0, max_replicas=2000, slots_per_replica=1)
    memory = _lived(spec, draw)
    rows = []
    for words, waiting, running, limit in (
        ("1,000 run, 300 wait, 1,000 replicas", 300, 1000, 1.0),
        ("1,000 run, none waits, 1,000 replicas", 0, 1000, 1.0),
        ("4 run, 2 wait, 4 replicas", 2, 4, None),
    ):
        observed = _observed(waiting, running, draw)
        taken = _timed(lambda observed=observed: decide(spec, observed, memory, NOW + 1.0), ROUNDS * 5)
        p50 = quantile(taken, 0.5) * 1000
        rows.append(
            row(
                f"one decision: {words}",
                spread_ms(taken),
                "" if limit is None else f"p50 <= {limit:g} ms",
                holds=None if limit is None else p50 <= limit,
                samples_ms=[one * 1000 for one in taken],
            )
        )
    pools = [_observed(50, 50, draw) for _ in range(POOLS)]
    memories = [replace(memory) for _ in pools]

    def once() -> None:
        for observed, own in zip(pools, memories, strict=True):
            decide(spec, observed, own, NOW + 1.0)

    taken = _timed(once, ROUNDS // 6)
    p50 = quantile(taken, 0.5) * 1000
    rows.append(
        row(
            f"one pass: {POOLS:,} pools, 50 jobs run and 50 wait in each",
            spread_ms(taken),
            "p50 <= 250 ms",
            holds=p50 <= 250,
            samples_ms=[one * 1000 for one in taken],
        )
    )
    return rows


def _timed(call: Callable[[], object], rounds: int) -> list[float]:
    call()
    taken = []
    for _ in range(rounds):
        began = time.perf_counter()
        call()
        taken.append(time.perf_counter() - began)
    return taken


def _observed(waiting: int, running: int, draw: random.Random, ended: tuple[Ended, ...] = ()) -> Observed:
    replicas = tuple(
        Replica(
            id=f"r{number}",
            phase=ReplicaPhase.READY,
            created_at=NOW - 9000.0,
            ready_at=NOW - 8900.0,
            claims=1,
            runs=(Run(NOW - draw.expovariate(1 / 300)),),
        )
        for number in range(running)
    )
    queue = QueueReading(waiting=waiting, running=running, oldest_wait_seconds=10.0 if waiting else None)
    return Observed(reading=Reading(at=NOW, queues={"default": queue}), replicas=replicas, wanted=running, ended=ended)


def _lived(spec: PoolSpec, draw: random.Random) -> Memory:
    memory, now = Memory(), NOW - EVENTS * 20.0
    for number in range(1, EVENTS):
        now += draw.expovariate(1 / 20)
        done = Ended((number, 0), now, draw.lognormvariate(5, 1))
        seen = _observed(draw.randint(0, 6), 8, draw, (done,))
        _, memory = decide(spec, replace(seen, reading=replace(seen.reading, at=now)), memory, now)
    return replace(memory, at=NOW)
