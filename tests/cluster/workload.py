"""Job functions of the cluster tests: known length, known memory. Pods get this file by a ConfigMap.

They write the run log themselves, as the product's own jobs do: the witness that no counter of ours is part of.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

from rq import get_current_job

from pool_worker import run_log

PAGE_BYTES = 4096


def nap(seconds: float) -> float:
    """Sleep in one call: nothing can interrupt it before its time."""
    with _recorded():
        time.sleep(seconds)
    return seconds


def hold(megabytes: int, seconds: float) -> int:
    """Hold memory for a while: every page is touched, so that all of it counts."""
    with _recorded():
        held = bytearray(megabytes << 20)
        held[::PAGE_BYTES] = b"x" * len(held[::PAGE_BYTES])
        time.sleep(seconds)
    return len(held)


@contextlib.contextmanager
def _recorded() -> Iterator[None]:
    job = get_current_job()
    if job is None:
        raise RuntimeError("runs in a worker only")
    with run_log.recorded(job.connection, job.id):
        yield
