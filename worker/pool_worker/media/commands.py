"""The command lines of ffmpeg, and nothing else: every argument that it ever gets from us stands here.

A user's file is only ever named as `file:` plus an absolute path, and read under a list of protocols and containers:
a file that is really a playlist (HLS, DASH, ffconcat, SDP) would otherwise make ffmpeg open other files or hosts.
`run.py` runs what is compiled here.
"""

from __future__ import annotations

from pathlib import Path

import ffmpeg

from pool_worker.media.limits import BYTES_PER_SECOND, SAMPLE_RATE, Limits
from pool_worker.media.probe import Probe

# Names of ffmpeg's demuxers. None of them follows a reference to another file by default.
FORMATS = (
    "mov",
    "matroska",
    "webm",
    "ogg",
    "mp3",
    "wav",
    "flac",
    "aac",
    "avi",
    "mpegts",
    "mpeg",
    "asf",
    "flv",
    "w64",
    "aiff",
    "amr",
    "caf",
)

_KEEP_THE_CLOCK = "aresample=async=1:first_pts=0"  # silence for gaps: subtitles stay with the picture
_COUNT_SAMPLES = "asetpts=N/SR/TB"  # these files' time stamps are guesses; with async, a damaged mp3 grew twentyfold


def probe(program: str, source: Path, limits: Limits) -> list[str]:
    """Describe the input on stderr; exit status 1, since no output is named."""
    described = _input(source, limits)
    # ffmpeg-python compiles no command without an output: leave out the one that it was given.
    command: list[str] = ffmpeg.compile(described.output("-"), cmd=[program, "-nostdin", "-hide_banner"])
    return command[: command.index("-i") + 2]


def extract(program: str, source: Path, target: Path, found: Probe, seconds: float, limits: Limits) -> list[str]:
    """Write the first audio track as 16 kHz mono samples, no more than `seconds`; progress goes to stdout."""
    audio = _input(source, limits)["a:0"].output(
        f"file:{target}",
        af=_KEEP_THE_CLOCK if found.has_clock else _COUNT_SAMPLES,
        t=f"{seconds:.3f}",
        ac=1,
        ar=SAMPLE_RATE,
        acodec="pcm_s16le",
        format="s16le",
        fs=int(seconds * BYTES_PER_SECOND),
    )
    quiet = ["-loglevel", "error", "-nostats", "-progress", "pipe:1", "-stats_period", "0.5"]
    command: list[str] = ffmpeg.compile(audio, cmd=[program, "-nostdin", "-hide_banner", "-y", *quiet])
    return command


def _input(source: Path, limits: Limits) -> ffmpeg.nodes.FilterableStream:
    return ffmpeg.input(
        f"file:{source}",
        protocol_whitelist="file",
        format_whitelist=",".join(FORMATS),
        max_pixels=limits.max_pixels,
        threads=1,
    )
