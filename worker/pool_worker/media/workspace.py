"""A folder of its own for each running job, gone when the job ends, however it ends.

A killed process cannot clean up after itself. Its folders would fill the disk just when jobs are run again, so whoever
makes a new one first removes those whose owner is gone: the owner holds a lock on a file inside for as long as it lives.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from pool_worker.media.errors import MachineError

PREFIX = "processingpool-job-"
_LOCK = ".lock"
_NEW_LOCK = ".lock.new"


@contextlib.contextmanager
def workspace(parent: Path | None = None) -> Iterator[Path]:
    """An empty folder under `parent` (default: the system's folder for temporary files).

    Raises:
        MachineError: when it cannot be made.
    """
    base = parent if parent is not None else Path(tempfile.gettempdir())
    remove_abandoned(base)
    try:
        folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=base))
        lock = _locked(folder)
    except OSError as error:
        raise MachineError(disk_sentence(error, base)) from None
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)


def _locked(folder: Path) -> int:
    """Locked before it has its name: a lock file that can be seen and is free means that its owner is gone."""
    lock = os.open(folder / _NEW_LOCK, os.O_CREAT | os.O_RDWR, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX)
    (folder / _NEW_LOCK).rename(folder / _LOCK)
    return lock


def remove_abandoned(base: Path) -> None:
    """Remove the folders of processes that are gone; one without a lock file is just being made or removed."""
    for folder in base.glob(f"{PREFIX}*"):
        try:
            lock = os.open(folder / _LOCK, os.O_RDWR)
        except OSError:
            continue
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)
        except OSError:
            continue  # its owner lives
        finally:
            os.close(lock)


def disk_sentence(error: OSError, place: Path) -> str:
    """Why a folder cannot be written, in one sentence with the fix."""
    if error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return f"the disk is full: no space left in {place}; free some or give the worker a larger volume there"
    if error.errno in {errno.EACCES, errno.EPERM, errno.EROFS}:
        return f"the worker may not write to {place}: make the folder writable for its user"
    return f"the worker cannot write to {place}: {error.strerror or error}"
