"""One claim in a slot's hands, and who may still decide over it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from enum import StrEnum

from pool_contract.scripts import Call, Claimed, release, renew


class RunPhase(StrEnum):
    RUNNING = "Running"  # the job's code may still end in any way
    FINISHING = "Finishing"  # its end is being written; only the fence decides now
    RELEASED = "Released"  # handed back
    LOST = "Lost"  # not ours any more
    ENDED = "Ended"  # its end is written


class Run:
    """Several threads want to end a run: its slot, the heartbeat that learns of a lost claim, a release at a deadline.

    Exactly one of them gets it: all of them start from RUNNING.
    """

    def __init__(self, claimed: Claimed) -> None:
        self.claimed = claimed
        self.started_at = time.time()
        self.peak_memory_bytes: int | None = None
        self.peak_gpu_memory_bytes: int | None = None
        self.out_of_memory = False  # its code ended for want of memory
        self.refused = False  # its code was never started: nothing of it is recorded
        self.progress: Callable[[], float | None] = lambda: None
        self._began = time.monotonic()
        self._lock = threading.Lock()
        self._phase = RunPhase.RUNNING

    @property
    def seconds(self) -> float:
        """Since the claim came."""
        return time.monotonic() - self._began

    @property
    def phase(self) -> RunPhase:
        return self._phase

    @property
    def is_open(self) -> bool:
        """Its lease must be renewed."""
        return self._phase in {RunPhase.RUNNING, RunPhase.FINISHING}

    def begin_finish(self) -> bool:
        """For the slot: from here on nobody takes the run away. False: somebody has."""
        return self._move(RunPhase.FINISHING)

    def take_away(self, phase: RunPhase, interrupt: Callable[[], object]) -> bool:
        """For everybody else. False: it is finishing, or over.

        `interrupt` ends the job's code; under the lock, so that it never hits the slot's next job.
        """
        return self._move(phase, interrupt)

    def interrupt(self, interrupt: Callable[[], object]) -> bool:
        """End the job's code, and let its slot record how it ended."""
        return self._move(RunPhase.RUNNING, interrupt)

    def close(self, phase: RunPhase) -> None:
        """For the slot: how it ended."""
        with self._lock:
            self._phase = phase

    def release_call(self, prefix: str) -> Call[bool]:
        """Hand the job back to the head of its queue, if the claim is still this run's."""
        it = self.claimed
        return release(prefix, queue=it.queue, job_id=it.job_id, execution_id=it.execution_id)

    def renew_call(self, prefix: str, replica: str, lease_seconds: float) -> Call[tuple[str, ...]]:
        """Renew this claim alone; of one that was cancelled or deleted, this removes every trace."""
        it = self.claimed
        claims = [(it.queue, it.job_id, it.execution_id)]
        return renew(prefix, replica=replica, claims=claims, lease_seconds=lease_seconds)

    def _move(self, phase: RunPhase, then: Callable[[], object] | None = None) -> bool:
        with self._lock:
            if self._phase is not RunPhase.RUNNING:
                return False
            self._phase = phase
            if then is not None:
                then()
            return True
