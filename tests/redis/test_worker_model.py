"""The whole worker with a model: it loads first, is ready then, and transcribes what waits."""

from __future__ import annotations

import json

import pytest
from tests.fixtures import tiny_whisper
from tests.redis.worker_harness import Bench, eventually, workers

from pool_contract.jobs import TRANSCRIBE, TranscriptionJob
from pool_contract.messages import PoolSettings
from pool_contract.scripts import Scripts, publish_settings


@pytest.fixture
def bench(valkey):
    bench = Bench(valkey)
    yield bench
    bench.redis.close()


@pytest.fixture
def start(valkey, tmp_path):
    with workers(valkey, tmp_path) as start:
        yield start


def test_a_worker_with_a_model_transcribes(bench, start, tmp_path):
    source = tiny_whisper.write_wav(tmp_path / "tones.wav", tiny_whisper.tones({1: 3, 4: 7}, 6))
    (tmp_path / "out").mkdir()
    model = tiny_whisper.build(tmp_path / "model")
    job = bench.queue().enqueue(TRANSCRIBE, job=TranscriptionJob(source=str(source)).model_dump(mode="json"))
    bad = bench.queue().enqueue(TRANSCRIBE, job={"source": "relative"})
    worker = start(
        "--model",
        str(model),
        "--output",
        str(tmp_path / "out"),
        "--slots",
        "2",
        "--run-log",
        "--allow",
        "pool_worker.jobs:*",
    )
    worker.ready()
    found = bench.finished(job)
    assert found.return_value()["text"].split() == [tiny_whisper.word(1, 3), tiny_whisper.word(4, 7)]
    assert {path.suffix for path in (tmp_path / "out").iterdir()} == {".json", ".srt", ".vtt", ".txt"}
    assert {path.stem for path in (tmp_path / "out").iterdir()} == {job.id}
    assert "must be an absolute path" in bench.failed(bad)
    log = [json.loads(line) for line in bench.redis.lrange("rq:pp:runlog", 0, -1)]
    assert [one["event"] for one in log if one["job"] == job.id] == ["start", "end"]
    eventually(lambda: "processingpool_worker_ready 1.0" in worker.get("/metrics")[1], "the metric says ready")


def test_the_model_is_loaded_for_the_slots_that_the_pool_has_now(bench, start, tmp_path):
    """Not for the one slot of the environment, which depends on nothing that may change while pods run."""
    settings = PoolSettings(namespace="media", name="speech", queues=("default",), slots=3)
    Scripts(bench.redis).run(publish_settings("rq", pool="uid-1", epoch=1, settings=settings))
    pool = {"PROCESSINGPOOL_POOL": "media/speech", "PROCESSINGPOOL_POOL_UID": "uid-1", "PROCESSINGPOOL_REPLICA": "r1"}
    model = str(tiny_whisper.build(tmp_path / "model"))
    worker = start("--model", model, environment=pool | {"PROCESSINGPOOL_SLOTS": "1"}).ready()
    assert f"model {model} is loaded on cpu with int8 for 3 jobs at once" in worker.log


def test_a_missing_model_is_one_sentence_and_its_jobs_wait(bench, start, tmp_path):
    job = bench.queue().enqueue(TRANSCRIBE, job={"source": "/a.wav"})
    worker = start("--model", str(tmp_path / "nothing"))
    assert worker.ended() == 2
    assert "PROCESSINGPOOL_MODEL: there is no folder" in worker.log.splitlines()[-1]
    assert "Traceback" not in worker.log
    assert job.get_status() == "queued"
