"""What a replica counts: for /metrics, for /health and for its report."""

from __future__ import annotations

import math
import threading
import time
from collections import Counter as Tally
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics, generate_latest

from pool_worker import memory
from pool_worker.run import Run
from pool_worker.slot_job import SlotJob

RESULTS: Final = ("finished", "failed", "stopped", "retried", "released", "lost")
DURATION_BUCKETS: Final = (0.1, 0.5, 1, 5, 15, 30, 60, 120, 300, 600, 1800, 3600, 7200)
CPU_SPAN_SECONDS: Final = 1.0
WAIT_BUCKETS: Final = (0.01, 0.05, 0.25, 1, 5, 15, 60, 300, 900, 3600, 14400)


class Meter:
    """Counts ends of runs and samples memory. Names of metrics are a contract; no job id or text is ever a label."""

    def __init__(self, queues: tuple[str, ...]) -> None:
        self.tally: Tally[str] = Tally()
        self.base_memory_bytes: int | None = None
        self.base_gpu_memory_bytes: int | None = None
        self.peak_job_memory_bytes: int | None = None
        self._sampled_at = -math.inf
        self._ran = 0  # jobs at the last look
        self._asked = (time.monotonic(), time.process_time())
        self._cpu_percent = 0
        self._lock = threading.Lock()
        disable_created_metrics()  # type: ignore[no-untyped-call]  # as many series again, which nobody reads
        self._registry = CollectorRegistry()
        self._jobs = self._counter("jobs", "Runs by how they ended.", "queue", "result")
        self._duration = self._histogram("job_duration_seconds", "From start to end of a run.", DURATION_BUCKETS)
        self._wait = self._histogram("job_wait_seconds", "From enqueueing to the start of a run.", WAIT_BUCKETS)
        self._gauges = {
            name: Gauge(f"processingpool_worker_{name}", text, registry=self._registry)
            for name, text in (
                ("slots", "Slots running now."),
                ("busy_slots", "Slots that run a job."),
                ("ready", "1 once the model is loaded."),
                ("memory_used_bytes", "Resident memory of the worker and its children."),
                ("memory_limit_bytes", "What the worker may use."),
                ("gpu_memory_used_bytes", "GPU memory of the worker."),
                ("job_memory_peak_bytes", "Largest memory of one job seen."),
            )
        }
        for queue in queues:
            self._duration.labels(queue)
            self._wait.labels(queue)
            for result in RESULTS:
                self._jobs.labels(queue, result)

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(f"processingpool_{name}", text, labels, registry=self._registry)

    def _histogram(self, name: str, text: str, buckets: tuple[float, ...]) -> Histogram:
        return Histogram(f"processingpool_{name}", text, ("queue",), registry=self._registry, buckets=buckets)

    def ended(self, run: Run, job: SlotJob | None, result: str) -> None:
        """A run is over."""
        queue, now = run.claimed.queue, time.time()
        with self._lock:
            self.tally[result] += 1
        self._jobs.labels(queue, result).inc()
        self._duration.labels(queue).observe(max(0.0, now - run.started_at))
        if job is not None and job.enqueued_at is not None and run.claimed.losses == 0:
            waited = datetime.fromtimestamp(run.started_at, UTC) - job.enqueued_at
            self._wait.labels(queue).observe(max(0.0, waited.total_seconds()))

    def idle_base(self) -> None:
        """What the process takes before its first job: libraries and model."""
        memory.peak_bytes()  # forget what loading them took for a moment
        self.base_memory_bytes, self.base_gpu_memory_bytes = memory.used_bytes(), memory.gpu_used_bytes()

    def sample(self, runs: Sequence[Run], *, at_least_seconds: float = 0.0) -> None:
        """Share what is above the base among the jobs that run, and keep each one's peak.

        Called once a second, and at the end of each run unless that was a moment ago (`at_least_seconds`). Of four jobs
        that take 6 GiB together each gets 1.5 GiB, whoever took them: it is the sum that has to fit. The peak since the
        last look may be that of a job which has ended since; it is shared among as many as ran then.
        """
        with self._lock:
            if time.monotonic() - self._sampled_at < at_least_seconds:
                return
            sharers, self._ran = max(len(runs), self._ran), len(runs)
            if not runs:
                return
            self._sampled_at = time.monotonic()
            host = _share(memory.peak_bytes(), self.base_memory_bytes, sharers)
            gpu = _share(memory.gpu_used_bytes(), self.base_gpu_memory_bytes, len(runs))
        for run in runs:
            run.peak_memory_bytes = _larger(run.peak_memory_bytes, host)
            run.peak_gpu_memory_bytes = _larger(run.peak_gpu_memory_bytes, gpu)
        self.peak_job_memory_bytes = _larger(self.peak_job_memory_bytes, host)

    def cpu_percent(self) -> int:
        """Of the cores this process may use, since the last question."""
        with self._lock:
            now, spent = time.monotonic(), time.process_time()
            wall, cpu = now - self._asked[0], spent - self._asked[1]
            if wall >= CPU_SPAN_SECONDS:
                self._asked = (now, spent)
                self._cpu_percent = min(100, round(100 * cpu / wall / memory.cores()))
            return self._cpu_percent

    def exposition(self, *, slots: int, busy: int, ready: bool) -> bytes:
        """The text format of Prometheus."""
        values = {
            "slots": slots,
            "busy_slots": busy,
            "ready": int(ready),
            "memory_used_bytes": memory.used_bytes(),
            "memory_limit_bytes": memory.limit_bytes(),
            "gpu_memory_used_bytes": memory.gpu_used_bytes(),
            "job_memory_peak_bytes": self.peak_job_memory_bytes,
        }
        for name, value in values.items():
            if value is not None:
                self._gauges[name].set(value)
        return generate_latest(self._registry)


def _share(used: int | None, base: int | None, jobs: int) -> int | None:
    return None if used is None or base is None else max(0, used - base) // jobs


def _larger(one: int | None, other: int | None) -> int | None:
    return one if other is None else max(one or 0, other)
