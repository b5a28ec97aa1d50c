"""Write a job's files so that a reader sees the old ones or the new ones, whole, whatever dies when.

A job may run twice (after a freeze longer than its lease). Both runs write under the job's id, to names of their own
first; the last rename wins, and both are right.
"""

from __future__ import annotations

import contextlib
import os
import re
import uuid
from pathlib import Path

from pool_worker.media.workspace import disk_sentence

_SAFE_NAME = re.compile(r"[A-Za-z0-9_-]{1,200}")


class OutputError(Exception):
    """The results cannot be written; the text is one sentence with the fix."""


def output_folder(job_output: str | None, default: Path | None) -> Path:
    """The job's folder, else the worker's, made if needed and proved writable before any work is done.

    Raises:
        OutputError: when there is none, or nothing can be written there.
    """
    folder = Path(job_output) if job_output is not None else default
    if folder is None:
        raise OutputError("output: neither the job nor the worker (PROCESSINGPOOL_OUTPUT) names an output folder")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / f".{uuid.uuid4().hex}.tmp"
        probe.touch()
        probe.unlink()
    except (FileExistsError, NotADirectoryError):
        raise OutputError(f"output: {folder} is not a folder") from None
    except OSError as error:
        raise OutputError(f"output: {disk_sentence(error, folder)}") from None
    return folder


def file_names(folder: Path, job_id: str) -> dict[str, str]:
    """Ending -> path of each file of a job.

    Raises:
        OutputError: when the id cannot be a file name.
    """
    if not _SAFE_NAME.fullmatch(job_id):
        raise OutputError(
            f"the job id {job_id[:80]!r} cannot be a file name: use letters, digits, - and _, at most 200"
        )
    return {ending: str(folder / f"{job_id}.{ending}") for ending in ("json", "srt", "vtt", "txt")}


def write(files: dict[str, str], contents: dict[str, str]) -> None:
    """Write each ending's content to its path; the JSON appears last, so that it vouches for the others.

    Raises:
        OutputError: when they cannot be written; then nothing has changed or all that did is right.
    """
    order = sorted(files, key=lambda ending: ending == "json")
    folder = Path(files["json"]).parent
    mark = uuid.uuid4().hex
    temporary = {ending: folder / f".{Path(files[ending]).name}.{mark}.tmp" for ending in order}
    try:
        for ending in order:
            _write_and_sync(temporary[ending], contents[ending])
        for ending in order:
            temporary[ending].replace(files[ending])
        _sync_folder(folder)
    except OSError as error:
        raise OutputError(f"output: {disk_sentence(error, folder)}") from None
    finally:
        for path in temporary.values():
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)


def _write_and_sync(path: Path, content: str) -> None:
    with path.open("x", encoding="utf-8", newline="") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    """Make the renames last through a power cut."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
