"""The functions that may be enqueued. The default allow-list is `pool_worker.jobs:*`, so only those belong here.

queue.enqueue("pool_worker.jobs.transcribe", job=TranscriptionJob(source="/media/a.mp3").model_dump(mode="json"))
"""

from __future__ import annotations

__all__ = ["transcribe"]

from typing import Any

from rq import get_current_job

from pool_contract.jobs import JobError, TranscriptionJob
from pool_worker import run_log
from pool_worker.job_progress import JobProgress
from pool_worker.media.errors import MediaError
from pool_worker.transcribe import model, pipeline
from pool_worker.transcribe.model import ModelError
from pool_worker.transcribe.outputs import OutputError


def transcribe(job: dict[str, Any]) -> dict[str, Any]:
    """Transcribe one media file; writes <job id>.json, .srt, .vtt and .txt and returns the JSON without its segments.

    Raises:
        JobError, MediaError, ModelError, OutputError: each with one sentence for the user.
    """
    running = get_current_job()
    if running is None:
        raise JobError("pool_worker.jobs.transcribe runs inside a worker only: enqueue it")
    with run_log.recorded(running.connection, running.id):
        try:
            result = pipeline.transcribe_file(
                TranscriptionJob.parse(job),
                running.id,
                model.current(),
                pipeline.PipelineSettings.from_environment(),
                JobProgress(running),
            )
        except (JobError, MediaError, ModelError, OutputError) as error:
            # A fresh one: the failed job shows this sentence, not the way through our code.
            raise type(error)(str(error)) from None
    return result.model_dump(mode="json", exclude={"segments"})
