"""One thread per replica: renews all leases in one call, keeps the slots visible in RQ, reports.

Redis may be away: jobs go on, and the claims are renewed when it is back, if nobody took them meanwhile.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Final

from redis import Redis

from pool_contract.messages import ReplicaReport
from pool_contract.scripts import Scripts, renew, report
from pool_worker.connection import REDIS_TROUBLE, Link, connect, pause_seconds
from pool_worker.settings import Settings
from pool_worker.slots import Slots

log = logging.getLogger(__name__)
REPORT_GAP_SECONDS: Final = 0.5  # starts and ends of short jobs are reported together
BEATS_KEPT: Final = 3


class Heartbeat(threading.Thread):
    def __init__(self, settings: Settings, link: Link, slots: Slots, describe: Callable[[], ReplicaReport]) -> None:
        super().__init__(name="heartbeat", daemon=True)
        self._settings = settings
        self._link = link
        self._slots = slots
        self._describe = describe
        self._redis = connect(settings, Redis)
        self._scripts = Scripts(self._redis)
        self._changed = threading.Event()
        self.turned_at = time.monotonic()

    def nudge(self) -> None:
        """A job has started or ended, or the phase has changed: report soon."""
        self._changed.set()

    def run(self) -> None:
        beat_at, attempt = time.monotonic(), 0
        while True:
            self.turned_at = time.monotonic()
            try:
                if time.monotonic() >= beat_at:
                    self.beat()
                    beat_at = time.monotonic() + self._settings.heartbeat_seconds
                else:
                    self.report()
            except REDIS_TROUBLE as error:
                self._link.down(error)
                beat_at = time.monotonic() + min(pause_seconds(attempt), self._settings.heartbeat_seconds)
                attempt += 1
                time.sleep(max(0.0, beat_at - time.monotonic()))
                continue
            self._link.up()
            attempt = 0
            time.sleep(min(REPORT_GAP_SECONDS, self._settings.heartbeat_seconds))
            self._changed.wait(max(0.0, beat_at - time.monotonic()))

    def beat(self) -> None:
        """Renew, keep RQ's worker entries alive, report."""
        self._renew()
        workers = self._slots.workers
        ttl = max(60, int(4 * self._settings.heartbeat_seconds))
        pipeline = self._redis.pipeline(transaction=False)
        for worker in workers:
            worker.heartbeat(ttl, pipeline=pipeline)
        replies = pipeline.execute()
        for worker, created in zip(workers, replies[::3], strict=True):
            if created == 1 and worker in self._slots.workers:  # the entry had gone: it is more than its last heartbeat
                worker.enter(pipeline, ttl)
        pipeline.execute()
        self.report()

    def report(self) -> None:
        self._changed.clear()
        call = report(
            self._settings.key_prefix,
            report=self._describe(),
            ttl_seconds=BEATS_KEPT * self._settings.heartbeat_seconds,
        )
        self._scripts.run(call)

    def _renew(self) -> None:
        held = {run: worker for worker in self._slots.workers if (run := worker.run) is not None and run.is_open}
        if not held:
            return
        claims = [(run.claimed.queue, run.claimed.job_id, run.claimed.execution_id) for run in held]
        call = renew(
            self._settings.key_prefix,
            replica=self._settings.replica,
            claims=claims,
            lease_seconds=self._settings.lease_seconds,
        )
        lost = self._scripts.run(call)
        for run, worker in held.items():
            if run.claimed.job_id in lost:
                worker.lose(run)
