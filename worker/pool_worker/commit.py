"""Write the end of a run through RQ's own handler, until Redis has it or the claim turns out to be somebody else's."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any

from redis import RedisError
from rq.job import Job
from rq.results import Result

from pool_worker.connection import REDIS_TROUBLE, Link, pause_seconds
from pool_worker.errors import ClaimLostError, NotCommittedError
from pool_worker.fence import Fence, FencedRedis
from pool_worker.run import Run, RunPhase

log = logging.getLogger(__name__)


def commit(
    handler: Callable[[], None], *, job: Job, run: Run, redis: FencedRedis, fence: Callable[[], Fence], link: Link
) -> bool:
    """True: recorded, and the claim has ended with it. False: nothing is recorded, and nothing may be any more.

    Redis may be away for long: the finished work waits here, until the process ends. A release does not end it, because
    it cannot be written either; if the process ends first, the lease runs out, and the job runs again as after a loss.
    An exception of the handler that is none of Redis' goes on to the caller, with nothing recorded.
    """
    before = vars(job).copy()
    sent: dict[str, Any] | None = None  # the job as an attempt left it whose answer was lost
    attempt = 0
    while True:
        trial = fence()
        trouble = _try(handler, redis, trial)
        if trial.committed:
            if trouble is not None:  # after the commit: dependents and rate-limit slots, which housekeeping mends
                log.warning("job=%s has ended; its dependents are left to housekeeping: %s", job.id, trouble)
            link.up()
            run.close(RunPhase.ENDED)
            return True
        if trial.unanswered:
            sent = vars(job).copy()
        # RQ counts retries down in the object before it writes
        vars(job).clear()
        vars(job).update(before)
        if isinstance(trouble, ClaimLostError):
            if sent is None:
                log.warning("job=%s ends without a result: %s", job.id, trouble)
                return False
            try:
                return _recorded(sent, job, run, redis)
            except REDIS_TROUBLE as error:
                trouble = error
        if not isinstance(trouble, REDIS_TROUBLE):
            raise trouble or RuntimeError(f"RQ's handler wrote no end for job {job.id}")
        link.down(trouble)
        time.sleep(pause_seconds(attempt))
        attempt += 1


def _recorded(sent: dict[str, Any], job: Job, run: Run, redis: FencedRedis) -> bool:
    """The claim is gone, perhaps by our own transaction whose answer was lost: a result of this execution tells."""
    execution = run.claimed.execution_id.encode()
    key: str = Result.get_key(job.id)  # type: ignore[no-untyped-call]
    results: Any = redis.xrevrange(key)
    if any(fields.get(b"execution_id") == execution for _, fields in results):
        log.info("job=%s has ended; only the answer was lost. Its dependents are left to housekeeping", job.id)
        vars(job).update(sent)
        run.close(RunPhase.ENDED)
        return True
    log.warning(
        "job=%s is not this run's any more: its end was recorded when the connection broke (a retry, or a job that keeps "
        "no result), or somebody else has taken it",
        job.id,
    )
    return False


def _try(handler: Callable[[], None], redis: FencedRedis, fence: Fence) -> BaseException | None:
    try:
        with redis.fenced(fence):
            handler()
    except NotCommittedError as error:
        return error.__cause__ or RedisError("the transaction was not applied")
    except (ClaimLostError, Exception) as error:  # noqa: BLE001 - sorted by the caller
        return error
    return None
