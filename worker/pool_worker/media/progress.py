"""ffmpeg's `-progress` output: lines of key=value."""

from __future__ import annotations


def position_seconds(line: str) -> float | None:
    """How far the output has come, if this line says so (before the first frame it says N/A)."""
    key, _, value = line.partition("=")
    if key != "out_time_us" or not value.strip().isdigit():
        return None
    return int(value) / 1_000_000
