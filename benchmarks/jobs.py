"""Functions that the benchmarks enqueue."""

from __future__ import annotations

import time
from functools import cache


def noop() -> None:
    """Nothing: what is left is the worker's own cost."""


def started_at() -> float:
    """When the job's own code began, unix seconds."""
    return time.time()


def transcribe_loading_model(path: str, model: str) -> int:
    """What a stock `rq worker` does: it forks per job, so that each job loads the model anew. Returns the number of words."""
    return _words(_load(model), path)


@cache
def _load(model: str):
    from faster_whisper import WhisperModel

    return WhisperModel(model, device="cpu", compute_type="int8", cpu_threads=1)


def _words(model, path: str) -> int:
    segments, _ = model.transcribe(path, language="en", condition_on_previous_text=False)
    return sum(len(segment.text.split()) for segment in segments)
