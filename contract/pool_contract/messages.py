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


class JobReport(Message):
    """A running job as its slot sees it."""

    job_id: str
    queue: str
    started_at: float = Field(description="unix seconds")
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
