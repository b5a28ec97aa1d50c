"""A transcript as SRT, WebVTT, plain text and JSON. Pure."""

from __future__ import annotations

from pool_contract.jobs import TranscriptionResult, TranscriptSegment


def render(result: TranscriptionResult) -> dict[str, str]:
    """All formats: file ending -> content."""
    return {
        "srt": srt(result.segments),
        "vtt": vtt(result.segments),
        "txt": txt(result.segments),
        "json": result.model_dump_json(indent=1, exclude_none=True) + "\n",
    }


def srt(segments: list[TranscriptSegment]) -> str:
    """SubRip has no escapes; only an arrow could be taken for a cue's times."""
    cues = (
        f"{number}\n{_time(one.start, ',')} --> {_time(_end(one), ',')}\n{one.text.replace('-->', '->')}\n"
        for number, one in enumerate(segments, start=1)
    )
    return "\n".join(cues)


def vtt(segments: list[TranscriptSegment]) -> str:
    cues = (f"\n{_time(one.start, '.')} --> {_time(_end(one), '.')}\n{_escaped(one.text)}\n" for one in segments)
    return "WEBVTT\n" + "".join(cues)


def txt(segments: list[TranscriptSegment]) -> str:
    return "".join(f"{one.text}\n" for one in segments)


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _end(segment: TranscriptSegment) -> float:
    """A cue that ends when it starts is an error to players."""
    return max(segment.end, segment.start + 0.001)


def _time(seconds: float, decimal_mark: str) -> str:
    milliseconds = round(seconds * 1000)
    minutes, milliseconds = divmod(milliseconds, 60_000)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02d}:{minutes:02d}:{milliseconds // 1000:02d}{decimal_mark}{milliseconds % 1000:03d}"
