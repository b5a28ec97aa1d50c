"""What a media file holds, read from ffmpeg's own description of its input.

ffprobe would give JSON, but the ffmpeg that comes as a wheel has none; one way for both keeps one behaviour.
The description is text that a hostile file can imitate in its tags. That gains it nothing: limits hold whatever it says.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

# Containers whose time stamps are meant: a gap in them is a gap in the sound.
CLOCKED_FORMATS = frozenset({"mov", "matroska", "webm", "mpegts", "mpeg", "avi", "asf", "flv", "ogg"})

_INPUT = re.compile(r"^Input #0, (?P<formats>[\w,]+), from ", re.MULTILINE)
_DURATION = re.compile(
    r"^  Duration: (?P<hours>\d+):(?P<minutes>\d\d):(?P<seconds>\d\d\.\d+)(?:, start: (?P<start>-?\d+\.\d+))?",
    re.MULTILINE,
)
_STREAM = re.compile(r"^  Stream #0:\d+\S*: (?P<kind>\w+):(?P<rest>.*)$", re.MULTILINE)
_ESTIMATED = "Estimating duration from bitrate"


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """What ffmpeg recognised."""

    formats: tuple[str, ...]
    duration_seconds: float | None  # None: the file does not say
    duration_is_estimate: bool
    start_seconds: float
    audio_streams: int
    streams: int  # cover pictures do not count

    @property
    def has_clock(self) -> bool:
        return not CLOCKED_FORMATS.isdisjoint(self.formats)

    @property
    def sound_may_be_shorter(self) -> bool:
        """The duration is the longest track's: a picture often goes on after the sound has ended."""
        return self.has_clock and self.streams > 1


def parse(description: str) -> Probe | None:
    """Read the description; None when ffmpeg recognised nothing."""
    head = _INPUT.search(description)
    if head is None:
        return None
    told = description[head.start() :]
    streams = [match for match in _STREAM.finditer(told) if "(attached pic)" not in match["rest"]]
    length = _DURATION.search(told)
    seconds = None
    if length is not None:
        seconds = int(length["hours"]) * 3600 + int(length["minutes"]) * 60 + float(length["seconds"])
    return Probe(
        formats=tuple(head["formats"].split(",")),
        duration_seconds=seconds,
        duration_is_estimate=_ESTIMATED in description,
        start_seconds=float(length["start"] or 0) if length is not None else 0.0,
        audio_streams=sum(match["kind"] == "Audio" for match in streams),
        streams=len(streams),
    )
