"""Random pools in the middle of their life: what they have learned, what they run, and what waits."""

from __future__ import annotations

import random

from tests.pure.engine_builders import NOW, seen, spec

from pool_operator.engine.cold_start import SECONDS as COLD_SECONDS
from pool_operator.engine.growth import keys
from pool_operator.engine.histogram import add
from pool_operator.engine.run_times import learn_run_times
from pool_operator.engine.state import Clocks, ColdStarts, Histogram, Levels, Memory, Traffic
from pool_operator.engine.types import Ended, QueueReading, Reading, Replica, ReplicaPhase, Run

WAIT_VALUES = (0.1, 0.5, 2.0, 4.0, 16.0)


def random_memory(draw: random.Random, now: float = NOW) -> Memory:
    """Run times of one or two kinds, a cold start, traffic, growth in each context that is about, clocks."""
    kinds = [draw.uniform(0.0, 7.0) for _ in range(draw.randint(1, 2))]
    ended = [
        Ended((number, 0), now, draw.lognormvariate(draw.choice(kinds), draw.uniform(0.0, 1.0)))
        for number in range(draw.choice([0, 3, 10, 60]))
    ]
    fast, slow = 10.0 ** draw.uniform(-5, 0), 10.0 ** draw.uniform(-5, 0)
    growth = {}
    for _ in range(draw.randint(0, 6)):
        histogram = Histogram()
        for _ in range(draw.randint(1, 20)):
            histogram = add(histogram, int(draw.expovariate(0.3)), decay=0.999)
        for key in keys(draw.randrange(512)):
            growth[key] = histogram
    cold = 10.0 ** draw.uniform(0.3, 2.3)
    return Memory(
        at=now,
        cursor=(len(ended), 0),
        run_times=learn_run_times(Memory().run_times, ended),
        cold_starts=ColdStarts(
            mean_seconds=cold,
            samples=9,
            seconds=add(Histogram(), COLD_SECONDS.index(cold), decay=0.98),
            ready_until=now,
        ),
        traffic=Traffic(
            at=now,
            fast_per_second=fast,
            slow_per_second=slow,
            in_system=draw.randint(0, 20),
            last_arrival_at=now - draw.expovariate(0.02),
            sampled_at=now,
            growth=growth,
        ),
        levels=Levels(needed=random_clocks(draw, now), idle=random_clocks(draw, now)),
    )


def random_clocks(draw: random.Random, now: float = NOW) -> Clocks:
    times = [draw.choice([now, now - draw.expovariate(0.01)]) for _ in range(draw.randint(0, 6))]
    return Clocks(floor=draw.randint(0, 6), times=tuple(times))


def random_pool(draw: random.Random):
    low = draw.choice([0, 0, 0, 1, 3])
    return spec(
        "jobs",
        min_replicas=low,
        max_replicas=low + draw.choice([0, 3, 10, 50]),
        slots_per_replica=draw.choice([1, 1, 2, 4]),
        wait_value=draw.choice(WAIT_VALUES),
        target_wait_seconds=draw.choice([None, None, 30.0, 600.0]),
    )


def random_observed(draw: random.Random, slots: int, now: float = NOW):
    """Replicas that start, idle, and run; jobs that wait, mostly only where all slots are taken."""
    replicas = []
    for number in range(draw.choice([0, 1, 2, 5, 12])):
        starts = draw.random() < 0.25
        claims = 0 if starts else draw.choice([0, slots, slots, draw.randint(0, slots)])
        age = draw.uniform(0, 60) if starts else draw.uniform(60, 5000)
        replicas.append(
            Replica(
                id=f"r{number}",
                phase=ReplicaPhase.STARTING if starts else ReplicaPhase.READY,
                created_at=now - age,
                ready_at=None if starts else now - age + 1.0,
                slots=slots,
                claims=claims,
                runs=tuple(Run(now - min(age, draw.lognormvariate(4, 2))) for _ in range(claims)),
                drained=draw.random() < 0.1,
                removal_rank=number,
            )
        )
    running = sum(one.claims for one in replicas)
    waiting = draw.choice([0, 0, 1, 3, 20, 200])
    oldest = draw.expovariate(0.02) if waiting else None
    what = Reading(at=now, queues={"jobs": QueueReading(waiting=waiting, running=running, oldest_wait_seconds=oldest)})
    return seen(what, *replicas)
