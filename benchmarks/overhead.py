"""What our worker costs and saves beside stock RQ: no-op jobs, the start of a job, and speech with the model kept."""

from __future__ import annotations

import os
import random
import tempfile
import time
from pathlib import Path

from demo.speech import make_clips
from rq import Queue
from rq.serializers import JSONSerializer
from tests.servers import Server, redis_server

from benchmarks import workers
from benchmarks.numbers import quantile, row, spread_ms
from pool_contract.jobs import ARGUMENT, TRANSCRIBE, TranscriptionJob
from pool_worker.transcribe.model import models_folder
from redis import Redis

ROUNDS = int(os.environ.get("ROUNDS", "10"))
JOBS_A_ROUND = int(os.environ.get("JOBS", "1000"))
STARTS = int(os.environ.get("STARTS", "300"))
CLIPS = int(os.environ.get("CLIPS", "20"))
POLL_SECONDS = 0.25
MODEL = "tiny.en"
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
    """The model is loaded once by ours, and by stock's forks once a job; both decode with the same settings."""
    with tempfile.TemporaryDirectory(prefix="pp-bench-clips-") as folder:
        clips = [Path(folder) / name for name in make_clips(Path(folder), CLIPS)]
        flags = ("--model", MODEL, "--model-device", "cpu", "--model-compute-type", "int8", "--cpu-threads", "1")
        with workers.ours(server, "clips-ours", *flags, "--output", folder):
            ours = _transcribe_ours(server, clips)
        with workers.stock(server, "clips-stock"):
            stock = _transcribe_stock(server, clips)
    ratio = stock / ours
    return [
        row(f"{CLIPS} clips, stock rq worker, model loaded per job", f"{stock:.1f} s"),
        row(f"{CLIPS} clips, ours", f"{ours:.1f} s"),
        row("stock / ours", f"{ratio:.1f}", ">= 5", holds=ratio >= 5),
    ]


def _transcribe_ours(server: Server, clips: list[Path]) -> float:
    with server.client() as client:
        started = time.monotonic()
        for clip in clips:
            job = TranscriptionJob(source=str(clip), language="en").model_dump(mode="json")
            workers.enqueue(client, "clips-ours", TRANSCRIBE, **{ARGUMENT: job})
        workers.seconds_until_finished(client, "clips-ours", len(clips))
        return time.monotonic() - started


def _transcribe_stock(server: Server, clips: list[Path]) -> float:
    model = str(models_folder() / MODEL)
    with server.client() as client:
        started = time.monotonic()
        for clip in clips:
            workers.enqueue(
                client, "clips-stock", "benchmarks.jobs.transcribe_loading_model", path=str(clip), model=model
            )
        workers.seconds_until_finished(client, "clips-stock", len(clips))
        return time.monotonic() - started
