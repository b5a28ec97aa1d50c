"""The values the engine works on: what a pool wants, what was observed, what is decided.

Pure data. Nothing here knows Kubernetes, Redis or processes. Times are unix seconds unless the name says otherwise.
Changes need an ADR.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from pool_operator.names import Limit, Mode, OnUnknown, Reason


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueSpec:
    name: str
    triggers: bool = True  # False: scaleUp Never, only fills warm slots


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolSpec:
    """What a pool asks for, as far as deciding needs it."""

    queues: tuple[QueueSpec, ...]
    min_replicas: int
    max_replicas: int
    slots_per_replica: int  # already computed from memory (engine/memory.py)
    mode: Mode = Mode.ACTIVE
    on_unknown: OnUnknown = OnUnknown.HOLD
    scale_down_window_seconds: float = 0.0
    deleted: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueReading:
    """One queue, seen at `Reading.at`."""

    waiting: int
    running: int = 0
    expired: int = 0  # leases past their end: will have to run again
    intermediate: int = 0
    due: int = 0
    next_due_at: float | None = None
    oldest_wait_seconds: float | None = None
    scheduled: int = 0
    deferred: int = 0  # told, not decided on
    failed: int = 0  # told, not decided on


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """All queues of a pool at one instant."""

    at: float
    queues: Mapping[str, QueueReading]


@dataclass(frozen=True, slots=True, kw_only=True)
class Unknown:
    """No trustworthy reading. A value, and not zero."""

    since: float
    why: str


class ReplicaPhase(StrEnum):
    STARTING = "Starting"  # created; cannot claim yet
    READY = "Ready"
    TERMINATING = "Terminating"  # told to end; still holds what it runs


@dataclass(frozen=True, slots=True, kw_only=True)
class Replica:
    """One worker: a pod or a process."""

    id: str
    phase: ReplicaPhase
    created_at: float
    ready_at: float | None = None
    slots: int = 1
    claims: int | None = 0  # None: not known (no reading since it appeared)
    drained: bool = False  # carries a drain mark
    removal_rank: int = 0  # the backend's own order of removal at equal cost; lower goes first
    stuck: bool = False  # starting for too long, or cannot be scheduled: not capacity
    outdated: bool = False  # runs an older template


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """The snapshot that one decision is made from."""

    reading: Reading | Unknown
    replicas: tuple[Replica, ...]
    wanted: int  # replicas asked for now (Deployment spec.replicas / processes meant to run)
    lowering_blocked: str = ""  # why the backend must not lower now (a rollout runs), "" if it may
    capacity_short: str = ""  # the cluster's own words when it gives no more, "" if it does


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """What one decision hands to the next. Survives as part of the ledger's checkpoint."""

    proposals: tuple[tuple[float, int], ...] = ()  # (time, replicas wished): the scale-down window
    unknown_since: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """Replicas and slots wanted, with reason, sentence and the limit that bound.

    `replicas` is the target. Going up it is acted on at once; going down only replicas in `drain` that have proved
    empty may go, so the applied number approaches it from above.
    """

    at: float
    replicas: int
    slots: int
    reason: Reason
    message: str
    limited_by: Limit | None = None
    demand_slots: int | None = None  # None when the reading is unknown
    wish: int | None = None  # replicas before limits
    drain: tuple[str, ...] = ()  # replica ids to mark (already marked ones included)
    undrain: tuple[str, ...] = ()
    wake_at: float | None = None  # decide again then, even if nothing happens
    acts: bool = True  # False: DryRun or Paused; nothing is changed but marks of ours taken away
    inputs: Mapping[str, float | int | str] = field(default_factory=dict)  # for explain: what went in, with ages
