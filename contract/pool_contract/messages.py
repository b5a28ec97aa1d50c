"""Messages between operator, worker and clients: JSON, versioned, lenient when read.

An unknown field is ignored and a missing one has its default, so that an operator and a worker of neighbouring
versions understand each other; a higher `version` than ours is read as far as it goes.
"""

from __future__ import annotations

from enum import StrEnum

from pydantic import BaseModel, ConfigDict, Field


class Message(BaseModel):
    """Base of all messages."""

    model_config = ConfigDict(frozen=True, extra="ignore")
    version: int = 1


class ReplicaPhase(StrEnum):
    STARTING = "Starting"  # registered, model not loaded yet
    READY = "Ready"
    STOPPING = "Stopping"  # SIGTERM seen: takes nothing new


class RunOutcome(StrEnum):
    """How one run of a job ended."""

    FINISHED = "Finished"
    FAILED = "Failed"
    OUT_OF_MEMORY = "OutOfMemory"  # host or GPU; the job may run again
    LOST = "Lost"  # its lease ended: crash, OOM kill, node loss


class RunRecord(Message):
    """One run that ended, as it stands in the stream of its pool."""

    job: str
    queue: str
    replica: str
    seconds: float = Field(ge=0, allow_inf_nan=False, description="from the claim to the end of the job's code")
    outcome: RunOutcome
    hint: float = Field(default=0.0, ge=0, allow_inf_nan=False, description="seconds of media; 0: not given")
    peak: int = Field(default=0, ge=0, description="bytes of host memory at its most, of this job alone; 0: not known")
    gpu_peak: int = Field(default=0, ge=0, description="the same on the GPU")
    slots: int = Field(default=1, ge=1, description="slots of its replica at that time")


class JobReport(Message):
    """A running job as its slot sees it."""

    job_id: str
    queue: str
    started_at: float = Field(description="unix seconds")
    claimed_at: float | None = Field(default=None, allow_inf_nan=False, description="unix seconds, Redis' clock")
    hint_seconds: float = Field(default=0.0, ge=0, allow_inf_nan=False, description="of media; 0: not given")
    progress: float | None = Field(default=None, description="0..1")
    peak_memory_bytes: int | None = None


class ReplicaReport(Message):
    """What a replica says of itself at each heartbeat."""

    replica: str
    pool: str = Field(description="pool UID")
    incarnation: str
    phase: ReplicaPhase
    at: float = Field(description="unix seconds, the replica's clock; ages are taken from Redis' clock")
    started_at: float
    ready_at: float | None = None
    slots: int = Field(description="slots this replica runs now")
    hostname: str = ""
    worker_version: str = ""
    jobs: tuple[JobReport, ...] = ()
    finished: int = 0
    failed: int = 0
    released: int = 0
    base_memory_bytes: int | None = None
    peak_job_memory_bytes: int | None = None


class DrainOrder(Message):
    """Stop taking jobs; finish what runs. With `release_at`, hand back what still runs at that time (unix seconds)."""

    reason: str
    at: float
    epoch: int
    release_at: float | None = None


class PoolSettings(Message):
    """Live settings of a pool, written by the leader; a worker reads its own pool's."""

    namespace: str
    name: str
    queues: tuple[str, ...]
    slots: int = Field(default=1, ge=1, le=256)  # bounded: a worker starts as many threads as stand in Redis
    job_timeout_seconds: int = Field(default=7200, ge=1)
    max_retries: int = 3
    max_losses: int = 2
    deleted: bool = False
    rate_per_minute: int | None = Field(default=None, ge=1, description="at most so many jobs start in any 60 seconds")
    max_concurrent: int | None = Field(default=None, ge=1, description="jobs at once in the whole pool")
    commitment: float = Field(
        default=0.0, ge=0, allow_inf_nan=False, description="money that a claim takes from the grant; 0: no hard budget"
    )
