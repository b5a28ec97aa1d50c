"""A replica from its first moment to its last: register, load, run, stop.

Everything that happens to a replica comes to its main thread as an event: signals (their handler only puts one there),
slots that are stuck, a newer process under the same name, the parent's death. The main thread never computes and never
waits for Redis without a limit, so that a signal is always seen.
"""

from __future__ import annotations

import logging
import math
import os
import threading
import time
from queue import Empty
from typing import Final

from redis import Redis

from pool_contract.messages import DrainOrder
from pool_contract.scripts import Scripts
from pool_worker import control
from pool_worker.connection import REDIS_TROUBLE, connect, pause_seconds
from pool_worker.control import Orders
from pool_worker.events import Event, Inbox
from pool_worker.replica import Replica
from pool_worker.run import RunPhase
from pool_worker.settings import Settings

log = logging.getLogger(__name__)
CONTROL_PERIOD_SECONDS: Final = 1.0
STOPPING_PERIOD_SECONDS: Final = 0.05
SECOND_SIGNAL_SECONDS: Final = 1.0
"""A second signal this soon is the same one, sent by a terminal and by a parent."""
CALL_TIMEOUT_SECONDS: Final = 2.0  # a signal waits so long at most
REFUSED_SECONDS: Final = 30.0
UNREGISTER_SECONDS: Final = 2.0


class Lifecycle:
    """Runs one replica in the main thread; `run` returns the exit status, with all that is ours handed back."""

    def __init__(self, replica: Replica, inbox: Inbox) -> None:
        self._replica = replica
        self._settings = replica.settings
        self._inbox = inbox
        self._redis = connect(self._settings, Redis, CALL_TIMEOUT_SECONDS)
        self._drain: DrainOrder | None = None
        self._control_at = 0.0
        self._stop_at: float | None = None  # when the first signal came
        self._release_now = False

    def run(self) -> int:
        """Until something ends it."""
        status: int | None = None
        while status is None:
            self._watch()
            status = self._next_event(self._poll_seconds())
        if status == 0 and not self._release_now:
            self._finish_what_runs()
        return self._leave(status)

    # --- events -------------------------------------------------------------------------------------------------------

    def _poll_seconds(self) -> float:
        return max(0.0, min(CONTROL_PERIOD_SECONDS, self._control_at - time.monotonic()))

    def _next_event(self, timeout_seconds: float) -> int | None:
        """The exit status that the next event asks for, if one comes and asks."""
        try:
            event, text = self._inbox.get(timeout=timeout_seconds) if timeout_seconds > 0 else self._inbox.get_nowait()
        except Empty:
            return None
        if event is Event.DONE:
            log.info("the queues are empty: done")
            return 0
        if event is Event.SIGNAL:
            self._stop_at = time.monotonic()
            log.info("%s: no new jobs; %d running have %.0f s", text, len(self._replica.slots.runs), self._left())
            return 0
        log.error("%s", text)
        if event is Event.FAILED:
            return 2
        self._release_now = True
        return 1

    def _watch(self) -> None:
        """Once a second: orders from Redis, the parent, memory."""
        if time.monotonic() < self._control_at:
            return
        self._control_at = time.monotonic() + CONTROL_PERIOD_SECONDS
        if is_orphan(self._settings):
            self._release_now = True
            self._inbox.put((Event.SIGNAL, "the parent process has ended"))
        self._replica.meter.sample(self._replica.slots.runs)
        self._replica.observe(self._orders())
        if (
            self._drain is not None
            and self._drain.release_at is not None
            and self._left() == 0
            and self._replica.slots.runs
        ):
            self._hand_back(time.monotonic() + self._settings.stop_margin_seconds)
        refused = self._replica.link.refused_since
        if refused is not None and time.monotonic() - refused > REFUSED_SECONDS and not self._replica.slots.runs:
            self._inbox.put((Event.STALE, f"{self._replica.link.trouble}; ending, so that a restart reads them anew"))

    def _orders(self) -> Orders | None:
        try:
            orders = control.read(self._redis, self._settings)
        except REDIS_TROUBLE as error:
            self._replica.link.down(error)
            return None
        self._drain = orders.drain
        return orders

    # --- the end ------------------------------------------------------------------------------------------------------

    def _left(self) -> float:
        """Seconds until what still runs is handed back; without a signal or a deadline, for ever."""
        left = math.inf
        if self._stop_at is not None:
            left = self._stop_at + self._settings.grace_seconds - self._settings.stop_margin_seconds - time.monotonic()
        if self._drain is not None and self._drain.release_at is not None:
            left = min(left, self._drain.release_at - self._settings.stop_margin_seconds - time.time())
        return max(0.0, left)

    def _finish_what_runs(self) -> None:
        if self._stop_at is None:
            self._stop_at = time.monotonic()
        self._replica.stop()
        while not self._replica.slots.is_idle and self._left() > 0 and not self._release_now:
            self._watch()
            try:
                event, text = self._inbox.get(timeout=STOPPING_PERIOD_SECONDS)
            except Empty:
                continue
            if event is Event.DONE:
                continue
            again = time.monotonic() - self._stop_at > SECOND_SIGNAL_SECONDS
            if again or event is not Event.SIGNAL:
                log.warning("%s: running jobs are handed back now", text)
                self._release_now = True

    def _leave(self, status: int) -> int:
        self._replica.stop()
        end = time.monotonic() + self._settings.stop_margin_seconds
        self._hand_back(end)
        while not self._replica.slots.is_idle and time.monotonic() < end:  # what was finishing, and RQ's worker entries
            time.sleep(STOPPING_PERIOD_SECONDS)
        for run in self._replica.slots.runs:
            if run.phase is RunPhase.FINISHING:
                log.error("job=%s has ended, which Redis did not take: it runs again", run.claimed.job_id)
        self._report_end(min(end, time.monotonic() + UNREGISTER_SECONDS))
        return status

    def _hand_back(self, end: float) -> None:
        """To the head of their queues, fenced, no retry used. What Redis does not take before the end, its lease returns."""
        scripts, attempt = Scripts(self._redis), 0
        runs = self._replica.slots.take_away()
        while runs and time.monotonic() < end:
            try:
                if scripts.run(runs[0].release_call(self._settings.key_prefix)):
                    log.warning("job=%s is handed back to the head of its queue", runs[0].claimed.job_id)
            except REDIS_TROUBLE as error:
                self._replica.link.down(error)
                time.sleep(pause_seconds(attempt))
                attempt += 1
            else:
                runs.pop(0)
        for run in runs:
            log.error("job=%s could not be handed back, Redis is away: it waits for its lease", run.claimed.job_id)

    def _report_end(self, end: float) -> None:
        """A last report, so that the operator sees no claims and the phase; in a thread, since Redis may hang."""
        thread = threading.Thread(target=self._replica.last_report, name="last-report", daemon=True)
        thread.start()
        thread.join(max(0.0, end - time.monotonic()))


def is_orphan(settings: Settings) -> bool:
    """Whether the process that we must not outlive has ended."""
    return settings.parent_pid is not None and os.getppid() != settings.parent_pid
