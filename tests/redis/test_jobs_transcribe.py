"""The transcription job through a real worker process and a real server, enqueued as a client does."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.fixtures import media, tiny_whisper
from tests.redis.worker_harness import Bench, eventually, workers

from pool_contract import keys
from pool_contract.jobs import ARGUMENT, TRANSCRIBE, TranscriptionJob, TranscriptionResult


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("jobs")


@pytest.fixture(scope="module")
def library(folder):
    return media.Library(folder)


@pytest.fixture(scope="module")
def model(folder):
    return tiny_whisper.build(folder / "tones")


@pytest.fixture
def start(valkey, tmp_path, model):
    environment = {
        "PROCESSINGPOOL_ALLOW": "pool_worker.jobs:*",
        "PROCESSINGPOOL_OUTPUT": str(tmp_path / "out"),
        "PROCESSINGPOOL_RUN_LOG": "1",
        "PROCESSINGPOOL_REPLICA": "replica-1",
        "PROCESSINGPOOL_CPU_THREADS": "1",
    }
    with workers(valkey, tmp_path) as begin:
        yield lambda *arguments, **more: begin(
            "--model", str(model), "--allow", "pool_worker.jobs:*", *arguments, environment=environment | more
        )


@pytest.fixture
def bench(valkey):
    return Bench(valkey)


def enqueue(bench, source: object, **fields):
    job = TranscriptionJob(source=str(source), **fields).model_dump(mode="json")
    return bench.queue().enqueue(TRANSCRIBE, **{ARGUMENT: job})


def run_log(bench) -> list[dict]:
    return [json.loads(line) for line in bench.redis.lrange(keys.run_log("rq"), 0, -1)]


def test_a_job_gives_its_result_files_progress_and_run_log(start, bench, library, tmp_path):
    start().ready()
    job = bench.finished(enqueue(bench, library.encoded("mp3"), language="en"))
    returned = job.return_value()
    written = TranscriptionResult.model_validate_json((tmp_path / "out" / f"{job.id}.json").read_text())
    assert returned == written.model_dump(mode="json", exclude={"segments"})
    words = [tiny_whisper.word(second, pitch) for second, pitch in sorted(media.SPOKEN.items())]
    assert returned["text"] == " ".join(words)
    assert returned["job"] == job.id
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted(
        f"{job.id}.{ending}" for ending in ("json", "srt", "vtt", "txt")
    )
    assert job.get_meta()["progress"] == 1.0
    began, ended = run_log(bench)
    assert (began["job"], began["event"], began["replica"]) == (job.id, "start", "replica-1")
    assert (ended["job"], ended["event"], ended["outcome"]) == (job.id, "end", "finished")
    assert began["pid"] == ended["pid"]
    assert began["at"] <= ended["at"]


def test_bad_input_fails_its_job_with_one_sentence_and_harms_no_other(start, bench, library, tmp_path):
    (tmp_path / "list.mp4").write_text("ffconcat version 1.0\nfile spoken.wav\n")
    spoken, cut = library.wav, media.cut(library.encoded("mp3"), 0.5, tmp_path)
    cases = [
        ({"source": "/media/none.mp3"}, "MediaError: source: there is no file /media/none.mp3 on this worker"),
        ({"source": str(cut)}, "MediaError: only 10.0 s of 20."),
        ({"source": str(tmp_path / "list.mp4")}, "MediaError: the file is of a kind that is not accepted"),
        ({"source": str(spoken), "beam_size": 99}, "JobError: beam_size: should be less than or equal to 10 (got 99)"),
        ({"source": str(spoken), "language": "xx"}, "JobError: language: the model"),
        ({"source": str(spoken), "output": "/dev/null"}, "OutputError: output: /dev/null is not a folder"),
        ("junk", "JobError: job: must be an object with the fields source, "),
    ]
    start().ready()
    failing = [bench.queue().enqueue(TRANSCRIBE, **{ARGUMENT: payload}) for payload, _ in cases]
    after = enqueue(bench, spoken)
    for job, (_, sentence) in zip(failing, cases, strict=True):
        text = bench.failed(job).strip()
        assert sentence in text.splitlines()[-1]
        assert len(text.splitlines()) < 20, text
    assert bench.finished(after).return_value()["text"]
    outcomes = [entry["outcome"] for entry in run_log(bench) if entry["event"] == "end"]
    assert outcomes == ["failed"] * len(cases) + ["finished"]
    assert {path.name.partition(".")[0] for path in (tmp_path / "out").iterdir()} == {after.id}


def test_a_job_that_runs_out_of_time_leaves_no_process_and_no_file(start, bench, tmp_path, library):
    hanging = tmp_path / "bin" / "ffmpeg"
    hanging.parent.mkdir()
    hanging.write_text(f"#!/bin/sh\necho $$ > {tmp_path}/pid\nexec sleep 600\n")
    hanging.chmod(0o755)
    (tmp_path / "tmp").mkdir()
    start(PATH=f"{hanging.parent}:/usr/bin:/bin", TMPDIR=str(tmp_path / "tmp")).ready()
    job = TranscriptionJob(source=str(library.wav)).model_dump(mode="json")
    text = bench.failed(bench.queue().enqueue(TRANSCRIBE, job=job, job_timeout=2))
    assert "JobTimeoutException" in text
    pid = (tmp_path / "pid").read_text().strip()
    eventually(lambda: not Path(f"/proc/{pid}").exists(), f"process {pid} ends")
    eventually(lambda: not list((tmp_path / "tmp").glob("processingpool-job-*")), "the job's folder goes")
    assert [entry["event"] for entry in run_log(bench)] == ["start", "end"]


def test_a_model_that_is_missing_ends_the_worker_with_one_sentence(start, tmp_path):
    worker = start("--model", str(tmp_path / "none"))
    assert worker.ended() == 2
    last = worker.log.strip().splitlines()[-1]
    assert f"PROCESSINGPOOL_MODEL: there is no folder {tmp_path}/none" in last
    assert "Traceback" not in worker.log
