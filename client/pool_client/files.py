"""Which files a user means, and how long they are where their header says so at once."""

from __future__ import annotations

import glob
import mimetypes
import wave
from collections.abc import Sequence
from pathlib import Path

from pool_client.errors import ClientError


def media_files(patterns: Sequence[str]) -> list[Path]:
    """Files, folders' media files and patterns' files, each once, in order.

    Raises:
        ClientError: one names nothing.
    """
    found: dict[Path, None] = {}
    for pattern in patterns:
        path = Path(pattern).expanduser()
        if path.is_dir():
            files = sorted(one for one in path.iterdir() if one.is_file() and _looks_like_media(one))
        elif path.is_file():
            files = [path]
        else:
            files = [Path(one) for one in sorted(glob.glob(str(path), recursive=True)) if Path(one).is_file()]  # noqa: PTH207 - a pattern may be absolute
        if not files:
            raise ClientError(f"'{_shown(pattern)}': {_nothing(pattern, path)}")
        for one in files:
            try:
                str(one).encode()
            except UnicodeEncodeError:
                raise ClientError(f"'{_shown(str(one))}': this file's name is not UTF-8; rename the file") from None
        found.update(dict.fromkeys(one.absolute() for one in files))
    return list(found)


def _nothing(pattern: str, path: Path) -> str:
    if "://" in pattern:
        return "is a URL; only local files can be submitted: download it first"
    if path.is_dir():
        return "there is no audio or video file in this folder"
    if path.exists():
        return "is no regular file; copy what it gives into a file first"
    return "there is no such file, and no file matches it"


def _shown(name: str) -> str:
    return name.encode(errors="surrogateescape").decode("utf-8", "backslashreplace")


def _looks_like_media(path: Path) -> bool:
    """By its name; a file that a user names itself is taken as it is."""
    kind, _ = mimetypes.guess_type(path.name)
    return kind is not None and kind.partition("/")[0] in {"audio", "video"} and not path.name.startswith(".")


def media_seconds(path: Path) -> float | None:
    """Seconds of a WAV file, from its header; None where that is not known cheaply (the worker measures it anyway)."""
    try:
        with wave.open(str(path), "rb") as file:
            rate = file.getframerate()
            return file.getnframes() / rate if rate else None
    except (OSError, EOFError, wave.Error):
        return None
