"""Write the end of a run through RQ's own handler, until Redis has it or the claim turns out to be somebody else's."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from rq.job import Job

from pool_worker.connection import REDIS_TROUBLE, Link, pause_seconds
from pool_worker.errors import ClaimLostError, NotCommittedError
from pool_worker.fence import Fence, FencedRedis
from pool_worker.run import Run, RunPhase
from redis import RedisError

log = logging.getLogger(__name__)


def commit(
    handler: Callable[[], None], *, job: Job, run: Run, redis: FencedRedis, fence: Callable[[], Fence], link: Link
) -> bool:
    """True: recorded, and the claim has ended with it. False: nothing is recorded, and nothing may be any more.

    Redis may be away for long: the finished work waits here. Only a release (the process is about to end) stops it.
    An exception of the handler that is none of Redis' goes on to the caller, with nothing recorded.
    """
    before = vars(job).copy()
    attempt = 0
    while run.phase is RunPhase.FINISHING:
        trial = fence()
        trouble = _try(handler, redis, trial)
        if trial.committed:
            if trouble is not None:  # after the commit: dependents and rate-limit slots, which housekeeping mends
                log.warning("job=%s has ended; its dependents are left to housekeeping: %s", job.id, trouble)
            link.up()
            run.close(RunPhase.ENDED)
            return True
        # RQ counts retries down in the object before it writes
        vars(job).clear()
        vars(job).update(before)
        if isinstance(trouble, ClaimLostError):
            log.warning("job=%s ends without a result: %s", job.id, trouble)
            return False
        if not isinstance(trouble, REDIS_TROUBLE):
            raise trouble or RuntimeError(f"RQ's handler wrote no end for job {job.id}")
        link.down(trouble)
        time.sleep(pause_seconds(attempt))
        attempt += 1
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
