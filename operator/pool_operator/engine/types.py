"""The values the engine works on: what a pool wants, what was observed, what is decided.

Pure data. Nothing here knows Kubernetes, Redis or processes. Times are unix seconds unless the name says otherwise.
Changes need an ADR.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, NamedTuple

from pool_contract.messages import RunOutcome
from pool_operator.names import Direction, Limit, Mode, OnExhausted, OnUnknown, Profile, Reason, ThresholdMetric

WAIT_VALUE: Final = {Profile.ECONOMY: 0.1, Profile.BALANCED: 2.0, Profile.FAST: 16.0}
"""What one second of one job's waiting is worth, in replica-seconds: the one knob of the engine (v)."""

# --- what a pool asks for -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueSpec:
    name: str
    triggers: bool = True  # False: scaleUp Never, only fills warm slots
    target_wait_seconds: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Threshold:
    """A condition that must hold without a break before replicas may move in its direction."""

    metric: ThresholdMetric
    direction: Direction
    level: float  # Utilization: percent; Waiting: jobs
    for_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """Another minimum and maximum for a part of the day or week."""

    name: str
    start: str  # cron expression, in the time zone
    duration_seconds: float
    time_zone: str
    min_replicas: int | None = None
    max_replicas: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """Money, in the user's currency. None: no such limit."""

    price_per_replica_hour: float
    daily_soft: float | None = None
    daily_hard: float | None = None
    monthly_soft: float | None = None
    monthly_hard: float | None = None
    time_zone: str = "UTC"
    on_exhausted: OnExhausted = OnExhausted.PAUSE

    @property
    def hard(self) -> bool:
        return self.daily_hard is not None or self.monthly_hard is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class MemorySpace:
    """One kind of memory of a replica: what jobs may use of it, and what one is thought to need."""

    kind: str  # "host" | "gpu"
    usable_bytes: int  # limit less margin
    base_bytes: int
    per_job_bytes: int


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
    wait_value: float = WAIT_VALUE[Profile.BALANCED]
    target_wait_seconds: float | None = None
    thresholds: tuple[Threshold, ...] = ()
    schedules: tuple[Schedule, ...] = ()
    budget: Budget | None = None
    rate_per_minute: float | None = None  # jobs started
    max_concurrent: int | None = None  # jobs at once in the whole pool
    job_timeout_seconds: float = 7200.0
    learn_slots: bool = False
    max_slots: int = 1  # concurrency.maxPerReplica
    memory_spaces: tuple[MemorySpace, ...] = ()
    overflow_after_seconds: float | None = None  # set: this pool helps another one out


# --- what was observed --------------------------------------------------------------------------------------------


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
    upcoming: tuple[float, ...] = ()  # when the next scheduled jobs are due, soonest first; at most 64
    hinted: int = 0  # of the first waiting jobs, those with a size hint
    hinted_seconds: float = 0.0  # their hints' sum: seconds of media


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """All queues of a pool at one instant."""

    at: float
    queues: Mapping[str, QueueReading]
    allowance_used: float = 0.0  # money that claims have ever taken from the pool's allowance


@dataclass(frozen=True, slots=True, kw_only=True)
class Unknown:
    """No trustworthy reading. A value, and not zero."""

    since: float
    why: str


class Run(NamedTuple):
    """A job that a replica runs."""

    since: float
    hint_seconds: float = 0.0  # seconds of media; 0: not given


class Ended(NamedTuple):
    """A run that ended. `id` grows from run to run and is never used twice."""

    id: tuple[int, int]
    at: float
    seconds: float
    outcome: RunOutcome = RunOutcome.FINISHED
    queue: str = ""
    hint_seconds: float = 0.0
    peak_bytes: int = 0  # host memory at its most, of this job alone; 0: not known
    gpu_peak_bytes: int = 0
    slots: int = 1  # slots of its replica at that time


class Blocked(StrEnum):
    """What keeps a starting replica from starting, as the cluster says; how long to believe in it is the engine's part."""

    UNSCHEDULABLE = "Unschedulable"  # nowhere has room: it costs nothing, and a cluster autoscaler may act on it
    FAILING = "Failing"  # it has its place, and cannot start there: image, configuration, crashes


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
    restarted_at: float | None = None  # when it was last started again in its place, after a crash
    slots: int = 1
    claims: int | None = 0  # None: not known (no reading since it appeared)
    runs: tuple[Run, ...] = ()  # of its claims, those whose start is known
    drained: bool = False  # carries a drain mark
    removal_rank: int = 0  # the backend's own order of removal at equal cost; lower goes first
    blocked: Blocked | None = None  # starting, and the cluster says why it does not start
    outdated: bool = False  # runs an older template


@dataclass(frozen=True, slots=True, kw_only=True)
class Primary:
    """What an overflow pool knows of the pool that it helps out."""

    limited_by: Limit | None  # why it has no more replicas
    slots: int  # of its active replicas
    at: float  # when it decided


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """The snapshot that one decision is made from."""

    reading: Reading | Unknown
    replicas: tuple[Replica, ...]
    wanted: int  # replicas asked for now (Deployment spec.replicas / processes meant to run)
    lowering_blocked: str = ""  # why the backend must not lower now (a rollout runs), "" if it may
    capacity_short: str = ""  # the cluster's own words when it gives no more, "" if it does
    refused: bool = False  # replicas that are asked for are not even created (quota, admission)
    ended: tuple[Ended, ...] = ()  # runs that ended lately, oldest first; those up to Memory.cursor are known already
    out_of_memory_at: float | None = None  # when a replica was last killed for memory
    primary: Primary | None = None  # of an overflow pool: the pool it helps out; None: not seen yet
    primary_missing: str = ""  # the sentence that says that there is no such pool, "" if there is


# --- what is decided ----------------------------------------------------------------------------------------------


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
    granted: float | None = None  # Reading.allowance_used up to which claims may go; None: no hard budget
    steps: tuple[tuple[str, int], ...] = ()  # replicas after each part of the engine, in its order: demand, headroom …
    without: tuple[tuple[Limit, int], ...] = ()  # replicas if this limit did not bind, for each that did
    inputs: Mapping[str, float | int | str] = field(default_factory=dict)  # for explain: what went in, with ages
