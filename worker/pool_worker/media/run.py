"""Run one ffmpeg command with limits, and end it whatever happens here.

The child gets its own process group, an environment without our secrets, and limits on address space, CPU time, file
size and core dumps before it reads its first byte. The loop below never blocks for long: a slot's time-out arrives
as an exception in this thread, which can only be raised between two steps of Python.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass

from pool_worker.media.limits import Limits

KEPT_ERROR_BYTES = 65_536  # a damaged file makes thousands of lines; the first and the last tell enough
_STEP_SECONDS = 0.2
_END_SECONDS = 5.0

# A shell sets the limits and becomes ffmpeg. Doing it between fork and exec in Python could deadlock: threads run here.
# A limit that is lower already stays.
_WITH_LIMITS = '{ ulimit -c 0; ulimit -v "$1"; ulimit -t "$2"; ulimit -f "$3"; } 2>/dev/null; shift 3; exec "$@"'


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """How a command ended."""

    returncode: int
    errors: str  # stderr, bounded
    error_lines: int
    timed_out: bool


def run(
    command: list[str],
    *,
    timeout_seconds: float,
    limits: Limits,
    max_file_bytes: int = 0,
    on_line: Callable[[str], None] = lambda _line: None,
) -> Ended:
    """Run to the end or to the time limit; `on_line` gets each line of stdout.

    Raises:
        OSError: if the program cannot be started.
    """
    child = subprocess.Popen(
        _limited(command, timeout_seconds, limits, max_file_bytes),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
        env={"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C", "MALLOC_ARENA_MAX": "1"},
    )
    try:
        return _follow(child, time.monotonic() + timeout_seconds, on_line)
    finally:
        _end(child)


def _limited(command: list[str], timeout_seconds: float, limits: Limits, max_file_bytes: int) -> list[str]:
    memory_kib = str(limits.memory_bytes // 1024)
    cpu_seconds = str(2 * int(timeout_seconds) + 1)
    file_blocks = str(max_file_bytes // 512 + 1)
    return ["/bin/sh", "-c", _WITH_LIMITS, "sh", memory_kib, cpu_seconds, file_blocks, *command]


def _follow(child: subprocess.Popen[bytes], deadline: float, on_line: Callable[[str], None]) -> Ended:
    assert child.stdout is not None
    assert child.stderr is not None
    errors = _Errors()
    line = b""
    with selectors.DefaultSelector() as selector:
        selector.register(child.stdout, selectors.EVENT_READ)
        selector.register(child.stderr, selectors.EVENT_READ)
        while selector.get_map():
            if time.monotonic() > deadline:
                return errors.ended(returncode=-signal.SIGKILL, timed_out=True)
            for key, _ in selector.select(_STEP_SECONDS):
                data = os.read(key.fd, 65_536)
                if not data:
                    selector.unregister(key.fileobj)
                elif key.fileobj is child.stderr:
                    errors.add(data)
                else:
                    *lines, line = (line + data).split(b"\n")
                    for one in lines:
                        on_line(one.decode(errors="replace"))
                    line = line[-1024:]
    while (returncode := child.poll()) is None:  # both pipes are closed: it is about to end
        if time.monotonic() > deadline:
            return errors.ended(returncode=-signal.SIGKILL, timed_out=True)
        time.sleep(0.005)
    return errors.ended(returncode=returncode, timed_out=False)


class _Errors:
    """The beginning and the end of stderr, and how many lines it had."""

    def __init__(self) -> None:
        self._head = b""
        self._tail = b""
        self._lines = 0

    def add(self, data: bytes) -> None:
        self._lines += data.count(b"\n")
        room = KEPT_ERROR_BYTES - len(self._head)
        self._head += data[:room]
        self._tail = (self._tail + data[room:])[-KEPT_ERROR_BYTES:]

    def ended(self, *, returncode: int, timed_out: bool) -> Ended:
        text = (self._head + self._tail).decode(errors="replace")
        return Ended(returncode=returncode, errors=text, error_lines=self._lines, timed_out=timed_out)


def _end(child: subprocess.Popen[bytes]) -> None:
    if child.returncode is None:  # not yet reaped, so its number is still its own
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
        child.wait(_END_SECONDS)
    for pipe in (child.stdout, child.stderr):
        if pipe is not None:
            pipe.close()
