"""Child processes that end when we do, each with a log file."""

from __future__ import annotations

import asyncio
import ctypes
import os
import re
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

PR_SET_PDEATHSIG: Final = 1
TAIL_BYTES: Final = 4096
LOG_HEAD: Final = re.compile(r"^\S+Z (?:error|critical|warning|info) +\w+: ")


async def start(
    command: Sequence[str],
    *,
    environment: Mapping[str, str],
    log: Path,
    folder: str | None = None,
    stdin: bytes | None = None,
) -> asyncio.subprocess.Process:
    """Start a process of its own session (a terminal's Ctrl-C is ours alone) that is told to end when we die.

    Raises:
        OSError: the command cannot be started.
    """
    with log.open("ab") as output:
        process = await asyncio.create_subprocess_exec(
            *command,
            env=dict(environment),
            cwd=folder,
            stdin=asyncio.subprocess.DEVNULL if stdin is None else asyncio.subprocess.PIPE,
            stdout=output,
            stderr=output,
            start_new_session=True,
            preexec_fn=_bound_to_parent(),
        )
    if stdin is not None:
        assert process.stdin is not None
        process.stdin.write(stdin)
        process.stdin.close()
    return process


def _bound_to_parent() -> Callable[[], None] | None:
    """Linux ends the child with us, whatever ends us; elsewhere the worker itself watches PROCESSINGPOOL_PARENT_PID."""
    if not sys.platform.startswith("linux"):
        return None
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    parent = os.getpid()

    def bind() -> None:
        prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
        if os.getppid() != parent:  # died in between
            os._exit(1)

    return bind


def kill(process: asyncio.subprocess.Process) -> None:
    """SIGKILL for the process, if it still runs, and what it started."""
    if process.returncode is None:
        kill_group(process)


def kill_group(process: asyncio.subprocess.Process) -> None:
    """SIGKILL for what the process started, also right after its own end."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)


def last_line(log: Path) -> str:
    """The last line a process wrote, without the log's time and level: mostly the reason of its end."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - TAIL_BYTES))
            lines = file.read().decode("utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    last = next((line.strip() for line in reversed(lines) if line.strip()), "")
    return LOG_HEAD.sub("", last)[:500]
