"""One replica of the local backend: a process, and what is known of it."""

from __future__ import annotations

import asyncio
import signal
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from pool_operator.backends.base import PoolObject
from pool_operator.engine.types import Replica, ReplicaPhase


class Cause(StrEnum):
    """Why a process ended."""

    SCALING = "Scaling"
    SHUTDOWN = "Shutdown"
    BY_ITSELF = "ByItself"


@dataclass(slots=True)
class LocalReplica:
    """One process, from its start on; kept after its end for the report."""

    id: str
    pool: PoolObject
    process: asyncio.subprocess.Process
    log: Path
    created_at: float  # unix seconds
    ready_at: float | None = None
    cause: Cause | None = None  # set when we tell it to end, or when it ended
    ended_at: float | None = None

    def shown(self, rank: int) -> Replica:
        """As the engine sees it; `rank` counts from the oldest."""
        phase = ReplicaPhase.STARTING if self.ready_at is None else ReplicaPhase.READY
        return Replica(
            id=self.id,
            phase=phase if self.cause is None else ReplicaPhase.TERMINATING,
            created_at=self.created_at,
            ready_at=self.ready_at,
            # those that cannot work yet go first, of the others the youngest
            removal_rank=-rank if self.ready_at is None else 1_000_000 - rank,
        )


def ending(status: int) -> str:
    """An exit status in words."""
    if status >= 0:
        return f"exit status {status}"
    return f"signal {-status}" + (", out of memory?" if status == -signal.SIGKILL else "")
