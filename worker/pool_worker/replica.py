"""One worker process: its slots, its threads, and what it says of itself."""

from __future__ import annotations

import logging
import random
import socket
import threading
import time
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import Any
from uuid import uuid4

from redis import Redis

from pool_contract.messages import JobReport, PoolSettings, ReplicaPhase, ReplicaReport
from pool_contract.scripts import Scripts, register, report
from pool_worker import memory
from pool_worker.admission import AllowList
from pool_worker.bell import Bell
from pool_worker.connection import REDIS_TROUBLE, Link, connect, connect_patiently, place
from pool_worker.control import Orders
from pool_worker.events import Event, Inbox
from pool_worker.health import health_document
from pool_worker.heartbeat import BEATS_KEPT, Heartbeat
from pool_worker.housekeeping import Housekeeping
from pool_worker.interrupts import Watchdog
from pool_worker.listener import Listener
from pool_worker.meter import Meter
from pool_worker.run import Run
from pool_worker.settings import Settings
from pool_worker.slot_job import SlotJob
from pool_worker.slots import Slots
from pool_worker.surroundings import Surroundings

log = logging.getLogger(__name__)
DEAD_BEATS = 5
SAMPLE_GAP_SECONDS = 0.2  # thousands of tiny jobs are not measured one by one


