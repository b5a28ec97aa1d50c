"""Worker processes for the benchmarks: ours, and stock RQ's for comparison. Both are quiet, so that neither pays for logs."""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from redis import Redis
from rq import Queue
from rq.serializers import JSONSerializer
from tests.control_plane.process import Child
from tests.servers import Server

from pool_contract import keys

BIN = Path(sys.executable).parent
PREFIX = keys.DEFAULT_PREFIX
START_SECONDS = 60.0


@contextmanager
def ours(server: Server, queue: str, *flags: str) -> Iterator[Child]:
    """`processingpool worker` in the place of `rq worker`: all fences on, one slot."""
    fixed = [
        "--url",
        server.url,
        "--allow",
        "benchmarks.jobs:*",
        "--allow",
        "pool_worker.jobs:*",
        "--log-level",
        "warning",
    ]
    with _process(server, queue, [str(BIN / "processingpool"), "worker", *fixed, *flags, queue]) as child:
        yield child


@contextmanager
def stock(server: Server, queue: str, *flags: str) -> Iterator[Child]:
    """`rq worker`; forking unless `flags` name another class."""
    fixed = ["--url", server.url, "--serializer", "rq.serializers.JSONSerializer", "--quiet"]
    with _process(server, queue, [str(BIN / "rq"), "worker", *fixed, *flags, queue]) as child:
        yield child


@contextmanager
def _process(server: Server, queue: str, command: list[str]) -> Iterator[Child]:
    environment = {**os.environ, "OMP_WAIT_POLICY": "PASSIVE"}
    with tempfile.TemporaryDirectory(prefix="pp-bench-worker-") as folder, server.client() as client:
        child = Child("worker", command, Path(folder), environment=environment)
        try:
            _until_it_works(client, queue, child)
            yield child
        finally:
            child.stop(30)


def _until_it_works(client: Redis, queue: str, child: Child) -> None:
    """Up, and warm: it has done a job."""
    enqueue(client, queue, "benchmarks.jobs.noop")
    end = time.monotonic() + START_SECONDS
    while finished(client, queue) < 1:
        child.check()
        if time.monotonic() > end:
            raise RuntimeError(f"the worker did no job in {START_SECONDS:g} s: {child.tail()}")
        time.sleep(0.05)
    client.delete(keys.finished(PREFIX, queue))


def enqueue(client: Redis, queue: str, function: str, number: int = 1, **arguments: object) -> list[str]:
    """All at once, in one transaction; the ids."""
    prepared = [Queue.prepare_data(function, kwargs=arguments, result_ttl=3600) for _ in range(number)]
    found = Queue(queue, connection=client, serializer=JSONSerializer).enqueue_many(prepared)
    return [job.id for job in found]


def finished(client: Redis, queue: str) -> int:
    return int(client.zcard(keys.finished(PREFIX, queue)))


def seconds_until_finished(client: Redis, queue: str, number: int, *, limit_seconds: float = 600.0) -> float:
    """From now on."""
    started = time.monotonic()
    while finished(client, queue) < number:
        if (failed := client.zcard(keys.failed(PREFIX, queue))) > 0:
            raise RuntimeError(f"{failed} jobs of {queue} failed")
        if time.monotonic() - started > limit_seconds:
            raise RuntimeError(f"{finished(client, queue)} of {number} jobs of {queue} finished in {limit_seconds:g} s")
        time.sleep(0.01)
    return time.monotonic() - started
