"""Memory of this process and its limit: cgroup v2 or v1, else the machine; GPU memory where a driver is there.

Measured, so that the operator can learn how many jobs fit into a replica. Nothing here fails: what cannot be read is None.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from pool_worker import nvml

PROC: Final = Path("/proc")
CGROUPS: Final = Path("/sys/fs/cgroup")
UNLIMITED_BYTES: Final = 1 << 60  # cgroup v1 writes a huge number for "no limit"
MOST_PROCESSES: Final = 64
_PAGE_BYTES: Final = os.sysconf("SC_PAGE_SIZE")


def limit_bytes(proc: Path = PROC, cgroups: Path = CGROUPS) -> int | None:
    """What this process may use: the smallest limit on its way up the cgroups, else the machine's memory."""
    found = [limit for limit in _cgroup_limits(proc, cgroups) if limit < UNLIMITED_BYTES]
    machine = _machine_bytes(proc)
    return min([*found, *([machine] if machine else [])], default=None)


def cores() -> float:
    """Cores that this process may run on."""
    return float(len(os.sched_getaffinity(0))) if hasattr(os, "sched_getaffinity") else float(os.cpu_count() or 1)


def used_bytes(proc: Path = PROC) -> int | None:
    """Resident memory of this process and its children (ffmpeg)."""
    sizes = [size for pid in _family(os.getpid(), proc) if (size := _resident_bytes(pid, proc)) is not None]
    return sum(sizes) if sizes else None


def peak_bytes(proc: Path = PROC) -> int | None:
    """The most resident memory of this process since the last call, and what its children have now.

    The kernel keeps the mark and lets us take it back (clear_refs); where it does not, it is what is used now.
    """
    own, *children = _family(os.getpid(), proc)
    mark = _high_water_bytes(own, proc)
    try:
        (proc / str(own) / "clear_refs").write_text("5", encoding="ascii")
    except OSError:
        mark = None
    if mark is None:
        return used_bytes(proc)
    return mark + sum(_resident_bytes(pid, proc) or 0 for pid in children)


def gpu_used_bytes() -> int | None:
    """GPU memory of this process and its children over all devices; None without a driver."""
    return nvml.used_bytes(_family(os.getpid(), PROC))


def _cgroup_limits(proc: Path, cgroups: Path) -> Iterator[int]:
    for line in _text(proc / "self/cgroup").splitlines():
        _, controllers, path = [*line.split(":", 2), "", ""][:3]
        if controllers == "":
            yield from _upwards(cgroups, path, "memory.max")
        elif "memory" in controllers.split(","):
            yield from _upwards(cgroups / "memory", path, "memory.limit_in_bytes")


def _upwards(root: Path, path: str, name: str) -> Iterator[int]:
    """A container mostly sees its own cgroup as the root, but not always: look at every level that is there."""
    here = root / path.lstrip("/")
    for folder in (here, *here.parents):
        text = _text(folder / name).strip()
        if text.isdigit():
            yield int(text)
        if folder == root:
            return


def _machine_bytes(proc: Path) -> int | None:
    for line in _text(proc / "meminfo").splitlines():
        if line.startswith("MemTotal:"):
            return int(line.split()[1]) * 1024
    return None


def _family(pid: int, proc: Path) -> list[int]:
    found: list[int] = []
    look_at = [pid]
    while look_at and len(found) < MOST_PROCESSES:
        one = look_at.pop()
        found.append(one)
        for tasks in (proc / str(one) / "task").glob("*/children"):
            look_at += [int(child) for child in _text(tasks).split() if child.isdigit()]
    return found


def _resident_bytes(pid: int, proc: Path) -> int | None:
    parts = _text(proc / str(pid) / "statm").split()
    return int(parts[1]) * _PAGE_BYTES if len(parts) > 1 and parts[1].isdigit() else None


def _high_water_bytes(pid: int, proc: Path) -> int | None:
    for line in _text(proc / str(pid) / "status").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return None


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
