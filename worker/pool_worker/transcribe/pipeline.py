"""One transcription from file to files: extract, slice, decode, merge, write.

Called by pool_worker/jobs.py on a slot's thread. Every argument is explicit; nothing here knows RQ or Redis.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from pool_contract.jobs import JobError, TranscriptionJob, TranscriptionResult, TranscriptSegment, TranscriptWord
from pool_worker.media.audio import Audio, extract_audio
from pool_worker.media.limits import SAMPLE_RATE, Limits
from pool_worker.media.workspace import workspace
from pool_worker.transcribe import formats, outputs, slices
from pool_worker.transcribe.folders import inside
from pool_worker.transcribe.model import Model

if TYPE_CHECKING:
    from faster_whisper.transcribe import Segment, TranscriptionInfo

EXTRACTION_SHARE = 0.1  # of the progress


@dataclass(frozen=True, slots=True, kw_only=True)
class PipelineSettings:
    """What the worker decides for all its jobs."""

    output: Path | None = None
    folders: tuple[Path, ...] = ()  # where a job's paths must lie; empty: anywhere
    temporary: Path | None = None  # default: the system's folder for temporary files
    limits: Limits = field(default_factory=Limits)
    slice_seconds: int = slices.SLICE_SECONDS

    @classmethod
    def from_environment(cls) -> PipelineSettings:
        """What flags and variables of the worker say; the worker puts its flags into its environment."""
        output = os.environ.get("PROCESSINGPOOL_OUTPUT")
        folders = os.environ.get("PROCESSINGPOOL_FOLDERS", "").split(",")
        return cls(
            output=Path(output) if output else None,
            folders=tuple(Path(folder.strip()) for folder in folders if folder.strip()),
            limits=Limits.from_environment(),
        )


@dataclass(slots=True)
class _Transcript:
    language: str | None
    language_probability: float = 1.0
    segments: list[TranscriptSegment] = field(default_factory=list)


def transcribe_file(
    job: TranscriptionJob,
    job_id: str,
    model: Model,
    settings: PipelineSettings,
    on_progress: Callable[[float], None] = lambda _share: None,
) -> TranscriptionResult:
    """Transcribe and write the files; `on_progress` gets 0..1.

    Raises:
        JobError, MediaError, OutputError: each with one sentence.
    """
    _refuse_language(job, model)
    source = inside(job.source, settings.folders, "source")
    output = None if job.output is None else inside(job.output, settings.folders, "output")
    folder = outputs.output_folder(output, settings.output)
    files = outputs.file_names(folder, job_id)
    with workspace(settings.temporary) as place:
        audio = extract_audio(source, place, settings.limits, lambda share: on_progress(EXTRACTION_SHARE * share))
        transcript = _decode(audio, job, model, settings.slice_seconds, on_progress)
    no_speech = () if transcript.segments else ("no speech was found",)
    result = TranscriptionResult(
        job=job_id,
        source=job.source,
        model=model.name,
        language=transcript.language or "",
        language_probability=transcript.language_probability,
        duration_seconds=round(audio.seconds, 3),
        text=" ".join(segment.text for segment in transcript.segments),
        files=files,
        warnings=[*audio.warnings, *no_speech],
        segments=transcript.segments,
    )
    outputs.write(files, formats.render(result))
    on_progress(1.0)
    return result


def _refuse_language(job: TranscriptionJob, model: Model) -> None:
    if job.language is not None and job.language not in model.languages:
        known = ", ".join(model.languages[:5]) + (", ..." if len(model.languages) > 5 else "")
        raise JobError(f"language: the model {model.name} does not know {job.language!r}; it knows {known}")


def _decode(
    audio: Audio, job: TranscriptionJob, model: Model, slice_seconds: int, on_progress: Callable[[float], None]
) -> _Transcript:
    done = _Transcript(language=job.language)
    for part in slices.plan(audio.samples, slice_seconds):
        decoded, info = model.whisper.transcribe(
            slices.read(audio.path, part),
            language=done.language,  # found in the first slice, kept for the others
            beam_size=job.beam_size,
            word_timestamps=job.word_timestamps,
            vad_filter=job.vad_filter,
            condition_on_previous_text=False,  # one misheard window would spoil all that follow
        )
        if done.language is None:
            done.language, done.language_probability = _language(info)
        for segment in _segments(decoded, part):
            done.segments.append(segment)
            on_progress(_share(segment.end, audio.seconds))
        on_progress(_share(part.end / SAMPLE_RATE, audio.seconds))
    return done


def _language(info: TranscriptionInfo) -> tuple[str, float]:
    return info.language, round(info.language_probability, 3)


def _share(position_seconds: float, total_seconds: float) -> float:
    return EXTRACTION_SHARE + (0.99 - EXTRACTION_SHARE) * min(1.0, position_seconds / total_seconds)


def _segments(decoded: Iterator[Segment], part: slices.Slice) -> Iterator[TranscriptSegment]:
    """The slice's segments on the file's clock; a window is filled up to 30 s, and what is heard in the filling is not real."""
    for one in decoded:
        text = " ".join(one.text.split())
        if not text or one.start >= part.seconds:
            continue
        yield TranscriptSegment(
            start=_on_file_clock(one.start, part),
            end=_on_file_clock(min(one.end, part.seconds), part),
            text=text,
            avg_logprob=round(one.avg_logprob, 3),
            no_speech_prob=round(one.no_speech_prob, 3),
            compression_ratio=round(one.compression_ratio, 3),
            words=_words(one, part),
        )


def _words(segment: Segment, part: slices.Slice) -> list[TranscriptWord] | None:
    if segment.words is None:
        return None
    return [
        TranscriptWord(
            start=_on_file_clock(word.start, part),
            end=_on_file_clock(min(word.end, part.seconds), part),
            word=word.word.strip(),
            probability=round(word.probability, 3),
        )
        for word in segment.words
    ]


def _on_file_clock(seconds: float, part: slices.Slice) -> float:
    """In whole milliseconds, so that slices add no rounding of their own."""
    return (part.start_ms + round(seconds * 1000)) / 1000
