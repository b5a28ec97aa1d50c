"""One slot: an RQ worker in a thread, from one claim to the next."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any, Final, TypeVar

from redis import Redis
from redis.client import Pipeline
from rq import Queue
from rq.executions import Execution
from rq.utils import now
from rq.worker import WorkerStatus
from rq.worker_registration import register

from pool_contract.scripts import Claimed, Scripts
from pool_worker.connection import REDIS_TROUBLE, pause_seconds
from pool_worker.errors import JobInterrupt
from pool_worker.fence import FencedRedis
from pool_worker.fenced_worker import FencedWorker
from pool_worker.refusals import objection, tell_failure_callback
from pool_worker.run import Run, RunPhase
from pool_worker.slot_job import SlotJob
from pool_worker.surroundings import Surroundings

log = logging.getLogger(__name__)
T = TypeVar("T")
OWN_ERROR_SECONDS: Final = 1.0  # no hot loop over a job that we cannot handle


class SlotWorker(FencedWorker):
    """See the module. `perform` runs one claim from start to end in the calling thread."""

    def __init__(
        self, name: str, queues: list[str], connection: FencedRedis, job_connection: Redis, around: Surroundings
    ) -> None:
        super().__init__(name, queues, connection, around)
        self._job_connection = job_connection
        self._scripts = Scripts(connection)
        self._queues = {queue.name: queue for queue in self.queues}

    # --- one claim ----------------------------------------------------------------------------------------------------

    def perform(self, run: Run) -> None:
        """Run the claimed job, or end it without running it. Returns when the claim is over, however it went."""
        self.run, self._result = run, "lost"
        self._state = WorkerStatus.BUSY  # the claim wrote it to Redis
        self._around.started()
        job: SlotJob | None = None
        try:
            raw: Any = self.insist(lambda: self.connection.hgetall(SlotJob.key_for(run.claimed.job_id)))
            if raw:
                job = self._read(raw)
                self._perform(run, job, raw)
        except JobInterrupt:
            pass
        except Exception as error:  # noqa: BLE001 - the slot goes on, and the job is failed
            log.error("job=%s: its slot met an error of its own: %r", run.claimed.job_id, error)  # noqa: TRY400
            self._fail(run, error)
        finally:
            self._close(run)
            released = run.phase is RunPhase.RELEASED
            self._around.ended(run, job, "released" if released else self._result)

    def _fail(self, run: Run, error: Exception) -> None:
        self.interrupts.disarm()
        try:
            self.fail_plainly(run, error)
        except Exception as again:  # noqa: BLE001 - then the claim is given back
            log.error("job=%s cannot even be failed: %r", run.claimed.job_id, again)  # noqa: TRY400
            time.sleep(OWN_ERROR_SECONDS)

    def _perform(self, run: Run, job: SlotJob, raw: dict[bytes, bytes]) -> None:
        claimed, settings = run.claimed, self._around.settings
        queue, execution = self._queue(claimed.queue), self._adopt(job, claimed)
        why = objection(claimed, job, raw, settings)
        if why is None:
            self.perform_job(job, queue, execution)
        elif run.begin_finish():  # to the failed registry with one sentence; payload kept, no retry
            log.warning("job=%s queue=%s is not run: %s", job.id, queue.name, why)
            run.refused, job.retries_left, job.ended_at = True, None, now()
            tell_failure_callback(why, job, raw, settings, self.death_penalty_class)
            self.handle_job_failure(job, queue, exc_string=str(why), execution=execution)

    def _read(self, raw: dict[bytes, bytes]) -> SlotJob:
        assert self.run is not None
        job = SlotJob(self.run.claimed.job_id, connection=self._job_connection, serializer=self.serializer)
        job.allowed = self._around.allowed
        job.take(raw)
        if not self._around.settings.allow_webhooks:
            job.drop_webhooks()
        cap = self._around.timeout_cap()
        if job.timeout is not None and job.timeout > cap:
            log.info(
                "job=%s: its time-out of %d s is cut to %d s (jobs.timeoutSeconds, or --job-timeout-seconds outside a pool)",
                job.id,
                job.timeout,
                cap,
            )
        self.run.progress = job.progress
        return job

    def _adopt(self, job: SlotJob, claimed: Claimed) -> Execution:
        """The claim has written RQ's execution and status; here they only get their objects."""
        execution = Execution(claimed.execution_id, job.id, self._job_connection, worker_name=self.name)
        execution._job = job  # noqa: SLF001 - as Execution.create does
        self.executions[execution.id] = execution
        job.begin(self.name, claimed, self._around.settings.key_prefix)
        return execution

    def _queue(self, name: str) -> Queue:
        if name not in self._queues:
            self._queues[name] = self.queue_class(
                name, connection=self.connection, job_class=self.job_class, serializer=self.serializer
            )
        return self._queues[name]

    def _close(self, run: Run) -> None:
        """Whatever happened, no claim stays behind without a slot that works on it."""
        self.interrupts.disarm()
        self.executions.pop(run.claimed.execution_id, None)
        if run.is_open:  # deleted, cancelled, or its end could not be written
            settings = self._around.settings
            look = run.renew_call(settings.key_prefix, settings.replica, settings.lease_seconds)
            try:
                lost = self.insist(lambda: self._scripts.run(look))
                if not lost and self.insist(lambda: self._scripts.run(run.release_call(settings.key_prefix))):
                    run.close(RunPhase.RELEASED)
            except JobInterrupt:
                pass
        run.close(RunPhase.LOST if run.is_open else run.phase)
        self.run, self._stopped_job_id = None, None

    def rest(self) -> None:
        """Nothing to do: say so once, where `rq info` reads it."""
        if self.get_state() == WorkerStatus.IDLE:
            return
        try:
            self.set_state(WorkerStatus.IDLE)
        except REDIS_TROUBLE as error:
            self._around.link.down(error)

    def enter(self, pipeline: Pipeline, ttl_seconds: int) -> None:
        """Write RQ's entry of this worker anew: Redis lost it, or it expired while Redis was away."""
        pipeline.hset(self.key, mapping={**self.serialize(), "state": self.get_state()})
        pipeline.expire(self.key, ttl_seconds)
        register(self, pipeline)

    # --- from other threads -------------------------------------------------------------------------------------------

    def lose(self, run: Run) -> None:
        """The heartbeat has learnt that the claim is gone: end the code, record nothing."""
        if run.take_away(RunPhase.LOST, self._interrupt):
            log.warning(
                "job=%s is not this replica's any more: it ends here, its result is dropped", run.claimed.job_id
            )

    def take_away(self) -> Run | None:
        """End the code of the running job, so that it can be handed back. None: nothing runs, or it is finishing."""
        run = self.run
        return run if run is not None and run.take_away(RunPhase.RELEASED, self._interrupt) else None

    def kill_horse(self, sig: Any = None) -> None:  # noqa: ARG002 - RQ's signature
        """RQ's stop-job command, which has named the job in `_stopped_job_id`."""
        run = self.run
        if run is not None and run.claimed.job_id == self._stopped_job_id:
            run.interrupt(self._interrupt)

    def _interrupt(self) -> None:
        self.interrupts.fire(JobInterrupt)

    # --- Redis --------------------------------------------------------------------------------------------------------

    def insist(self, call: Callable[[], T]) -> T:
        """Until Redis answers, or the run is taken away."""
        attempt = 0
        while True:
            try:
                answer = call()
            except REDIS_TROUBLE as error:
                self._around.link.down(error)
                if self.run is None or not self.run.is_open:
                    raise JobInterrupt from error
                time.sleep(pause_seconds(attempt))
                attempt += 1
            else:
                self._around.link.up()
                return answer
