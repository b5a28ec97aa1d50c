"""A worker whose disk is full, and one that takes more memory than it has."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import pytest
from rq import Queue
from rq.job import Job
from rq.serializers import JSONSerializer
from tests.apiserver.operator_process import steadily
from tests.faults.crew import JOBS, QUEUES, Keeper, Member
from tests.faults.results import look, run_log
from tests.fixtures import tiny_whisper
from tests.redis.worker_harness import Bench, Worker, eventually

from pool_contract.jobs import TRANSCRIBE, TranscriptionJob

GROUPS = Path("/sys/fs/cgroup")
HOLDING = "test:holding"
JOB_MEGABYTES = 160
LIMIT_MEGABYTES = 280
"""Room for one such job beside what a worker takes after its start, not for two."""

pytestmark = pytest.mark.timeout(180)


@pytest.fixture
def bench(durable):
    bench = Bench(durable)
    yield bench
    bench.redis.close()


# --- a full disk --------------------------------------------------------------------------------------------------


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 128 KiB, and a command that sees it and goes on with what follows; no rights are needed."""
    place = tmp_path / "small"
    place.mkdir()
    user = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    mount = f'mount -t tmpfs -o size=128k none "{place}" && exec "$@"'
    command = ["unshare", *user, "--mount", "sh", "-c", mount, "sh"]
    try:
        done = subprocess.run([*command, "true"], capture_output=True, text=True, check=False)
    except OSError as error:
        unavailable(f"unshare is missing: {error}")
    if done.returncode != 0:
        unavailable(f"no file system can be mounted here: {done.stderr.strip()}")
    return place, command


def unavailable(reason):
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


def test_a_full_disk_fails_the_job_with_one_sentence_and_loses_nothing(bench, durable, small_disk, tmp_path):
    place, inside = small_disk
    model = tiny_whisper.build(tmp_path / "model")
    source = tiny_whisper.write_wav(tmp_path / "a.wav", tiny_whisper.tones({0: 3, 1: 5}, 2))
    worker = Worker(
        durable,
        tmp_path,
        *("--allow", "pool_worker.jobs:*", "--model", str(model), "--model-device", "cpu", "--cpu-threads", "1"),
        *("--output", str(place)),
        before=inside,
    )
    try:
        worker.ready()
        seen = Path(f"/proc/{worker.process.pid}/root") / place.relative_to("/")
        filler = seen / "filler"
        fill(filler)
        job = transcription(bench, source)
        told = bench.failed(job)
        assert f"output: the disk is full: no space left in {place}; free some" in told.splitlines()[-1], told
        assert os.listdir(seen) == ["filler"]
        filler.unlink()
        job.requeue()
        result = bench.finished(job).return_value()
        assert result["text"] == f"{tiny_whisper.word(0, 3)} {tiny_whisper.word(1, 5)}"
        assert sorted(os.listdir(seen)) == sorted(f"{job.id}.{ending}" for ending in ("json", "srt", "txt", "vtt"))
        bench.nothing_is_left()
    finally:
        worker.close()


def fill(path):
    """Until nothing more fits."""
    with path.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(b"\0" * 4096)
        except OSError:
            pass


def transcription(bench, source):
    job = TranscriptionJob(source=str(source), language="en").model_dump(mode="json")
    return bench.queue().enqueue(TRANSCRIBE, job=job, result_ttl=-1)


# --- out of memory ------------------------------------------------------------------------------------------------


@pytest.fixture
def memory_limit():
    """A control group of LIMIT_MEGABYTES; gives the function that puts a process into it."""
    second = (GROUPS / "cgroup.controllers").exists()
    group = (GROUPS if second else GROUPS / "memory") / f"pp-faults-{os.getpid()}"
    try:
        group.mkdir()
    except OSError as error:
        unavailable(f"no control group can be made here: {error}")
    try:
        try:
            (group / ("memory.max" if second else "memory.limit_in_bytes")).write_text(str(LIMIT_MEGABYTES << 20))
        except OSError as error:
            unavailable(f"memory cannot be limited here: {error}")
        yield lambda process: (group / "cgroup.procs").write_text(str(process.pid))
    finally:
        eventually(lambda: _removed(group), f"{group} is empty")


def _removed(group):
    try:
        group.rmdir()
    except OSError:
        return False
    return True


def test_jobs_that_ran_out_of_memory_together_run_once_more_and_alone(durable, memory_limit, tmp_path):
    members, keeper = [], Keeper(durable, tmp_path)
    with durable.client() as redis:
        queue = Queue(QUEUES[0], connection=redis, serializer=JSONSerializer)
        try:
            members.append(limited(durable, tmp_path, memory_limit))
            jobs = [queue.enqueue(f"{JOBS}.hold_memory", JOB_MEGABYTES, "test:go", result_ttl=-1).id for _ in range(2)]
            eventually(lambda: members[0].ended, "the first worker is out of memory")
            assert members[0].worker.process.returncode == -signal.SIGKILL
            redis.delete(HOLDING)
            members.append(limited(durable, tmp_path, memory_limit))
            eventually(lambda: redis.get(HOLDING) == b"1", "one runs again")
            steadily(lambda: redis.get(HOLDING) == b"1", what="the other waits, though there is a slot", seconds=1)
            redis.set("test:go", 1)
            eventually(
                lambda: all(Job.fetch(job, redis, serializer=JSONSerializer).is_finished for job in jobs), "both end"
            )
            assert not members[1].ended
            seen = look(redis, jobs)
            assert seen["successes"] == {1: 2}
            assert (seen["failures"], seen["left behind"]) == (0, [])
            assert overlaps(run_log(redis), members[1].replica) == 0
        finally:
            for one in [*members, keeper]:
                one.close()


def limited(server, folder, memory_limit):
    one = Member(server, folder, "--slots", "2", *("--heartbeat-seconds", "1", "--lease-seconds", "3", "--run-log"))
    one.worker.ready()
    memory_limit(one.worker.process)  # what it takes from here on counts
    return one


def overlaps(log, replica):
    """How many jobs began on the replica while another ran there."""
    running, found = 0, 0
    for one in log:
        if one["replica"] == replica:
            found += one["event"] == "start" and running > 0
            running += 1 if one["event"] == "start" else -1
    assert running == 0
    return found
