"""The Python API: one object per Redis.

    client = Client(Redis.from_url(url))
    job = client.submit(TranscriptionJob(source="/media/talk.wav"), queue="default")
    for state in client.follow(job):
        print(state.status, state.progress)

Time-outs and retries are those that the pool of the queue has published, else the product's defaults.
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError
from redis import Redis
from redis.exceptions import ResponseError
from rq import Queue, Retry
from rq.defaults import RQ_KEY_PREFIX
from rq.exceptions import InvalidJobOperation, NoSuchJobError
from rq.job import Job
from rq.serializers import JSONSerializer

from pool_client.errors import ClientError
from pool_client.files import media_seconds
from pool_client.states import ENDED, JobState, read_states
from pool_contract import keys
from pool_contract.jobs import ARGUMENT, TRANSCRIBE, JobError, TranscriptionJob
from pool_contract.messages import PoolSettings

RESULT_SECONDS: Final = 7 * 86400
FAILURE_SECONDS: Final = 365 * 86400
RETRY_INTERVALS_SECONDS: Final = (10, 60, 300)
BATCH: Final = 500
FOLLOW_SECONDS: Final = 0.25
SOURCES: Final = uuid.UUID("5d1f4a6e-0d3b-4c86-9a52-6c5b8a7b4e10")
"""Namespace of ids that are made from a file's path, size and time."""


@dataclass(frozen=True, slots=True)
class Submitted:
    """A job on its way; `new` is False if the same file was submitted before."""

    id: str
    source: str
    new: bool = True


