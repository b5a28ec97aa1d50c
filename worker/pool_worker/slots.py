"""The slots of a replica: threads that claim, run, and claim again at once; their number follows the live target."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Final
from uuid import uuid4

from redis import Redis

from pool_contract.scripts import Call, Claimed, ClaimReply, Refusal, Scripts, claim
from pool_worker.bell import Bell
from pool_worker.connection import REDIS_TROUBLE, connect, pause_seconds
from pool_worker.fence import FencedRedis
from pool_worker.run import Run, RunPhase
from pool_worker.slot_worker import SlotWorker
from pool_worker.surroundings import Surroundings

log = logging.getLogger(__name__)
TRIALS_ON_LEAVING: Final = 4  # about two seconds
IDLE_WAIT_SECONDS: Final = 5.0  # a safety net: the poller rings long before
SHORTEST_WAIT_SECONDS: Final = 0.02
LIMITED: Final = {
    Refusal.RATE: "as many as jobs.ratePerMinute lets start have started within the last minute",
    Refusal.CONCURRENCY: "as many as jobs.maxConcurrent lets run at once run in the pool",
    Refusal.BUDGET: "the hard budget leaves no money for another one, or its operator has not granted any for a while",
}
"""Why jobs wait although a slot is free."""


class Slots:
    """See the module.

    Args:
        name: stem of the slots' RQ worker names, new for each process.
        stale: called when another process has registered as this replica.
        empty: called when a claim found no job (for --burst).
    """

    def __init__(
        self,
        *,
        name: str,
        incarnation: str,
        around: Surroundings,
        bell: Bell,
        job_connection: Redis,
        stale: Callable[[], None],
        empty: Callable[[], None],
    ) -> None:
        self._name = name
        self._incarnation = incarnation
        self._around = around
        self._bell = bell
        self._job_connection = job_connection
        self._stale = stale
        self._empty = empty
        self._lock = threading.Lock()
        self._workers: dict[int, SlotWorker] = {}
        self._threads: dict[int, threading.Thread] = {}
        self._target = 0
        self._closed = False
        self._told: Refusal | None = None  # the limit that was last said in the log
        self.suspended = False  # `rq suspend`

    # --- what others ask ----------------------------------------------------------------------------------------------

    @property
    def count(self) -> int:
        """Slots running now; after a lower target, busy ones still count."""
        return sum(thread.is_alive() for thread in list(self._threads.values()))

    @property
    def workers(self) -> list[SlotWorker]:
        return list(self._workers.values())

    @property
    def runs(self) -> list[Run]:
        """Claims in our hands, each to be renewed."""
        found = [worker.run for worker in self.workers]
        return [run for run in found if run is not None and run.is_open]

    def resize(self, target: int) -> None:
        """Grow at once; a slot too many goes when it is idle. Called again and again, it also replaces a slot that died."""
        with self._lock:
            if self._closed:
                return
            if target != self._target:
                if self._target:
                    log.info("slots: %d instead of %d", target, self._target)
                self._target = target
                self._bell.ring_all()
            for index in range(target):
                thread = self._threads.get(index)
                if thread is None or not thread.is_alive():
                    thread = threading.Thread(target=self._serve, args=(index,), name=f"slot-{index}", daemon=True)
                    self._threads[index] = thread
                    thread.start()

    def close(self) -> None:
        """No more claims, for ever. Running jobs go on."""
        with self._lock:
            self._closed = True
        self._bell.ring_all()

    @property
    def is_idle(self) -> bool:
        """After close: every slot has left."""
        return self.count == 0

    def take_away(self) -> list[Run]:
        """End the code of every running job, so that it can be handed back; what is finishing goes on.

        The job claimed last comes first: handed back in this order, the one claimed first stands first again.
        """
        taken = [run for worker in self.workers if (run := worker.take_away()) is not None]
        return sorted(taken, key=lambda run: run.started_at, reverse=True)

    # --- a slot's thread ----------------------------------------------------------------------------------------------

    def _serve(self, index: int) -> None:
        worker = self._enrol(index)
        if worker is None:
            return
        try:
            self._work(index, worker)
        finally:
            with self._lock:
                self._workers.pop(index, None)
            try:
                worker.register_death()  # type: ignore[no-untyped-call]
            except REDIS_TROUBLE as error:  # its keys expire by themselves
                self._around.link.down(error)
            worker.connection.close()

    def _enrol(self, index: int) -> SlotWorker | None:
        """Become visible as an RQ worker (`rq info`, dashboards)."""
        settings, attempt = self._around.settings, 0
        while not self._leaves(index):
            connection = connect(settings, FencedRedis)
            try:
                name = f"{self._name}.{index}.{uuid4().hex[:4]}"
                worker = SlotWorker(name, list(settings.queues), connection, self._job_connection, self._around)
                worker.register_birth()  # type: ignore[no-untyped-call]
            except REDIS_TROUBLE as error:
                self._around.link.down(error)
                time.sleep(pause_seconds(attempt))
                attempt += 1
            else:
                with self._lock:
                    self._workers[index] = worker
                return worker
        return None

    def _leaves(self, index: int) -> bool:
        return self._closed or index >= self._target

    def _work(self, index: int, worker: SlotWorker) -> None:
        scripts = Scripts(worker.connection)
        execution, attempt = "", 0
        while True:
            # a claim whose reply was lost may have been given: it is asked for again under the same id, even on leaving
            if not execution:
                if self._leaves(index):
                    return
                if self.suspended:
                    self._bell.wait(IDLE_WAIT_SECONDS)
                    continue
                execution = uuid4().hex
            try:
                reply = scripts.run(self._claim(worker, execution))
            except REDIS_TROUBLE as error:
                self._around.link.down(error)
                if self._leaves(index) and attempt >= TRIALS_ON_LEAVING:
                    return  # if it was given, its lease returns it
                time.sleep(pause_seconds(attempt))
                attempt += 1
                continue
            self._around.link.up()
            execution, attempt = "", 0
            self._act_on(reply, worker, scripts)

    def _claim(self, worker: SlotWorker, execution: str) -> Call[ClaimReply]:
        settings = self._around.settings
        return claim(
            settings.key_prefix,
            pool=settings.pool_uid,
            replica=settings.replica,
            incarnation=self._incarnation,
            worker=worker.name,
            queues=settings.queues,
            execution_id=execution,
            lease_seconds=settings.lease_seconds,
            commitment=self._around.commitment(),
        )

    def _act_on(self, reply: ClaimReply, worker: SlotWorker, scripts: Scripts) -> None:
        if reply.claimed is not None:
            self._take(reply.claimed, worker, scripts)
            return
        if reply.refusal is Refusal.STALE:
            self._stale()
        elif reply.refusal is Refusal.EMPTY:
            self._told = None
            self._empty()
        elif reply.refusal in LIMITED and reply.refusal is not self._told:  # once, until the queues were empty
            self._told = reply.refusal
            log.info("jobs wait, although a slot is free: %s", LIMITED[reply.refusal])
        worker.rest()
        seconds = IDLE_WAIT_SECONDS if reply.retry_seconds is None else reply.retry_seconds
        self._bell.wait(min(max(seconds, SHORTEST_WAIT_SECONDS), IDLE_WAIT_SECONDS))

    def _take(self, claimed: Claimed, worker: SlotWorker, scripts: Scripts) -> None:
        run = Run(claimed)
        worker.run = run
        if self._closed and run.take_away(
            RunPhase.RELEASED, _nothing_runs_yet
        ):  # SIGTERM came while the claim was on its way
            self._give_up(run, scripts)
            worker.run = None
            return
        if self._bell.waiting and not claimed.alone:
            self._bell.ring()  # where one job was, there may be more
        worker.perform(run)

    def _give_up(self, run: Run, scripts: Scripts) -> None:
        attempt = 0
        while True:  # until the process ends
            try:
                scripts.run(run.release_call(self._around.settings.key_prefix))
            except REDIS_TROUBLE as error:
                self._around.link.down(error)
                time.sleep(pause_seconds(attempt))
                attempt += 1
            else:
                return


def _nothing_runs_yet() -> None:
    """The job's code has not begun."""
