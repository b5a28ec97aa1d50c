"""A worker that is pointed at the wrong server, or that lacks a program: one sentence, and nothing is lost."""

from __future__ import annotations

import pytest
from tests.fixtures import media, tiny_whisper
from tests.redis.worker_harness import Bench, eventually, workers
from tests.servers import redis_server

from pool_contract.jobs import ARGUMENT, TRANSCRIBE, TranscriptionJob


@pytest.fixture
def replica(server):
    """A read-only replica of `server`, in step with it."""
    with redis_server("valkey" if "valkey" in server.binary else "redis") as it, it.client() as client:
        client.replicaof("127.0.0.1", server.port)
        eventually(lambda: client.info("replication")["master_link_status"] == "up", "in step")
        yield it


def test_a_worker_on_a_read_only_replica_waits_with_one_sentence_until_it_is_the_primary(server, replica, tmp_path):
    primary, other = Bench(server), Bench(replica)
    jobs = [primary.enqueue("remember", str(number)) for number in range(3)]
    with workers(replica, tmp_path) as start:
        worker = start()
        worker.said(f"Redis at 127.0.0.1:{replica.port}/0 is a read-only replica: name the primary in --url")
        assert "PROCESSINGPOOL_REDIS_URL" in worker.log
        assert worker.get("/readyz")[0] == 503
        assert worker.get("/livez")[0] == 200
        assert [job.get_status() for job in jobs] == ["queued"] * 3
        other.redis.replicaof("NO", "ONE")
        worker.ready()
        for job in jobs:
            other.wait(other.job(job.id), "finished")
        assert sorted(other.noted()) == ["0", "1", "2"]
        assert worker.log.count("is a read-only replica") == 1
        assert "Traceback" not in worker.log
    for bench in (primary, other):
        bench.redis.close()


def test_a_worker_whose_server_becomes_a_replica_loses_nothing(server, tmp_path):
    bench = Bench(server)
    with redis_server("valkey" if "valkey" in server.binary else "redis") as other, workers(server, tmp_path) as start:
        worker = start().ready()
        with other.client() as client:
            # the new primary takes over what the old one has
            client.replicaof("127.0.0.1", server.port)
            eventually(lambda: client.info("replication")["master_link_status"] == "up", "in step")
            client.replicaof("NO", "ONE")
        bench.redis.replicaof("127.0.0.1", other.port)
        worker.said("is a read-only replica: name the primary in --url")
        job = Bench(other).enqueue("add", 1, 2)
        eventually(lambda: bench.redis.exists(f"rq:job:{job.id}"), "it has arrived")
        bench.redis.replicaof("NO", "ONE")
        assert bench.finished(bench.job(job.id)).return_value() == 3
        assert "Traceback" not in worker.log
    bench.redis.close()


def test_without_any_ffmpeg_a_job_fails_with_one_sentence(valkey, tmp_path):
    hidden = tmp_path / "hidden"
    hidden.mkdir()
    (hidden / "imageio_ffmpeg.py").write_text("raise ImportError('not installed')\n")
    source = media.Library(tmp_path).wav
    environment = {"PATH": str(tmp_path / "nothing"), "PYTHONPATH": str(hidden)}
    bench = Bench(valkey)
    model = tiny_whisper.build(tmp_path / "model")
    with workers(valkey, tmp_path) as start:
        flags = ("--model", str(model), "--output", str(tmp_path), "--allow", "pool_worker.jobs:*")
        start(*flags, environment=environment).ready()
        job = TranscriptionJob(source=str(source)).model_dump(mode="json")
        text = bench.failed(bench.queue().enqueue(TRANSCRIBE, **{ARGUMENT: job}))
    assert (
        text.strip()
        .splitlines()[-1]
        .endswith(
            "there is no ffmpeg on this worker: install it (apt install ffmpeg) or add the package imageio-ffmpeg"
        )
    )
    bench.redis.close()
