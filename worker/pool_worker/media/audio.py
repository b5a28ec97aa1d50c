"""From a user's file to samples on disk: check the file, probe it, extract its sound, judge what came out.

Called by transcribe/pipeline.py with a workspace; the samples are then read slice by slice.
"""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pool_worker.media import commands, probe
from pool_worker.media.errors import MachineError, MediaError
from pool_worker.media.limits import BYTES_PER_SAMPLE, BYTES_PER_SECOND, SAMPLE_RATE, Limits
from pool_worker.media.progress import position_seconds
from pool_worker.media.run import Ended, run
from pool_worker.media.tool import find_ffmpeg
from pool_worker.media.workspace import disk_sentence

_HEADER_MAY_ERR = 1.02
_SPARE_SECONDS = 5.0
_ADDRESS = re.compile(r" @ 0x[0-9a-f]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Audio:
    """Samples on disk: 16-bit little-endian, 16 kHz, mono, no header."""

    path: Path
    samples: int
    warnings: tuple[str, ...] = ()

    @property
    def seconds(self) -> float:
        return self.samples / SAMPLE_RATE


def extract_audio(
    source: str, folder: Path, limits: Limits, on_progress: Callable[[float], None] = lambda _share: None
) -> Audio:
    """Write the sound of `source` into `folder`; `on_progress` gets 0..1.

    Raises:
        MediaError: when the file is no media, has no sound, is damaged beyond use or over a limit, or the disk is full.
    """
    file = _regular_file(source)
    program = find_ffmpeg()
    found = _probe(program, file, limits)
    seconds = _seconds_to_read(found, limits)
    target = folder / "audio.s16"
    total = found.duration_seconds or seconds

    def on_line(line: str) -> None:
        if (position := position_seconds(line)) is not None:
            on_progress(min(1.0, position / total))

    ended = run(
        commands.extract(program, file, target, found, seconds, limits),
        timeout_seconds=limits.extract_timeout_seconds(total),
        limits=limits,
        max_file_bytes=int(seconds * BYTES_PER_SECOND) + (1 << 20),
        on_line=on_line,
    )
    size = target.stat().st_size if target.exists() else 0
    audio = Audio(path=target, samples=size // BYTES_PER_SAMPLE)
    _refuse_failure(ended, audio, folder)
    return Audio(path=target, samples=audio.samples, warnings=_judged(audio, found, seconds, ended, limits))


def _regular_file(source: str) -> Path:
    """The file behind all links. A pipe would block for ever; a device would never end."""
    try:
        path = Path(os.path.realpath(source, strict=True))
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise MediaError(f"source: {source} is a {_kind(status.st_mode)}, not a file")
        with path.open("rb"):
            pass
    except FileNotFoundError:
        raise MediaError(f"source: there is no file {source} on this worker: is its volume mounted here?") from None
    except PermissionError:
        raise MediaError(f"source: the worker may not read {source}: make it readable for the worker's user") from None
    except OSError as error:
        raise MediaError(f"source: {source} cannot be read: {error.strerror or error}") from None
    if status.st_size == 0:
        raise MediaError(f"source: {source} is empty (0 bytes)")
    return path


def _kind(mode: int) -> str:
    kinds = ((stat.S_ISDIR, "folder"), (stat.S_ISFIFO, "pipe"), (stat.S_ISSOCK, "socket"))
    return next((name for test, name in kinds if test(mode)), "device")


def _probe(program: str, file: Path, limits: Limits) -> probe.Probe:
    ended = _started(commands.probe(program, file, limits), program, limits.probe_timeout_seconds, limits)
    found = probe.parse(ended.errors)
    if ended.timed_out:
        raise MachineError(
            f"ffmpeg could not tell within {limits.probe_timeout_seconds:.0f} s what the file is: it is damaged, or its disk is too slow"
        )
    if found is None:
        raise MediaError(_unrecognised(ended))
    if found.audio_streams == 0:
        raise MediaError("the file has no audio track")
    if found.streams > limits.max_streams:
        raise MediaError(f"the file has {found.streams} tracks; at most {limits.max_streams} are read")
    return found


def _started(command: list[str], program: str, timeout_seconds: float, limits: Limits) -> Ended:
    ended = run(command, timeout_seconds=timeout_seconds, limits=limits)
    if ended.returncode in {126, 127}:  # the shell's words for "cannot run" and "not found"
        raise MachineError(f"ffmpeg at {program} cannot be started: {_first_line(ended.errors)}")
    return ended


def _unrecognised(ended: Ended) -> str:
    if "not on whitelist" in ended.errors:
        return f"the file is of a kind that is not accepted (such as playlists, images and text); accepted are {', '.join(commands.FORMATS)}"
    if ended.returncode < 0:
        return f"ffmpeg was ended by signal {-ended.returncode} while looking at the file: it is damaged, or asks for too much memory"
    return f"the file is not audio or video, or it is damaged (ffmpeg: {_first_line(ended.errors)})"


def _seconds_to_read(found: probe.Probe, limits: Limits) -> float:
    """How much sound to write at most.

    With a clock, a single wrong time stamp would be filled with silence for hours: the header's length bounds that.
    Without one, only what is there is written, and headers are often too short (joined files).
    """
    length = found.duration_seconds
    if length is not None and not found.duration_is_estimate and length > limits.max_media_seconds:
        raise MediaError(_too_long(f"{length:.0f} s", limits))
    if length is None or found.duration_is_estimate or not found.has_clock:
        return limits.max_media_seconds + 1
    return min(limits.max_media_seconds + 1, (found.start_seconds + length) * _HEADER_MAY_ERR + _SPARE_SECONDS)


def _too_long(length: str, limits: Limits) -> str:
    return f"the media lasts {length}, more than the limit of {limits.max_media_seconds:.0f} s: cut it, or raise PROCESSINGPOOL_MAX_MEDIA_SECONDS"


def _refuse_failure(ended: Ended, audio: Audio, folder: Path) -> None:
    if "No space left on device" in ended.errors or "Disk quota exceeded" in ended.errors:
        raise MachineError(disk_sentence(OSError(errno.ENOSPC, ""), folder))
    if ended.timed_out:
        raise MachineError(f"ffmpeg did not finish in time: after {audio.seconds:.0f} s of sound it was stopped")
    if ended.returncode < 0:
        raise MediaError(
            f"ffmpeg was ended by signal {-ended.returncode} after {audio.seconds:.0f} s of sound: the file is damaged, or asks for too much memory"
        )
    if ended.returncode != 0 and audio.samples == 0:
        raise MediaError(f"the sound of the file cannot be decoded (ffmpeg: {_first_line(ended.errors)})")
    if audio.samples == 0:
        raise MediaError("the file has an audio track but no sound in it (0 samples)")


def _judged(audio: Audio, found: probe.Probe, limit_seconds: float, ended: Ended, limits: Limits) -> tuple[str, ...]:
    """What a user should know about the extracted sound; too much missing is an error."""
    if audio.seconds > limits.max_media_seconds:
        raise MediaError(_too_long(f"more than {limits.max_media_seconds:.0f} s", limits))
    warnings = []
    told = found.duration_seconds
    ended_early = ended.error_lines > 0 or not found.sound_may_be_shorter
    if told is not None and told > 0 and not found.duration_is_estimate and ended_early:
        missing = 1 - audio.seconds / told
        sentence = f"only {audio.seconds:.1f} s of {told:.1f} s could be decoded ({missing:.0%} missing): the file is damaged or cut off"
        if missing > limits.fail_missing_fraction:
            raise MediaError(sentence)
        if missing > limits.warn_missing_fraction:
            warnings.append(sentence)
    if audio.seconds >= limit_seconds - 0.1:
        warnings.append(f"the file goes on after the {told:.1f} s that it claims; only {audio.seconds:.1f} s were read")
    if ended.error_lines:
        warnings.append(f"ffmpeg reported {ended.error_lines} errors, the first: {_first_line(ended.errors)}")
    return tuple(warnings)


def _first_line(text: str) -> str:
    """The first complaint, without the address of the object that makes it: it differs from run to run."""
    lines = (line.strip() for line in text.splitlines() if "misdetection possible" not in line)
    line = next(filter(None, lines), "no message")
    return _ADDRESS.sub("", line)[:200]
