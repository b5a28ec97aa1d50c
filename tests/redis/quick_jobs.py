"""Job functions for tests of the local backend: on the allow-list as `quick_jobs:*`, imported from this folder."""

from __future__ import annotations

import os
import signal
import time

from rq import get_current_job

from pool_worker.run_log import recorded


def work(seconds):
    """Take a while."""
    job = get_current_job()
    with recorded(job.connection, job.id):
        time.sleep(seconds)
    return "done"


def crash_once(marker):
    """End the whole worker the first time."""
    job = get_current_job()
    with recorded(job.connection, job.id):
        if not os.path.exists(marker):
            open(marker, "w").close()
            os.kill(os.getpid(), signal.SIGKILL)
    return "done"


def fail():
    """Never succeed."""
    raise ValueError("this job never succeeds")


def fail_first():
    """Fails at its first attempt, as RQ counts it."""
    job = get_current_job()
    with recorded(job.connection, job.id):
        if job.connection.incr(f"test:attempts:{job.id}") == 1:
            raise ValueError("at first")
    return "done"
