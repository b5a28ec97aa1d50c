"""The state folder of one pool on this machine: lock, pool UID, epochs, and a note of each process we started.

All of it lies under the user's state folder, so that a second run continues where the first one stopped.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import signal
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

NOTES: Final = "processes"
LEFTOVER_SECONDS: Final = 15.0
KEPT_LOGS: Final = 200


class PoolBusyError(Exception):
    """Another process runs this pool; the text is the sentence for the user."""


class StateFolder:
    """One pool's folder; `locked` must be entered before anything else is used."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.data = path / "valkey"
        self.logs = path / "logs"

    @contextmanager
    def locked(self, pool: str) -> Iterator[None]:
        """Hold the folder for this process.

        Raises:
            PoolBusyError: another process holds it.
        """
        self.path.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.path.chmod(0o700)  # the embedded server's data and password are nobody else's business
        for folder in (self.data, self.logs, self.path / NOTES):
            folder.mkdir(exist_ok=True)
        with (self.path / "lock").open("a+", encoding="utf-8") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                file.seek(0)
                holder = file.read().strip() or "unknown"
                raise PoolBusyError(
                    f"pool '{pool}' runs on this machine already (process {holder}): stop that one with Ctrl-C, "
                    "or give this pool another metadata.name"
                ) from error
            file.truncate(0)
            file.write(str(os.getpid()))
            file.flush()
            yield

    def uid(self) -> str:
        """The pool's UID: the same in each run, because Redis keeps the pool's state under it."""
        path = self.path / "uid"
        with contextlib.suppress(OSError):
            if known := path.read_text(encoding="utf-8").strip():
                return known
        fresh = str(uuid.uuid4())
        _write(path, fresh)
        return fresh

    def next_epoch(self) -> int:
        """Count one more start: what an earlier run still sends is refused from now on."""
        path = self.path / "epoch"
        try:
            last = int(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            last = int(time.time()) if path.exists() else 0  # unreadable: surely above what was there
        _write(path, str(last + 1))
        return last + 1

    def prune_logs(self) -> None:
        """Keep the newest logs of workers; each replica writes one of its own."""
        logs = sorted(self.logs.glob("local-*.log"), key=lambda path: path.stat().st_mtime, reverse=True)
        for old in logs[KEPT_LOGS:]:
            old.unlink(missing_ok=True)

    # --- processes ------------------------------------------------------------------------------------------------

    def note(self, name: str, pid: int) -> None:
        """Remember a process, so that a later run can be sure that it is gone."""
        (self.path / NOTES / name).write_text(f"{pid} {_birth(pid)}", encoding="utf-8")

    def forget(self, name: str) -> None:
        (self.path / NOTES / name).unlink(missing_ok=True)

    async def end_leftovers(self) -> list[str]:
        """Names of processes of an earlier run that was killed; when this returns, none of them lives."""
        names = sorted(path.name for path in (self.path / NOTES).iterdir())
        end = time.monotonic() + LEFTOVER_SECONDS
        for number in (signal.SIGTERM, signal.SIGKILL):
            for name in names:
                if pid := self._alive(name):
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, number)
            while any(map(self._alive, names)) and (number is signal.SIGKILL or time.monotonic() < end):  # noqa: ASYNC110 - not our children
                await asyncio.sleep(0.05)
        for name in names:
            self.forget(name)
        return names

    def _alive(self, name: str) -> int | None:
        """Its pid, if that is still the same process."""
        try:
            pid, birth = (self.path / NOTES / name).read_text(encoding="utf-8").split(" ", 1)
        except (OSError, ValueError):
            return None
        return int(pid) if birth and _birth(int(pid)) == birth else None


def _birth(pid: int) -> str:
    """When a process started, in the kernel's own words: tells a process from a later one of the same pid."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] == "Z" else fields[19]


def _write(path: Path, text: str) -> None:
    fresh = path.with_suffix(".new")
    fresh.write_text(text, encoding="utf-8")
    fresh.replace(path)
