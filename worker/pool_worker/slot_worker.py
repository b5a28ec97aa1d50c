"""One slot: an RQ worker in a thread, whose start is the claim and whose end is fenced.

RQ's handlers do what they do in any RQ worker (results, retries, dependents, callbacks, rate limits); what is replaced
is around them: nothing is written at the start of a run, because the claim wrote it, and nothing outside the fence at
its end. The overridden methods are RQ 3.0.0's; a test asserts that they exist.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from functools import partial
from typing import Any, Final, TypeVar

from redis.client import Pipeline
from rq import Queue, SimpleWorker
from rq.callbacks import execute_stopped_callback
from rq.executions import Execution
from rq.job import Job, JobStatus, Retry
from rq.job_lifecycle import format_exc_info
from rq.registry import StartedJobRegistry
from rq.utils import now
from rq.worker import WorkerStatus
from rq.worker_registration import register

from pool_contract.scripts import Claimed, Scripts
from pool_worker.admission import RefusedError
from pool_worker.commit import commit
from pool_worker.connection import REDIS_TROUBLE, pause_seconds
from pool_worker.errors import JobInterrupt
from pool_worker.fence import Fence, FencedRedis
from pool_worker.interrupts import Deadline, Interrupts
from pool_worker.refusals import objection, tell_failure_callback
from pool_worker.run import Run, RunPhase
from pool_worker.slot_job import SlotJob
from pool_worker.surroundings import Surroundings
from redis import Redis

log = logging.getLogger(__name__)
T = TypeVar("T")
OWN_ERROR_SECONDS: Final = 1.0  # no hot loop over a job that we cannot handle
ENDINGS: Final = {
    JobStatus.FINISHED: "finished",
    JobStatus.FAILED: "failed",
    JobStatus.STOPPED: "stopped",
    JobStatus.QUEUED: "retried",
    JobStatus.SCHEDULED: "retried",
}


class SlotWorker(SimpleWorker):
    """See the module. `perform` runs one claim from start to end in the calling thread."""

    connection: FencedRedis

    def __init__(
        self, name: str, queues: list[str], connection: FencedRedis, job_connection: Redis, around: Surroundings
    ) -> None:
        super().__init__(
            queues,
            name=name,
            connection=connection,
            job_class=SlotJob,
            serializer=around.settings.serializer,
            log_job_description=False,
        )
        self.log_result_lifespan = False
        self.interrupts = Interrupts()
        self.run: Run | None = None
        self._around = around
        self._job_connection = job_connection
        self._scripts = Scripts(connection)
        self._queues = {queue.name: queue for queue in self.queues}
        self._result = "lost"
        self.death_penalty_class = partial(  # type: ignore[assignment]
            Deadline,
            cap=around.timeout_cap,
            interrupts=self.interrupts,
            watchdog=around.watchdog,
            stuck_seconds=around.settings.stuck_seconds,
            stuck=partial(around.stuck, self),
        )

    @property
    def connection_timeout(self) -> int:
        """RQ would raise the socket's time-out to minutes, for blocking pops that we never do."""
        return 0

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
        except Exception as error:  # noqa: BLE001 - the slot goes on, and the claim is given back
            log.error("job=%s: its slot met an error of its own: %r", run.claimed.job_id, error)  # noqa: TRY400
            time.sleep(OWN_ERROR_SECONDS)
        finally:
            self._close(run)
            released = run.phase is RunPhase.RELEASED
            self._around.ended(run, job, "released" if released else self._result)

    def _perform(self, run: Run, job: SlotJob, raw: dict[bytes, bytes]) -> None:
        claimed, settings = run.claimed, self._around.settings
        queue, execution = self._queue(claimed.queue), self._adopt(job, claimed)
        why = objection(claimed, job, raw, settings)
        if why is None:
            self.perform_job(job, queue, execution)
        elif run.begin_finish():  # to the failed registry with one sentence; payload kept, no retry
            log.warning("job=%s queue=%s is not run: %s", job.id, queue.name, why)
            job.retries_left, job.ended_at = None, now()
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
        job.begin(self.name, claimed.queue)
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

    # --- RQ's hooks: the start ----------------------------------------------------------------------------------------

    def prepare_job_execution(self, job: Job, remove_from_intermediate_queue: bool = False) -> None:  # noqa: FBT001, FBT002
        """The claim has written all of it."""

    def handle_execution_ended(self, job: Job, queue: Queue, heartbeat_ttl: int) -> None:  # noqa: ARG002
        """RQ writes a heartbeat here, outside of any fence: it would bring back the hash of a deleted job."""
        job.ended_at = now()

    # --- RQ's hooks: the end ------------------------------------------------------------------------------------------

    def _finalize_success(self, job: Job, queue: Queue, execution: Execution, return_value: Any) -> None:
        assert self.run is not None
        self.interrupts.disarm()
        if self.run.begin_finish():
            super()._finalize_success(job, queue, execution, return_value)

    def _finalize_failure(self, job: Job, queue: Queue, execution: Execution, exc_info: Any) -> None:
        run = self.run
        assert run is not None
        self.interrupts.disarm()
        if run.phase is not RunPhase.FINISHING and not run.begin_finish():
            return  # released or lost
        try:
            if self._stopped_job_id == job.id:
                self._stop(job, queue, execution)
            elif isinstance(refusal := exc_info[1], RefusedError):  # found out after the import
                job.retries_left, job.ended_at = None, now()
                self.handle_job_failure(job, queue, exc_string=str(refusal), execution=execution)
            else:
                super()._finalize_failure(job, queue, execution, exc_info)
        except Exception as error:  # noqa: BLE001 - e.g. meta that cannot be written: RQ's retry saves it
            log.warning("job=%s cannot be ended as RQ would (%r): it is failed without a retry", job.id, error)
            job.retries_left, job.meta = None, {}
            self.handle_job_failure(job, queue, exc_string=format_exc_info(exc_info), execution=execution)

    def _stop(self, job: Job, queue: Queue, execution: Execution) -> None:
        self.handle_execution_ended(job, queue, 0)
        try:
            execute_stopped_callback(job, self.death_penalty_class)
        except Exception as error:  # noqa: BLE001 - user code; RQ goes on, too
            log.warning("job=%s: its stopped callback failed: %r", job.id, error)
        self.handle_job_failure(job, queue, exc_string="Job stopped by user.", execution=execution)

    def handle_job_success(
        self, job: Job, queue: Queue, started_job_registry: StartedJobRegistry, execution: Execution
    ) -> None:
        self._commit(
            job, lambda: super(SlotWorker, self).handle_job_success(job, queue, started_job_registry, execution)
        )
        if self._result == "retried":  # a job that repeats is queued again by now
            self._result = "finished"

    def handle_job_failure(
        self,
        job: Job,
        queue: Queue,
        started_job_registry: StartedJobRegistry | None = None,
        exc_string: str = "",
        execution: Execution | None = None,
    ) -> None:
        self._commit(
            job,
            lambda: super(SlotWorker, self).handle_job_failure(
                job, queue, started_job_registry, exc_string=exc_string, execution=execution
            ),
        )

    def handle_job_retry(
        self, job: Job, queue: Queue, retry: Retry, started_job_registry: StartedJobRegistry, execution: Execution
    ) -> None:
        self._commit(
            job, lambda: super(SlotWorker, self).handle_job_retry(job, queue, retry, started_job_registry, execution)
        )

    def _commit(self, job: Job, handler: Callable[[], None]) -> None:
        run = self.run
        assert run is not None
        fence, stopped = partial(self._fence, run.claimed), self._stopped_job_id

        def attempt() -> None:
            self._stopped_job_id = stopped  # RQ forgets it at the first attempt
            handler()

        if commit(attempt, job=job, run=run, redis=self.connection, fence=fence, link=self._around.link):
            self._result = ENDINGS.get(job.get_status(refresh=False), "failed")
        self._stopped_job_id = None

    def _fence(self, claimed: Claimed) -> Fence:
        settings = self._around.settings
        return Fence(settings.key_prefix, settings.replica, claimed.queue, claimed.job_id, claimed.execution_id)

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
