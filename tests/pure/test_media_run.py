"""The limits of the child process, with real processes in the place of ffmpeg."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from pathlib import Path

import pytest

from pool_worker.media.limits import Limits
from pool_worker.media.run import KEPT_ERROR_BYTES, run

LIMITS = Limits()


def python(code: str, *arguments: str) -> list[str]:
    return [sys.executable, "-I", "-S", "-c", code, *arguments]


def alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


def test_a_child_that_hangs_is_ended_with_all_that_it_started(tmp_path):
    pids = tmp_path / "pids"
    code = "import os,sys,time\nchild = os.fork()\nopen(sys.argv[1], 'a').write(f'{os.getpid()}\\n')\ntime.sleep(600)"
    ended = run(python(code, str(pids)), timeout_seconds=3.0, limits=LIMITS, max_file_bytes=4096)
    assert ended.timed_out
    started = [int(line) for line in pids.read_text().split()]
    assert len(started) == 2
    for pid in started:
        _until(lambda pid=pid: not alive(pid))


def test_an_exception_raised_in_the_thread_ends_the_child(tmp_path):
    class Interrupt(BaseException):
        pass

    pids: list[int] = []

    def on_line(line: str) -> None:
        pids.append(int(line))
        raise Interrupt

    with pytest.raises(Interrupt):
        run(
            python("import os,time; print(os.getpid(), flush=True); time.sleep(600)"),
            timeout_seconds=60,
            limits=LIMITS,
            on_line=on_line,
        )
    assert not alive(pids[0])


def test_the_child_sees_no_secrets_and_has_its_own_group(monkeypatch):
    monkeypatch.setenv("PROCESSINGPOOL_REDIS_PASSWORD", "secret")
    lines: list[str] = []
    code = "import os,json; print(json.dumps([dict(os.environ), os.getpgid(0), os.getpid()]))"
    ended = run(python(code), timeout_seconds=60, limits=LIMITS, on_line=lines.append)
    assert ended.returncode == 0
    environment, group, pid = json.loads(lines[0])
    assert "secret" not in environment.values()
    assert {"PATH", "MALLOC_ARENA_MAX"} <= set(environment)
    assert group == pid != os.getpgid(0)


def test_memory_is_limited():
    code = "x = bytearray(300 << 20); print('allocated')"
    lines: list[str] = []
    small = Limits(memory_bytes=200 << 20)
    assert run(python(code), timeout_seconds=60, limits=small, on_line=lines.append).returncode == 1
    assert run(python(code), timeout_seconds=60, limits=LIMITS, on_line=lines.append).returncode == 0
    assert lines == ["allocated"]


def test_the_size_of_files_is_limited(tmp_path):
    code = "import sys; open(sys.argv[1], 'wb').write(bytes(1 << 20))"
    ended = run(python(code, str(tmp_path / "big")), timeout_seconds=60, limits=LIMITS, max_file_bytes=64 << 10)
    assert ended.returncode != 0
    assert (tmp_path / "big").stat().st_size <= 65 << 10


def test_endless_errors_are_counted_and_only_partly_kept():
    code = "import sys\nfor n in range(200_000): print('error', n, file=sys.stderr)"
    ended = run(python(code), timeout_seconds=60, limits=LIMITS)
    assert ended.error_lines == 200_000
    assert len(ended.errors) <= 2 * KEPT_ERROR_BYTES
    assert ended.errors.startswith("error 0\n")
    assert ended.errors.endswith("error 199999\n")


def test_a_child_killed_from_outside_shows_the_signal():
    ended = run(python("import os,signal; os.kill(os.getpid(), signal.SIGSEGV)"), timeout_seconds=60, limits=LIMITS)
    assert ended.returncode == -signal.SIGSEGV
    assert not ended.timed_out


def test_many_threads_may_run_children_at_once():
    results: list[int] = []
    threads = [
        threading.Thread(
            target=lambda: results.append(run(python("print(1)"), timeout_seconds=60, limits=LIMITS).returncode)
        )
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [0] * 8


def _until(condition, seconds: float = 20.0) -> None:
    pause = threading.Event()
    for _ in range(int(seconds / 0.02)):
        if condition():
            return
        pause.wait(0.02)
    raise AssertionError("the condition did not come true")
