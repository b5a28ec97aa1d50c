"""An RQ worker whose runs begin with a claim and end inside its fence.

RQ's handlers do what they do in any RQ worker (results, retries, dependents, callbacks, rate limits); what is replaced
is around them: nothing is written at the start of a run, because the claim wrote it, and nothing outside the fence at
its end. The overridden methods are RQ 3.0.0's; a test asserts that they exist.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from typing import Any, Final

from rq import Queue, SimpleWorker
from rq.callbacks import execute_stopped_callback
from rq.defaults import DEFAULT_FAILURE_TTL
from rq.executions import Execution
from rq.job import Job, JobStatus, Retry
from rq.job_lifecycle import format_exc_info
from rq.registry import StartedJobRegistry
from rq.results import Result
from rq.utils import current_timestamp, now, utcformat

from pool_contract import keys
from pool_contract.messages import RunOutcome, RunRecord
from pool_worker.admission import RefusedError
from pool_worker.commit import commit
from pool_worker.errors import JobInterrupt
from pool_worker.fence import Fence, FencedRedis
from pool_worker.interrupts import Deadline, Interrupts
from pool_worker.out_of_memory import is_out_of_memory
from pool_worker.refusals import is_hopeless
from pool_worker.run import Run, RunPhase
from pool_worker.slot_job import SlotJob
from pool_worker.surroundings import Surroundings

log = logging.getLogger(__name__)
ENDINGS: Final = {
    JobStatus.FINISHED: "finished",
    JobStatus.FAILED: "failed",
    JobStatus.STOPPED: "stopped",
    JobStatus.QUEUED: "retried",
    JobStatus.SCHEDULED: "retried",
}


class FencedWorker(SimpleWorker):
    """See the module. `run` is the claim in hand; SlotWorker sets it."""

    connection: FencedRedis

    def __init__(self, name: str, queues: list[str], connection: FencedRedis, around: Surroundings) -> None:
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
        self._result = "lost"
        self.death_penalty_class = partial(  # type: ignore[assignment]
            Deadline,
            cap=around.timeout_cap,
            interrupts=self.interrupts,
            watchdog=around.watchdog,
            stuck_seconds=around.settings.stuck_seconds,
            stuck=lambda: around.stuck(self.run),
            armed=self._leave_if_taken,
        )

    @property
    def connection_timeout(self) -> int:
        """RQ would raise the socket's time-out to minutes, for blocking pops that we never do."""
        return 0

    # --- the start ----------------------------------------------------------------------------------------------------

    def prepare_job_execution(self, job: Job, remove_from_intermediate_queue: bool = False) -> None:  # noqa: FBT001, FBT002
        """The claim has written all of it."""

    def handle_execution_ended(self, job: Job, queue: Queue, heartbeat_ttl: int) -> None:  # noqa: ARG002
        """RQ writes a heartbeat here, outside of any fence: it would bring back the hash of a deleted job."""
        job.ended_at = now()

    def _leave_if_taken(self) -> None:
        """Whoever took the run away, or stopped it, before this thread could be interrupted has interrupted nobody."""
        run = self.run
        assert run is not None
        if not run.is_open or (run.phase is RunPhase.RUNNING and self._stopped_job_id == run.claimed.job_id):
            raise JobInterrupt

    # --- the end ------------------------------------------------------------------------------------------------------

    def _finalize_success(self, job: Job, queue: Queue, execution: Execution, return_value: Any) -> None:
        assert self.run is not None
        self.interrupts.disarm()
        self._around.measure()
        if self.run.begin_finish():
            super()._finalize_success(job, queue, execution, return_value)

    def _finalize_failure(self, job: Job, queue: Queue, execution: Execution, exc_info: Any) -> None:
        run = self.run
        assert run is not None
        self.interrupts.disarm()
        self._around.measure()
        if run.phase is not RunPhase.FINISHING and not run.begin_finish():
            return  # released or lost
        run.out_of_memory = is_out_of_memory(exc_info[1])
        try:
            if self._stopped_job_id == job.id:
                self._stop(job, queue, execution)
            elif isinstance(refusal := exc_info[1], RefusedError):  # found out after the import
                run.refused, job.retries_left, job.ended_at = True, None, now()
                self.handle_job_failure(job, queue, exc_string=str(refusal), execution=execution)
            elif is_hopeless(error := exc_info[1]):
                job.retries_left = None
                super()._finalize_failure(job, queue, execution, (type(error), error, None))  # its sentence says it all
            else:
                super()._finalize_failure(job, queue, execution, exc_info)
        except Exception as trouble:  # noqa: BLE001 - e.g. meta that cannot be written: RQ's retry saves it
            log.warning("job=%s cannot be ended as RQ would (%r): it is failed without a retry", job.id, trouble)
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
            job,
            lambda: super(FencedWorker, self).handle_job_success(job, queue, started_job_registry, execution),
            RunOutcome.FINISHED,
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
            lambda: super(FencedWorker, self).handle_job_failure(
                job, queue, started_job_registry, exc_string=exc_string, execution=execution
            ),
        )

    def handle_job_retry(
        self, job: Job, queue: Queue, retry: Retry, started_job_registry: StartedJobRegistry, execution: Execution
    ) -> None:
        self._commit(
            job, lambda: super(FencedWorker, self).handle_job_retry(job, queue, retry, started_job_registry, execution)
        )

    def fail_plainly(self, run: Run, error: Exception) -> None:
        """To the failed registry without RQ's handlers and without the job object: one of them met this error.

        Given back instead, the job would meet it again at once, for ever.
        """
        if run.phase is not RunPhase.FINISHING and not run.begin_finish():
            return  # released or lost
        why = (
            f"this run could not be ended as RQ does ({error!r}): something in the job's hash or its code breaks RQ; "
            "mend or delete the job, and enqueue it anew"
        )
        claimed, prefix, serializer = run.claimed, self._around.settings.key_prefix, self.serializer
        bare = SlotJob(claimed.job_id, connection=self.connection, serializer=serializer)
        bare.origin = claimed.queue
        execution = Execution(claimed.execution_id, bare.id, self.connection, worker_name=self.name)

        def write() -> None:
            with self.connection.pipeline() as pipeline:
                pipeline.hset(bare.key, mapping={"status": JobStatus.FAILED.value, "ended_at": utcformat(now())})
                self.cleanup_execution(bare, pipeline, execution)
                pipeline.zadd(keys.failed(prefix, claimed.queue), {bare.id: current_timestamp() + DEFAULT_FAILURE_TTL})
                Result.create_failure(bare, DEFAULT_FAILURE_TTL, why, worker_name=self.name, pipeline=pipeline)
                pipeline.execute()

        bare._status = JobStatus.FAILED  # noqa: SLF001 - what _commit counts
        self._commit(bare, write)

    def _commit(self, job: Job, handler: Callable[[], None], outcome: RunOutcome = RunOutcome.FAILED) -> None:
        run = self.run
        assert run is not None
        # recorded as it is now: the end may have to wait for Redis
        fence, stopped = partial(self._fence, run, self._record(run, outcome)), self._stopped_job_id

        def attempt() -> None:
            self._stopped_job_id = stopped  # RQ forgets it at the first attempt
            handler()

        if commit(attempt, job=job, run=run, redis=self.connection, fence=fence, link=self._around.link):
            self._result = ENDINGS.get(job.get_status(refresh=False), "failed")
        self._stopped_job_id = None

    def _fence(self, run: Run, record: RunRecord | None) -> Fence:
        settings, claimed = self._around.settings, run.claimed
        return Fence(
            settings.key_prefix,
            settings.replica,
            claimed.queue,
            claimed.job_id,
            claimed.execution_id,
            settings.pool_uid,
            record,
        )

    def _record(self, run: Run, outcome: RunOutcome) -> RunRecord | None:
        if run.refused:
            return None
        if outcome is RunOutcome.FAILED and run.out_of_memory:
            outcome = RunOutcome.OUT_OF_MEMORY
        return RunRecord(
            job=run.claimed.job_id,
            queue=run.claimed.queue,
            replica=self._around.settings.replica,
            seconds=round(run.seconds, 6),
            outcome=outcome,
            hint=run.claimed.hint_seconds,
            peak=run.peak_memory_bytes or 0,
            gpu_peak=run.peak_gpu_memory_bytes or 0,
            slots=max(1, self._around.slots()),
        )
