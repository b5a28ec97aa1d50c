"""What our worker costs and saves beside stock RQ: no-op jobs, the start of a job, and speech with the model kept."""

from __future__ import annotations

import os
import random
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from demo.speech import make_clips
from redis import Redis
from rq import Queue
from rq.serializers import JSONSerializer
from tests.control_plane.process import Child
from tests.servers import Server, redis_server

from benchmarks import workers
from benchmarks.numbers import quantile, row, spread_ms
from benchmarks.process import cpu_seconds_with_children
from pool_contract.jobs import ARGUMENT, TRANSCRIBE, TranscriptionJob
from pool_worker.transcribe.model import models_folder

ROUNDS = int(os.environ.get("ROUNDS", "10"))
JOBS_A_ROUND = int(os.environ.get("JOBS", "1000"))
STARTS = int(os.environ.get("STARTS", "300"))
CLIPS = int(os.environ.get("CLIPS", "20"))
POLL_SECONDS = 0.25
MODEL = "tiny.en"
STOCK_JOB = "benchmarks.jobs.transcribe_loading_model"
SEED = 7


def run() -> list[dict[str, object]]:
    with redis_server("valkey", "--notify-keyspace-events", "Kl") as server:
        return [
            *_noops(server),
            *_starts(server),
            *_clips(server),
            row("load average while measuring", f"{os.getloadavg()[1]:.1f} on {os.cpu_count()} cores"),
        ]


# --- no-op jobs through one slot ----------------------------------------------------------------------------------


def _noops(server: Server) -> list[dict[str, object]]:
    """Turn by turn: what else this machine does meets both alike."""
    ours, stock = [], []
    for _ in range(ROUNDS):
        with workers.stock(server, "noop-stock", "--worker-class", "rq.SimpleWorker"):
            stock.append(_rate(server, "noop-stock"))
        with workers.ours(server, "noop-ours"):
            ours.append(_rate(server, "noop-ours"))
    ratio = quantile(ours, 0.5) / quantile(stock, 0.5)
    return [
        row("no-op jobs, stock SimpleWorker", _rates(stock), jobs=ROUNDS * JOBS_A_ROUND, rounds=stock),
        row("no-op jobs, ours, one slot, all fences", _rates(ours), jobs=ROUNDS * JOBS_A_ROUND, rounds=ours),
        row("ours / stock", f"{ratio:.2f}", ">= 0.9", holds=ratio >= 0.9),
    ]


def _rate(server: Server, queue: str) -> float:
    with server.client() as client:
        workers.enqueue(client, queue, "benchmarks.jobs.noop", JOBS_A_ROUND)
        rate = JOBS_A_ROUND / workers.seconds_until_finished(client, queue, JOBS_A_ROUND)
        client.flushdb()
    return rate


def _rates(values: list[float]) -> str:
    return f"median {quantile(values, 0.5):.0f}, {min(values):.0f} to {max(values):.0f} jobs/s"


# --- from enqueue to the job's first line ----------------------------------------------------------------------------


def _starts(server: Server) -> list[dict[str, object]]:
    with server.client() as client, workers.ours(server, "start", "--poll-seconds", str(POLL_SECONDS)):
        pushed = _start_seconds(client)
        client.config_set("notify-keyspace-events", "")
        polled = _start_seconds(client)
        client.config_set("notify-keyspace-events", "Kl")
    with server.client() as client, workers.stock(server, "start", "--worker-class", "rq.SimpleWorker"):
        stock = _start_seconds(client)
    p50, slowest = quantile(pushed, 0.5) * 1000, max(pushed + polled)
    return [
        row("enqueue to start, stock SimpleWorker (blocks on its queue)", spread_ms(stock)),
        row("enqueue to start, ours, push on", spread_ms(pushed)),
        row("p50 with push on", f"{p50:.1f} ms", "<= 10 ms", holds=p50 <= 10),
        row("enqueue to start, ours, push off", spread_ms(polled)),
        row(
            "slowest, push on or off",
            f"{slowest * 1000:.0f} ms",
            f"<= {POLL_SECONDS * 1000:.0f} ms, the poll period",
            holds=slowest <= POLL_SECONDS,
        ),
    ]


def _start_seconds(client: Redis) -> list[float]:
    queue = Queue("start", connection=client, serializer=JSONSerializer)
    gaps = random.Random(SEED)
    found = []
    for _ in range(STARTS):
        time.sleep(gaps.uniform(0.05, 0.3))  # the slot is idle again, and nothing stands in step with the poll
        before = time.time()
        job = queue.enqueue("benchmarks.jobs.started_at", result_ttl=3600)
        while (result := job.latest_result()) is None:
            time.sleep(0.02)
        found.append(result.return_value - before)
    return found


# --- speech -----------------------------------------------------------------------------------------------------------


def _clips(server: Server) -> list[dict[str, object]]:
    """The model is loaded once by ours, and by stock's forks once a job; both decode alike: int8, one thread a job."""
    cores = os.cpu_count() or 1
    flags = ("--model", MODEL, "--model-device", "cpu", "--model-compute-type", "int8", "--cpu-threads", "1")
    with tempfile.TemporaryDirectory(prefix="pp-bench-clips-") as folder:
        clips = [Path(folder) / name for name in make_clips(Path(folder), CLIPS)]
        with workers.stock(server, "clips-stock") as worker:
            stock = _run_clips(server, worker, "clips-stock", STOCK_JOB, [_stock_arguments(clip) for clip in clips])
        ours = {}
        for slots in (1, cores):
            queue = f"clips-ours-{slots}"
            with workers.ours(server, queue, *flags, "--slots", str(slots), "--output", folder) as worker:
                ours[slots] = _run_clips(server, worker, queue, TRANSCRIBE, [_our_arguments(clip) for clip in clips])
    ratio = stock.seconds / ours[cores].seconds
    return [
        row(f"{CLIPS} clips, stock rq worker, model loaded per job", stock.text()),
        *(row(f"{CLIPS} clips, ours, {slots} slot{'s' * (slots > 1)}", found.text()) for slots, found in ours.items()),
        row("stock / ours with 1 slot", f"{stock.seconds / ours[1].seconds:.1f}"),
        row(f"stock / ours with a slot per core ({cores})", f"{ratio:.1f}", ">= 5", holds=ratio >= 5),
    ]


@dataclass(frozen=True, slots=True)
class _Took:
    seconds: float
    cpu_seconds: float

    def text(self) -> str:
        return f"{self.seconds:.1f} s, CPU {self.cpu_seconds / CLIPS:.2f} s a clip"


def _run_clips(
    server: Server, worker: Child, queue: str, function: str, arguments: Sequence[Mapping[str, object]]
) -> _Took:
    with server.client() as client:
        cpu, started = cpu_seconds_with_children(worker.pid), time.monotonic()
        for one in arguments:
            workers.enqueue(client, queue, function, **one)
        workers.seconds_until_finished(client, queue, len(arguments))
        return _Took(time.monotonic() - started, cpu_seconds_with_children(worker.pid) - cpu)


def _our_arguments(clip: Path) -> dict[str, object]:
    return {ARGUMENT: TranscriptionJob(source=str(clip), language="en").model_dump(mode="json")}


def _stock_arguments(clip: Path) -> dict[str, object]:
    return {"path": str(clip), "model": str(models_folder() / MODEL)}
