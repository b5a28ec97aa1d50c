"""Functions that these tests enqueue; imported by worker processes only. Each writes its start and end to the run log."""

from __future__ import annotations

import time

from rq import get_current_job

from pool_worker import run_log


def work(seconds):
    """Takes so long, in steps short enough to be interrupted."""
    job = get_current_job()
    with run_log.recorded(job.connection, job.id):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            time.sleep(0.02)
    return job.id


def work_at_the_second_attempt(seconds):
    """Fails once; RQ's retry brings it back."""
    job = get_current_job()
    if job.connection.incr(f"test:attempts:{job.id}") == 1:
        raise ValueError("at first")
    return work(seconds)


def hold_memory(megabytes, name):
    """Fills so much memory, says so, and keeps it until the test sets the key `name`."""
    job = get_current_job()
    with run_log.recorded(job.connection, job.id):
        held = b"\1" * (megabytes << 20)
        job.connection.incr("test:holding")
        while not job.connection.exists(name):
            time.sleep(0.02)
        job.connection.decr("test:holding")
    return len(held)
