"""Pools, replicas and readings for tests of the engine, with only what a test names."""

from __future__ import annotations

from itertools import count

from pool_operator.engine.state import Memory
from pool_operator.engine.types import (
    Observed,
    PoolSpec,
    QueueReading,
    QueueSpec,
    Reading,
    Replica,
    ReplicaPhase,
    Unknown,
)

NOW = 1_700_000_000.0
FRESH = Memory()
_numbers = count()


def spec(*queues, **changes):
    """`queues`: names; a name that ends with `?` has scaleUp Never."""
    found = tuple(QueueSpec(name=name.rstrip("?"), triggers=not name.endswith("?")) for name in queues or ("jobs",))
    values = {"queues": found, "min_replicas": 0, "max_replicas": 10, "slots_per_replica": 1}
    return PoolSpec(**(values | changes))


def reading(waiting=0, running=0, *, at=NOW, queue="jobs", **others):
    """One queue by keyword (`due=…`); others as `archive={"waiting": 3}`."""
    extra = {
        name: QueueReading(**({"waiting": 0} | values)) for name, values in others.items() if isinstance(values, dict)
    }
    own = {name: value for name, value in others.items() if not isinstance(value, dict)}
    return Reading(at=at, queues={queue: QueueReading(waiting=waiting, running=running, **own), **extra})


def unknown(why="Redis at db:6379/0 does not answer in time", since=NOW - 60):
    return Unknown(since=since, why=why)


def replica(name=None, claims=0, *, phase=ReplicaPhase.READY, **changes):
    values = {
        "id": name or f"r{next(_numbers)}",
        "phase": phase,
        "created_at": NOW - 600,
        "ready_at": NOW - 500 if phase is not ReplicaPhase.STARTING else None,
        "claims": claims,
    }
    return Replica(**(values | changes))


def starting(name=None, **changes):
    return replica(name, phase=ReplicaPhase.STARTING, **changes)


def ending(name=None, claims=0, **changes):
    return replica(name, claims, phase=ReplicaPhase.TERMINATING, **changes)


def seen(what, *replicas, wanted=None, **changes):
    """`wanted` is the number of replicas that are not ending, unless given."""
    active = sum(one.phase is not ReplicaPhase.TERMINATING for one in replicas)
    return Observed(reading=what, replicas=replicas, wanted=active if wanted is None else wanted, **changes)