class Client:
    """Submits to one Redis and asks it.

    Args:
        redis: a client without decode_responses.
        prefix: RQ_KEY_PREFIX of the pool. RQ reads its own when it is imported, so both must agree.
    """

    def __init__(self, redis: Redis, prefix: str = keys.DEFAULT_PREFIX) -> None:
        if prefix != RQ_KEY_PREFIX:
            raise ClientError(
                f"the pool's key prefix is '{prefix}' and RQ was imported with '{RQ_KEY_PREFIX}': set RQ_KEY_PREFIX={prefix} "
                "in the environment before this program starts"
            )
        self._redis = redis
        self._prefix = prefix

    # --- in -------------------------------------------------------------------------------------------------------

    def submit(
        self,
        job: TranscriptionJob,
        *,
        queue: str = "default",
        timeout_seconds: int | None = None,
        max_retries: int | None = None,
        at_front: bool = False,
        seconds: float | None = None,
    ) -> str:
        """Enqueue one job; returns its id.

        Args:
            job: what to do.
            queue: name of the queue.
            timeout_seconds: longest run. Default: the pool's jobs.timeoutSeconds.
            max_retries: retries after failures. Default: the pool's jobs.maxRetries.
            at_front: before all that wait.
            seconds: length of the media. Default: read from the file's header where that is cheap.
        """
        settings = self._with(self.settings(queue), timeout_seconds, max_retries)
        identifier = str(uuid.uuid4())
        self._enqueue(queue, settings, [(identifier, job, seconds)], at_front=at_front)
        return identifier

    def submit_files(
        self,
        files: Sequence[Path],
        *,
        queue: str,
        output: Path | None = None,
        language: str | None = None,
        settings: PoolSettings | None = None,
        again: bool = False,
    ) -> list[Submitted]:
        """Enqueue a transcription per file. The same file (path, size, time) is submitted once, unless `again`."""
        settings = settings or self.settings(queue)
        folder = None if output is None else str(output.absolute())
        wanted: dict[str, TranscriptionJob] = {}
        for path in files:
            payload = {"source": str(path.absolute()), "output": folder, "language": language}
            try:
                identifier = str(uuid.uuid4()) if again else _identifier(path, folder)
                wanted[identifier] = TranscriptionJob.parse(payload)
            except (JobError, OSError) as error:
                raise ClientError(f"{path}: {error}") from error
        known = self._known(list(wanted))
        fresh = [(identifier, job, None) for identifier, job in wanted.items() if identifier not in known]
        self._enqueue(queue, settings, fresh)
        return [Submitted(identifier, job.source, identifier not in known) for identifier, job in wanted.items()]

    def settings(self, queue: str) -> PoolSettings:
        """What the pool that serves this queue has published; defaults if there is none."""
        published: Any = self._redis.hgetall(keys.pools(self._prefix))
        for text in published.values():
            try:
                found = PoolSettings.model_validate_json(text)
            except ValidationError:
                continue
            if queue in found.queues and not found.deleted:
                return found
        return PoolSettings(namespace="", name="", queues=(queue,))

    @staticmethod
    def _with(settings: PoolSettings, timeout_seconds: int | None, max_retries: int | None) -> PoolSettings:
        chosen = {"job_timeout_seconds": timeout_seconds, "max_retries": max_retries}
        return settings.model_copy(update={name: value for name, value in chosen.items() if value is not None})

    def _known(self, identifiers: Sequence[str]) -> set[str]:
        pipeline = self._redis.pipeline(transaction=False)
        for identifier in identifiers:
            pipeline.exists(keys.job(self._prefix, identifier))
        return {one for one, there in zip(identifiers, pipeline.execute(), strict=True) if there}

    def _enqueue(
        self,
        queue: str,
        settings: PoolSettings,
        jobs: Sequence[tuple[str, TranscriptionJob, float | None]],
        *,
        at_front: bool = False,
    ) -> None:
        """Job, size hint and queue entry of a batch in one transaction."""
        rq_queue = Queue(queue, connection=self._redis, serializer=JSONSerializer)
        retry = (
            Retry(max=settings.max_retries, interval=list(RETRY_INTERVALS_SECONDS)) if settings.max_retries else None
        )
        for start in range(0, len(jobs), BATCH):
            pipeline = self._redis.pipeline(transaction=True)
            pipeline.multi()  # rq would call it itself, and fail behind the first size hint
            for identifier, job, seconds in jobs[start : start + BATCH]:
                length = media_seconds(Path(job.source)) if seconds is None else seconds
                if length is not None:
                    pipeline.hset(keys.size_hint(self._prefix), identifier, f"{length:.3f}")
                rq_queue.enqueue_call(
                    TRANSCRIBE,
                    kwargs={ARGUMENT: job.model_dump(mode="json")},
                    job_id=identifier,
                    timeout=settings.job_timeout_seconds,
                    result_ttl=RESULT_SECONDS,
                    failure_ttl=FAILURE_SECONDS,
                    description=Path(job.source).name,
                    retry=retry,
                    at_front=at_front,
                    pipeline=pipeline,
                )
            try:
                pipeline.execute()
            except ResponseError:
                # EXEC goes on after a command that failed (a key of the wrong type): a job without its place in the
                # queue would never run, and would count as submitted
                self._redis.delete(*(keys.job(self._prefix, one) for one, _, _ in jobs[start : start + BATCH]))
                raise

    # --- and out --------------------------------------------------------------------------------------------------

    def state(self, job: str) -> JobState:
        """How a job is now.

        Raises:
            ClientError: there is no such job.
        """
        found = read_states(self._redis, self._prefix, [job])
        if not found:
            raise ClientError(
                f"there is no job '{job}' here: was it finished more than {RESULT_SECONDS // 86400} days ago?"
            )
        return found[0]

    def states(self, queues: Sequence[str], *, limit: int = 1000) -> list[JobState]:
        """Jobs of these queues: running, waiting, planned, then ended ones, latest first; at most `limit`."""
        return read_states(self._redis, self._prefix, self._ids(queues, limit))

    def _ids(self, queues: Sequence[str], limit: int) -> list[str]:
        found: dict[str, None] = {}
        last = max(0, limit - 1)
        for queue in queues:
            running: Any = self._redis.zrange(keys.wip(self._prefix, queue), 0, last)
            waiting: Any = self._redis.lrange(keys.queue(self._prefix, queue), 0, last)
            found.update(dict.fromkeys(one.decode().partition(":")[0] for one in running))
            found.update(dict.fromkeys(one.decode() for one in waiting))
        for registry in (keys.scheduled, keys.deferred, keys.failed, keys.canceled, keys.finished):
            for queue in queues:
                members: Any = self._redis.zrevrange(registry(self._prefix, queue), 0, last)
                found.update(dict.fromkeys(one.decode() for one in members))
        return list(found)[:limit]

    def queues(self) -> list[str]:
        """Names of all queues that ever had a job."""
        head = keys.queue(self._prefix, "")
        members: Any = self._redis.smembers(keys.queues(self._prefix))
        return sorted(one.decode().removeprefix(head) for one in members)

    def follow(self, job: str, *, timeout_seconds: float | None = None) -> Iterator[JobState]:
        """The job's state now and at each change, until it has ended.

        Raises:
            ClientError: there is no such job (any more), or it has not ended in time.
        """
        end = None if timeout_seconds is None else time.monotonic() + timeout_seconds
        last: JobState | None = None
        while last is None or last.status not in ENDED:
            now = self.state(job)
            if now != last:
                last = now
                yield now
            elif end is not None and time.monotonic() > end:
                raise ClientError(f"job '{job}' has not ended within {timeout_seconds:g} s; it is {now.status}")
            else:
                time.sleep(FOLLOW_SECONDS)

    def cancel(self, job: str) -> str:
        """Take a waiting job off its queue, or stop a running one (its worker notices at its next heartbeat).

        Returns:
            The status it had.

        Raises:
            ClientError: there is no such job, or it has ended.
        """
        before = self.state(job).status
        if before in ENDED:
            raise ClientError(f"job '{job}' is {before} already: there is nothing to cancel")
        try:
            self._fetch(job).cancel()
        except (InvalidJobOperation, NoSuchJobError) as error:
            raise ClientError(f"job '{job}' ended in this moment") from error
        self._redis.hdel(keys.size_hint(self._prefix), job)
        return before

    def retry(self, job: str) -> None:
        """Put a failed, stopped or canceled job at the end of its queue again.

        Raises:
            ClientError: there is no such job, or it neither failed nor was stopped or canceled.
        """
        state = self.state(job)
        if state.status not in {"failed", "stopped", "canceled"}:
            raise ClientError(f"job '{job}' is {state.status}: only failed, stopped and canceled jobs can be retried")
        try:
            found = self._fetch(job)
        except NoSuchJobError as error:
            raise ClientError(f"job '{job}' was deleted in this moment") from error
        # RQ lists stopped ones among the failed
        registry = _canceled(found) if state.status == "canceled" else found.failed_job_registry
        try:
            registry.requeue(found)
        except InvalidJobOperation as error:
            raise ClientError(f"job '{job}' was retried by somebody else in this moment") from error

    def _fetch(self, job: str) -> Job:
        try:
            return Job.fetch(job, connection=self._redis, serializer=JSONSerializer)
        except (ValueError, TypeError, AttributeError) as error:  # somebody else wrote the hash
            raise ClientError(f"job '{job}' cannot be read by RQ ({error}): delete it, and submit it anew") from error


def _canceled(job: Job) -> Any:
    from rq.registry import CanceledJobRegistry

    return CanceledJobRegistry(job.origin, connection=job.connection, serializer=JSONSerializer)


def _identifier(path: Path, output: str | None) -> str:
    """The same for the same file: path, size and time of its last change, and where its result goes."""
    stat = path.stat()
    return str(uuid.uuid5(SOURCES, json.dumps([str(path.absolute()), stat.st_size, stat.st_mtime_ns, output])))
