"""Outside a pool there is no operator: workers keep house for their own queues, as RQ's workers do.

Every script is fenced, so that any number of workers may do this at once.
"""

from __future__ import annotations

import logging
import threading
import time
from typing import Final

from redis import Redis

from pool_contract.messages import PoolSettings
from pool_contract.scripts import Scripts, due, ready, reclaim, sweep
from pool_worker.connection import REDIS_TROUBLE, Link, connect
from pool_worker.settings import Settings

log = logging.getLogger(__name__)
DUE_PERIOD_SECONDS: Final = 1.0
QUIET_BEATS: Final = 2
MAX_LOSSES: Final = PoolSettings.model_fields["max_losses"].default


class Housekeeping(threading.Thread):
    """Scheduled jobs every second; lost jobs and leftovers once a heartbeat."""

    def __init__(self, settings: Settings, link: Link) -> None:
        super().__init__(name="housekeeping", daemon=True)
        self._settings = settings
        self._link = link
        self._scripts = Scripts(connect(settings, Redis))
        self._quiet_until = 0.0
        self._reclaim_at = 0.0

    def run(self) -> None:
        # after our start, or after Redis was away, every lease looks expired: their owners renew first
        self._be_quiet()
        while True:
            try:
                self._pass()
            except REDIS_TROUBLE as error:
                self._link.down(error)
                self._be_quiet()
            time.sleep(DUE_PERIOD_SECONDS)

    def _be_quiet(self) -> None:
        self._quiet_until = time.monotonic() + QUIET_BEATS * self._settings.heartbeat_seconds

    def _pass(self) -> None:
        prefix, queues, now = self._settings.key_prefix, self._settings.queues, time.monotonic()
        self._scripts.run(due(prefix, queues=queues))
        self._scripts.run(ready(prefix, queues=queues))
        if now < max(self._quiet_until, self._reclaim_at):
            return
        self._reclaim_at = now + self._settings.heartbeat_seconds
        for lost in self._scripts.run(reclaim(prefix, queues=queues, max_losses=MAX_LOSSES)):
            log.warning(
                "job=%s queue=%s was lost with replica=%s and waits again", lost.job_id, lost.queue, lost.replica
            )
        self._scripts.run(sweep(prefix, queues=queues))
