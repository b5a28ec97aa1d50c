"""What the ledger costs: time of a decision that is recorded, and bytes that are kept."""

from __future__ import annotations

import json
import time
from dataclasses import replace

from tests.fakes.pools import pool_object
from tests.pure.engine_builders import NOW, reading, replica, seen, spec
from tests.pure.recorded_pool import ABOUT, RecordedPool

from benchmarks.numbers import quantile, row
from pool_contract import ledger
from pool_operator.engine.checkpoint import to_text
from pool_operator.engine.decide import decide
from pool_operator.engine.record import Recording, Step, read_records
from pool_operator.engine.replay import replay
from pool_operator.engine.state import Memory
from pool_operator.engine.types import Run
from pool_operator.runtime.clock import SystemClock
from pool_operator.runtime.redis_recorder import RedisRecorder

DECISIONS = 2000
FLUSH = 20  # decisions in one write, of a busy pool
QUIET_SECONDS = 30.0  # between two decisions of a pool at rest
FLEET = 1000


def run() -> list[dict[str, object]]:
    return [*_busy(), *_fleet(), *_quiet(), *_replay()]


def _busy() -> list[dict[str, object]]:
    life = RecordedPool(1).run(DECISIONS, quiet=0.0, odd=0.0)
    recorder, pool = RedisRecorder(epoch=lambda _uid: 1, clock=SystemClock()), pool_object("bench")
    told = []
    for step in life.steps:
        began = time.perf_counter()
        recorder.record(pool, None, step)
        told.append(time.perf_counter() - began)
    encoded, size = _written(life.steps)
    return [
        row("a decision waits for its record, p99", f"{quantile(told, 0.99) * 1e6:.1f} µs"),
        row("records of a busy pool of 8 replicas, in their thread", f"{encoded / DECISIONS * 1e6:.0f} µs a decision"),
        row("kept of a busy pool of 8 replicas", f"{size / DECISIONS:.0f} bytes a decision"),
    ]


def _fleet() -> list[dict[str, object]]:
    """One of a thousand replicas ends a job and begins the next between two decisions."""
    replicas = [replica(f"r{number}", 1, runs=(Run(NOW),)) for number in range(FLEET)]
    memory, steps = Memory(), []
    for number in range(100):
        now = NOW + number
        place = number % FLEET
        replicas[place] = replace(replicas[place], runs=(Run(now),))
        observed = seen(reading(500, FLEET, at=now), *replicas)
        decision, after = decide(spec(max_replicas=FLEET), observed, memory, now)
        steps.append(
            Step(spec=spec(max_replicas=FLEET), observed=observed, before=memory, decision=decision, after=after)
        )
        memory = after
    encoded, size = _written(steps[:1])
    more, both = _written(steps)
    return [
        row(f"first record of {FLEET:,} replicas", f"{encoded * 1e3:.1f} ms, {size / 1024:.0f} KiB"),
        row(
            f"each further one of {FLEET:,} replicas",
            f"{(more - encoded) / (len(steps) - 1) * 1e3:.2f} ms, {(both - size) / (len(steps) - 1):.0f} bytes",
        ),
    ]


def _quiet() -> list[dict[str, object]]:
    decisions = int(86400 / QUIET_SECONDS)
    life = RecordedPool(1).quietly(decisions, seconds=QUIET_SECONDS)
    _, size = _written(life.steps, flush=1)
    return [
        row(f"kept of a pool at rest, decided on every {QUIET_SECONDS:g} s", f"{size / 1024:.0f} KiB a day"),
        row("days of rest that fit", f"{ledger.MAX_BYTES / size:.0f}", "35", holds=ledger.MAX_BYTES / size >= 35),
    ]


def _written(steps: list[Step], *, flush: int = FLUSH) -> tuple[float, int]:
    """Seconds to turn steps into chunks, and the chunks' bytes."""
    recording, size = Recording(ABOUT), 0
    began = time.perf_counter()
    for number, step in enumerate(steps, start=1):
        recording.take(step)
        if number % flush == 0 or number == len(steps):
            size += sum(len(chunk.packed) for chunk in ledger.pack(recording.drain()))
    return time.perf_counter() - began, size


def _replay() -> list[dict[str, object]]:
    life = RecordedPool(1).run(DECISIONS)
    records = [json.loads(to_text(record)) for record in life.flush()]
    began = time.perf_counter()
    equal = sum(getattr(one, "equal", False) for one in replay(read_records(records)))
    seconds = time.perf_counter() - began
    return [
        row(
            "decisions replayed bit-equal",
            f"{equal:,} of {DECISIONS:,}",
            f"{DECISIONS:,}",
            holds=equal == DECISIONS,
        ),
        row("replaying one decision", f"{seconds / DECISIONS * 1e6:.0f} µs"),
    ]
