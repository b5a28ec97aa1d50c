"""What may be enqueued: one model per job function, checked by the client before Redis and by the worker after it.

A job is a queue entry with the function's name and one keyword argument, `job`, which is the model's JSON form.
"""

from __future__ import annotations

import re
from pathlib import PurePosixPath
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

TRANSCRIBE = "pool_worker.jobs.transcribe"
ARGUMENT = "job"
MAX_PATH_CHARACTERS = 4096
_LANGUAGE = re.compile(r"[a-z]{2,3}")


class JobError(ValueError):
    """A job's payload is wrong; the text is one sentence that names the field and the fix."""


class TranscriptionJob(BaseModel):
    """Turn the speech of one audio or video file into text and subtitles."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    source: str = Field(
        min_length=1,
        max_length=MAX_PATH_CHARACTERS,
        description="absolute path of the media file, as the worker sees it",
    )
    output: str | None = Field(
        default=None,
        max_length=MAX_PATH_CHARACTERS,
        description="absolute folder for <job id>.json, .srt, .vtt and .txt; default: the worker's PROCESSINGPOOL_OUTPUT",
    )
    language: str | None = Field(
        default=None, description="language code such as en; default: detected from the first half minute"
    )
    word_timestamps: bool = Field(default=False, description="also give each word its time in the JSON result")
    beam_size: int = Field(default=5, ge=1, le=10, description="candidates kept while decoding; 1 is fastest")
    vad_filter: bool = Field(default=False, description="skip passages without speech before decoding")

    @field_validator("source", "output")
    @classmethod
    def _absolute_path(cls, value: str | None) -> str | None:
        if value is None:
            return None
        if "\0" in value:
            raise ValueError("must not contain a NUL character")
        if "://" in value:
            raise ValueError("must be a path on the worker's disk, not a URL: download the file first")
        if not PurePosixPath(value).is_absolute():
            raise ValueError("must be an absolute path that starts with /, as the worker sees it")
        return value

    @field_validator("language")
    @classmethod
    def _language_code(cls, value: str | None) -> str | None:
        if value is not None and not _LANGUAGE.fullmatch(value):
            raise ValueError("must be a code of two or three small letters such as en, or be left out to detect it")
        return value

    @classmethod
    def parse(cls, payload: Any) -> TranscriptionJob:
        """Read what was enqueued.

        Raises:
            JobError: with one sentence on the first field that is wrong.
        """
        try:
            return cls.model_validate(payload)
        except ValidationError as error:
            raise JobError(_first_sentence(error)) from None


class TranscriptWord(BaseModel):
    """One word and its time, in seconds from the start of the media."""

    start: float
    end: float
    word: str
    probability: float


class TranscriptSegment(BaseModel):
    """One subtitle's worth of speech; the last three numbers are the decoder's own measures of quality."""

    start: float
    end: float
    text: str
    avg_logprob: float
    no_speech_prob: float
    compression_ratio: float
    words: list[TranscriptWord] | None = None


class TranscriptionResult(BaseModel):
    """The content of `<job id>.json`; the job's return value in Redis is the same without `segments`."""

    version: int = 1
    job: str
    source: str
    model: str
    language: str
    language_probability: float
    duration_seconds: float
    text: str
    files: dict[str, str] = Field(description="json, srt, vtt and txt -> path")
    warnings: list[str] = []
    segments: list[TranscriptSegment] = []


def _first_sentence(error: ValidationError) -> str:
    first = error.errors(include_url=False, include_context=False)[0]
    place = ".".join(str(part) for part in first["loc"]) or ARGUMENT
    if first["type"] == "extra_forbidden":
        known = ", ".join(TranscriptionJob.model_fields)
        return f"{place}: no such field in a transcription job; the fields are {known}"
    if first["type"] == "missing":
        return f"{place}: this field is required"
    if first["type"] == "model_type":
        return f"{ARGUMENT}: must be an object with the fields {', '.join(TranscriptionJob.model_fields)}"
    message = re.sub(r"^(Value error, |(Input|String) (?=should))", "", first["msg"])
    return f"{place}: {message} (got {_shown(first['input'])})"


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."