class Replica:
    """Builds everything, connects to nothing: `register` and `begin` do.

    Args:
        inbox: where what ends a replica is put.
    """

    def __init__(self, settings: Settings, inbox: Inbox) -> None:
        self.settings = settings
        self.link = Link(place(settings))
        self.meter = Meter(settings.queues)
        self.incarnation = uuid4().hex
        self.phase = ReplicaPhase.STARTING
        self._inbox = inbox
        self._started_at, self._started = time.time(), time.monotonic()
        self._ready_at: float | None = None
        self._pool: PoolSettings | None = None
        self._waiting = 0
        self._bell = Bell()
        self._watchdog = Watchdog()
        self.slots = Slots(
            name=f"{socket.gethostname()}.{self.incarnation[:8]}",
            incarnation=self.incarnation,
            around=self._surroundings(),
            bell=self._bell,
            job_connection=connect_patiently(settings),
            stale=self._stale,
            empty=self._empty,
        )
        self._heartbeat = Heartbeat(settings, self.link, self.slots, self.describe)

    def _surroundings(self) -> Surroundings:
        return Surroundings(
            settings=self.settings,
            link=self.link,
            watchdog=self._watchdog,
            allowed=AllowList(self.settings.allow),
            timeout_cap=lambda: float(self.timeout_cap_seconds),
            commitment=lambda: self._pool.commitment if self._pool else 0.0,
            slots=lambda: self.slots.count,
            stuck=self._stuck,
            started=lambda: self._heartbeat.nudge(),  # noqa: PLW0108 - built later
            measure=lambda: self.meter.sample(self.slots.runs, at_least_seconds=SAMPLE_GAP_SECONDS),
            ended=self._ended,
        )

    # --- the way up ---------------------------------------------------------------------------------------------------

    def register(self, redis: Redis) -> None:
        """Become this replica: what an older process of it still held goes back to its queue at once."""
        call = register(
            self.settings.key_prefix,
            pool=self.settings.pool_uid,
            replica=self.settings.replica,
            incarnation=self.incarnation,
            max_losses=self._pool.max_losses if self._pool else PoolSettings.model_fields["max_losses"].default,
        )
        for lost in Scripts(redis).run(call):
            log.warning(
                "job=%s queue=%s was held by an earlier process of this replica and waits again",
                lost.job_id,
                lost.queue,
            )

    def report_from_now_on(self) -> None:
        self._heartbeat.start()

    def begin(self) -> None:
        """The model is loaded, or none is needed: take jobs."""
        if self.phase is ReplicaPhase.STOPPING:  # a signal came while the model was loading
            return
        self.meter.idle_base()
        self._ready_at = time.time()
        self.phase = ReplicaPhase.READY
        self._watchdog.start()
        self.slots.resize(self.target_slots)
        threading.Thread(target=self._poll, name="poller", daemon=True).start()
        Listener(self.settings, self.link, self._bell, lambda: self.slots.workers).start()
        if self.settings.standalone:
            Housekeeping(self.settings, self.link).start()
        self._heartbeat.nudge()

    def _poll(self) -> None:
        """Behind the push: a waiting job is seen within one period."""
        while True:
            # below the period, so that the claim fits in, too; drawn, so that replicas do not ask in step
            time.sleep(self.settings.poll_seconds * random.uniform(0.7, 0.9))  # noqa: S311 - no secret
            if self._bell.waiting:
                self._bell.ring()

    # --- while it runs ------------------------------------------------------------------------------------------------

    @property
    def target_slots(self) -> int:
        return self._pool.slots if self._pool else self.settings.slots

    @property
    def timeout_cap_seconds(self) -> int:
        return self._pool.job_timeout_seconds if self._pool else self.settings.job_timeout_seconds

    def observe(self, orders: Orders | None) -> None:
        """Take over what Redis says; None (Redis is away) changes nothing."""
        if orders is None:
            return
        self._pool = orders.pool if not self.settings.standalone else None
        self._waiting = orders.waiting
        if self.slots.suspended != orders.suspended:
            log.info("rq suspend: no new jobs" if orders.suspended else "rq resume: taking jobs again")
            self.slots.suspended = orders.suspended
        if self.phase is ReplicaPhase.READY:
            self.slots.resize(self.target_slots)

    def stop(self) -> None:
        """No new jobs, for ever."""
        self.phase = ReplicaPhase.STOPPING
        self.slots.close()
        self._heartbeat.nudge()

    def last_report(self) -> None:
        try:
            call = report(
                self.settings.key_prefix,
                report=self.describe(),
                ttl_seconds=BEATS_KEPT * self.settings.heartbeat_seconds,
            )
            Scripts(connect(self.settings, Redis)).run(call)
        except REDIS_TROUBLE as error:
            self.link.down(error)

    # --- what its parts tell ------------------------------------------------------------------------------------------

    def _ended(self, run: Run, job: SlotJob | None, result: str) -> None:
        self.meter.ended(run, job, result)
        log.info(
            "job=%s queue=%s %s in %.2f s", run.claimed.job_id, run.claimed.queue, result, time.time() - run.started_at
        )
        self._heartbeat.nudge()

    def _stuck(self, run: Run | None) -> None:
        name = run.claimed.job_id if run else "?"
        self._inbox.put(
            (
                Event.STUCK,
                f"job={name} ignores its time-out, it hangs outside of Python: the other jobs are handed back",
            )
        )

    def _stale(self) -> None:
        self._inbox.put((Event.STALE, f"another process has registered as replica={self.settings.replica}: ending"))

    def _empty(self) -> None:
        others_rest = self._bell.waiting >= self.slots.count - 1  # none has a claim on its way
        if self.settings.burst and others_rest and not self.slots.runs:
            self._inbox.put((Event.DONE, ""))

    # --- what it says of itself ---------------------------------------------------------------------------------------

    def describe(self) -> ReplicaReport:
        """The report as of now."""
        tally = self.meter.tally
        return ReplicaReport(
            replica=self.settings.replica,
            pool=self.settings.pool_uid,
            incarnation=self.incarnation,
            phase=self.phase,
            at=time.time(),
            started_at=self._started_at,
            ready_at=self._ready_at,
            slots=self.slots.count,
            hostname=socket.gethostname(),
            worker_version=_version(),
            jobs=tuple(
                JobReport(
                    job_id=run.claimed.job_id,
                    queue=run.claimed.queue,
                    started_at=run.started_at,
                    claimed_at=run.claimed.claimed_at,
                    hint_seconds=run.claimed.hint_seconds,
                    progress=run.progress(),
                    peak_memory_bytes=run.peak_memory_bytes,
                )
                for run in self.slots.runs
            ),
            finished=tally["finished"],
            failed=tally["failed"] + tally["stopped"],
            released=tally["released"],
            base_memory_bytes=self.meter.base_memory_bytes,
            peak_job_memory_bytes=self.meter.peak_job_memory_bytes,
        )

    def alive(self) -> str:
        """Empty, or the sentence why a restart is needed. Redis' absence is none: it would not heal."""
        if not self._heartbeat.is_alive() and self._heartbeat.ident is not None:
            return "the heartbeat thread has ended"
        age = time.monotonic() - self._heartbeat.turned_at
        if (
            self._heartbeat.is_alive()
            and not self.link.trouble
            and age > DEAD_BEATS * self.settings.heartbeat_seconds + 60
        ):
            return f"the heartbeat has not come round for {age:.0f} s"
        return ""

    def ready(self) -> str:
        """Empty, or the sentence why not yet; it never falls back."""
        return "" if self._ready_at is not None else "the model is not loaded yet"

    def health(self) -> Mapping[str, Any]:
        uptime = time.monotonic() - self._started
        return health_document(
            status=self._status(),
            used_bytes=memory.used_bytes(),
            limit_bytes=memory.limit_bytes(),
            cpu_percent=self.meter.cpu_percent(),
            waiting=self._waiting,
            active=len(self.slots.runs),
            completed=self.meter.tally["finished"],
            uptime_seconds=uptime,
        )

    def _status(self) -> str:
        if self.link.trouble:
            return "redis unavailable"
        return {ReplicaPhase.STARTING: "starting", ReplicaPhase.STOPPING: "stopping"}.get(self.phase, "healthy")

    def exposition(self) -> bytes:
        return self.meter.exposition(
            slots=self.slots.count, busy=len(self.slots.runs), ready=self._ready_at is not None
        )


def _version() -> str:
    try:
        return version("processing-pool")
    except PackageNotFoundError:
        return "unknown"
