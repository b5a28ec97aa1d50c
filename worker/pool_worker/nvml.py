"""GPU memory by the driver's own library, which is there wherever a GPU can be used: no package is needed for it."""

from __future__ import annotations

import ctypes
from collections.abc import Collection, Iterator
from functools import cache
from pathlib import Path
from typing import Any, Final

LIBRARY: Final = "libnvidia-ml.so.1"
MOST_PROCESSES: Final = 256
NOT_TOLD: Final = 2**64 - 1


class _Process(ctypes.Structure):
    _fields_ = (
        ("pid", ctypes.c_uint),
        ("used", ctypes.c_ulonglong),
        ("gpu_instance", ctypes.c_uint),
        ("compute_instance", ctypes.c_uint),
    )


class _Memory(ctypes.Structure):
    _fields_ = (("total", ctypes.c_ulonglong), ("free", ctypes.c_ulonglong), ("used", ctypes.c_ulonglong))


def used_bytes(pids: Collection[int]) -> int | None:
    """What these processes use on all devices that we see; None where there is no NVIDIA driver.

    In a container the driver may name processes by numbers of the host: then it is what the whole device uses, which is
    ours alone unless several replicas share it.
    """
    library = _library()
    if library is None:
        return None
    try:
        return sum(_used_on(library, device, pids) for device in _devices(library))
    except AttributeError:  # a driver so old that it lacks one of the calls
        return None


@cache
def _library() -> Any:
    try:
        library = ctypes.CDLL(LIBRARY)
        return library if library.nvmlInit_v2() == 0 else None
    except (OSError, AttributeError):
        return None


def _devices(library: Any) -> Iterator[ctypes.c_void_p]:
    count = ctypes.c_uint()
    if library.nvmlDeviceGetCount_v2(ctypes.byref(count)) != 0:
        return
    for index in range(count.value):
        device = ctypes.c_void_p()
        if library.nvmlDeviceGetHandleByIndex_v2(index, ctypes.byref(device)) == 0:
            yield device


def _used_on(library: Any, device: ctypes.c_void_p, pids: Collection[int]) -> int:
    found, count = (_Process * MOST_PROCESSES)(), ctypes.c_uint(MOST_PROCESSES)
    listed = library.nvmlDeviceGetComputeRunningProcesses_v3(device, ctypes.byref(count), found) == 0
    told = [one for one in found[: count.value] if one.used != NOT_TOLD] if listed else []
    if not told or any(Path(f"/proc/{one.pid}").exists() for one in told):
        return int(sum(one.used for one in told if one.pid in pids))
    memory = _Memory()
    if library.nvmlDeviceGetMemoryInfo(device, ctypes.byref(memory)) != 0:
        return 0
    return int(memory.used)
