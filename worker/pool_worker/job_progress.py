"""A job's progress in its RQ meta, for clients that poll: `job.get_meta()["progress"]`, 0..1."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

import redis
from rq.job import Job

SAVE_INTERVAL_SECONDS = 1.0
META_FIELD = "progress"

_logger = logging.getLogger(__name__)


class JobProgress:
    """Called as often as work goes on; saves seldom, and never lets Redis' troubles end the work."""

    def __init__(self, job: Job, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._job = job
        self._monotonic = monotonic
        self._saved_at: float | None = None

    def __call__(self, share: float) -> None:
        self._job.meta[META_FIELD] = round(share, 3)
        now = self._monotonic()
        if share < 1.0 and self._saved_at is not None and now - self._saved_at < SAVE_INTERVAL_SECONDS:
            return
        self._saved_at = now
        try:
            self._job.save_meta()  # type: ignore[no-untyped-call]
        except redis.RedisError as error:
            _logger.warning("Progress could not be saved", extra={"job": self._job.id, "error": str(error)})
