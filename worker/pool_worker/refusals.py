"""Jobs that a slot ends without running them, and jobs that another run would not help."""

from __future__ import annotations

import logging
from typing import Any

from rq.callbacks import execute_failure_callback

from pool_contract.jobs import JobError
from pool_contract.scripts import Claimed
from pool_worker.admission import RefusedError, admit
from pool_worker.media.errors import MachineError, MediaError
from pool_worker.settings import Settings
from pool_worker.slot_job import SlotJob

log = logging.getLogger(__name__)


class GivenUpError(Exception):
    """The job was lost too often. The text is the sentence for its failure."""


def objection(claimed: Claimed, job: SlotJob, raw: dict[bytes, bytes], settings: Settings) -> Exception | None:
    """Why the claimed job must not run here; None where it may."""
    if claimed.exhausted:
        return GivenUpError(
            f"the job was lost {claimed.losses} times (its worker was killed, ran out of memory or crashed), also while it "
            "ran alone: it is given up; see jobs.maxLosses, and how much memory one job needs"
        )
    try:
        admit(raw, settings.serializer, job.allowed)
    except RefusedError as refusal:
        return refusal
    return None


def tell_failure_callback(
    why: Exception, job: SlotJob, raw: dict[bytes, bytes], settings: Settings, death_penalty: Any
) -> None:
    """As RQ does for an abandoned job; but not for a refused one, whose callbacks are as little trusted as the rest."""
    if not isinstance(why, GivenUpError):
        return
    try:
        admit(raw, settings.serializer, job.allowed)
        execute_failure_callback(job, death_penalty, type(why), why, None)
    except Exception as error:  # noqa: BLE001 - user code, or not allowed: the job fails all the same
        log.warning("job=%s: its failure callback did not run: %r", job.id, error)


def is_hopeless(error: BaseException) -> bool:
    """Whether the job itself is at fault, its payload or its file: it fails at once, whatever retries it has left."""
    return isinstance(error, JobError | MediaError) and not isinstance(error, MachineError)
