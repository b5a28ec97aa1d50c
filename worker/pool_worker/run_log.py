"""The independent witness: job functions themselves write down that they start and end, beside everything we count.

On with PROCESSINGPOOL_RUN_LOG=1. The demo and the cluster tests compute from it what was lost, doubled or killed: a
start without an end, on a replica that was removed, is a job that scaling killed.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import time
from collections.abc import Iterator

import redis

from pool_contract import keys

_logger = logging.getLogger(__name__)


@contextlib.contextmanager
def recorded(connection: redis.Redis, job_id: str) -> Iterator[None]:
    """Write a start before and an end after, however the job ends; only a killed process leaves no end."""
    if os.environ.get("PROCESSINGPOOL_RUN_LOG") != "1":
        yield
        return
    _write(connection, job_id, event="start")
    outcome = "interrupted"  # released or timed out: by an exception that no job catches
    try:
        yield
        outcome = "finished"
    except Exception:
        outcome = "failed"
        raise
    finally:
        _write(connection, job_id, event="end", outcome=outcome)


def _write(connection: redis.Redis, job_id: str, **what: str) -> None:
    replica = os.environ.get("PROCESSINGPOOL_REPLICA", "")
    entry = {"job": job_id, **what, "at": time.time(), "pid": os.getpid(), "replica": replica}
    prefix = os.environ.get("PROCESSINGPOOL_KEY_PREFIX") or keys.DEFAULT_PREFIX
    try:
        connection.rpush(keys.run_log(prefix), json.dumps(entry))
    except redis.RedisError as error:  # a witness must not change what it watches
        _logger.warning("The run log could not be written", extra={"job": job_id, "error": str(error)})
