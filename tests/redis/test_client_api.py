"""The Python API on a real server: what it writes is what RQ and the worker expect; what it reads is never a pickle."""

from __future__ import annotations

import threading
import wave

import pytest
from rq import Queue, Retry, SimpleWorker
from rq.job import Job
from rq.serializers import JSONSerializer

from pool_client import Client, ClientError
from pool_client.files import media_files, media_seconds
from pool_contract import keys
from pool_contract.jobs import TRANSCRIBE, TranscriptionJob
from pool_contract.messages import PoolSettings
from pool_contract.scripts import Scripts, publish_settings


@pytest.fixture
def redis(valkey):
    with valkey.client() as client:
        yield client


@pytest.fixture
def client(redis):
    return Client(redis)


def speech(folder, name="talk.wav", seconds=2.5):
    path = folder / name
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8000)
        file.writeframes(bytes(int(8000 * seconds) * 2))
    return path


def publish(redis, **changes):
    settings = PoolSettings(namespace="media", name="speech", queues=("speech",), **changes)
    Scripts(redis).run(publish_settings("rq", pool="uid", epoch=1, settings=settings))


def fetch(redis, job):
    return Job.fetch(job, connection=redis, serializer=JSONSerializer)


def test_a_submitted_job_is_an_ordinary_rq_job_in_json(client, redis, tmp_path):
    path = speech(tmp_path)
    identifier = client.submit(TranscriptionJob(source=str(path), language="en"), queue="speech")
    job = fetch(redis, identifier)
    assert job.func_name == TRANSCRIBE
    assert list(job.args) == []
    assert TranscriptionJob.parse(job.kwargs["job"]) == TranscriptionJob(source=str(path), language="en")
    assert job.description == "talk.wav"
    assert (job.timeout, job.retries_left, job.result_ttl) == (7200, 3, 7 * 86400)
    assert job.failure_ttl > 0, "without it the results of failed jobs would stay for ever"
    assert redis.lrange(keys.queue("rq", "speech"), 0, -1) == [identifier.encode()]
    assert float(redis.hget(keys.size_hint("rq"), identifier)) == 2.5


def test_time_out_and_retries_are_those_of_the_queues_pool_unless_the_caller_says_so(client, redis, tmp_path):
    publish(redis, job_timeout_seconds=600, max_retries=0)
    source = TranscriptionJob(source=str(tmp_path / "a.mp3"))
    job = fetch(redis, client.submit(source, queue="speech"))
    assert (job.timeout, job.retries_left) == (600, None)
    job = fetch(redis, client.submit(source, queue="speech", timeout_seconds=60, max_retries=1))
    assert (job.timeout, job.retries_left) == (60, 1)
    job = fetch(redis, client.submit(source, queue="another"))
    assert (job.timeout, job.retries_left) == (7200, 3)
    assert redis.hlen(keys.size_hint("rq")) == 0, "nothing is known of a file that is not there"


def test_at_front_comes_first_and_a_given_length_is_the_hint(client, redis):
    late = client.submit(TranscriptionJob(source="/media/a.mp3"))
    first = client.submit(TranscriptionJob(source="/media/b.mp3"), at_front=True, seconds=60.0)
    assert redis.lrange(keys.queue("rq", "default"), 0, -1) == [first.encode(), late.encode()]
    assert redis.hgetall(keys.size_hint("rq")) == {first.encode(): b"60.000"}


def test_the_same_file_is_submitted_once_until_it_changes(client, redis, tmp_path):
    files = [speech(tmp_path, f"{number}.wav") for number in range(3)]
    first = client.submit_files(files, queue="speech")
    again = client.submit_files(files, queue="speech")
    assert [one.new for one in first] == [True] * 3
    assert [one.new for one in again] == [False] * 3
    assert [one.id for one in first] == [one.id for one in again]
    assert redis.llen(keys.queue("rq", "speech")) == 3
    speech(tmp_path, "0.wav", seconds=3.0)
    assert [one.new for one in client.submit_files(files, queue="speech")] == [True, False, False]
    assert [one.new for one in client.submit_files(files, queue="speech", again=True)] == [True] * 3


def test_follow_gives_each_change_until_the_end(client, redis):
    identifier = client.submit(TranscriptionJob(source="/media/a.mp3"))
    job = fetch(redis, identifier)
    seen, threads = [], []

    def move(state):
        seen.append((state.status, state.progress))
        if state.status == "queued":
            job.set_status("started")
        elif state.progress is None:
            job.meta["progress"] = 0.25
            job.save_meta()
        else:
            job.set_status("finished")

    for state in client.follow(identifier, timeout_seconds=60):
        if state.status != "finished":
            threads.append(threading.Thread(target=move, args=(state,)))
            threads[-1].start()
    for thread in threads:  # its last call may still be on its way
        thread.join()
    assert seen == [("queued", None), ("started", None), ("started", 0.25)]
    assert state.status == "finished"


def test_follow_says_when_a_job_does_not_end_in_time_or_is_not_there(client):
    identifier = client.submit(TranscriptionJob(source="/media/a.mp3"))
    with pytest.raises(ClientError, match="has not ended within 0 s; it is queued"):
        list(client.follow(identifier, timeout_seconds=0))
    with pytest.raises(ClientError, match="there is no job 'nothing'"):
        list(client.follow("nothing"))


def test_a_waiting_job_is_cancelled_and_can_be_retried(client, redis):
    identifier = client.submit(TranscriptionJob(source="/media/a.mp3"), seconds=5.0)
    assert client.cancel(identifier) == "queued"
    assert redis.llen(keys.queue("rq", "default")) == 0
    assert redis.hlen(keys.size_hint("rq")) == 0
    assert client.state(identifier).status == "canceled"
    with pytest.raises(ClientError, match="canceled already"):
        client.cancel(identifier)
    client.retry(identifier)
    assert client.state(identifier).status == "queued"
    assert redis.lrange(keys.queue("rq", "default"), 0, -1) == [identifier.encode()]
    with pytest.raises(ClientError, match="only failed, stopped and canceled jobs"):
        client.retry(identifier)


def test_a_job_that_rq_cannot_read_is_one_sentence(client, redis):
    identifier = client.submit(TranscriptionJob(source="/media/a.mp3"))
    redis.hset(keys.job("rq", identifier), mapping={"created_at": "never", "status": "queued"})
    with pytest.raises(ClientError, match=r"cannot be read by RQ .*: delete it, and submit it anew"):
        client.cancel(identifier)
    redis.hset(keys.job("rq", identifier), "status", "failed")
    with pytest.raises(ClientError, match="cannot be read by RQ"):
        client.retry(identifier)


def test_a_failed_job_shows_its_sentence_and_is_retried(client, redis):
    from rq.job_lifecycle import record_job_failure

    identifier = client.submit(TranscriptionJob(source="/media/a.mp3"))
    redis.lpop(keys.queue("rq", "default"))
    with redis.pipeline() as pipeline:
        record_job_failure(
            fetch(redis, identifier),
            "Traceback:\n  File ...\npool_worker.media.errors.MediaError: a.mp3: holds no sound\n",
            pipeline,
        )
        pipeline.execute()
    state = client.state(identifier)
    assert (state.status, state.error) == ("failed", "MediaError: a.mp3: holds no sound")
    client.retry(identifier)
    assert client.state(identifier).status == "queued"


def test_a_stopped_job_is_retried(client, redis):
    identifier = client.submit(TranscriptionJob(source="/media/a.mp3"))
    redis.lpop(keys.queue("rq", "default"))
    queue = Queue(connection=redis, serializer=JSONSerializer)
    worker = SimpleWorker([queue], connection=redis, serializer=JSONSerializer)
    worker._stopped_job_id = identifier  # as by `rq`'s stop-job command
    worker.handle_job_failure(fetch(redis, identifier), queue, exc_string="Job stopped by user.")
    assert client.state(identifier).status == "stopped"
    client.retry(identifier)
    assert client.state(identifier).status == "queued"
    assert redis.lrange(keys.queue("rq", "default"), 0, -1) == [identifier.encode()]


def test_all_kinds_of_jobs_are_listed_and_a_pickle_is_left_alone(client, redis):
    queue = Queue("mixed", connection=redis)  # RQ's default serializer: pickle
    foreign = queue.enqueue(print, "x", meta={"progress": 1}, retry=Retry(max=1), job_id="foreign")
    own = client.submit(TranscriptionJob(source="/media/a.mp3"), queue="mixed")
    cancelled = client.submit(TranscriptionJob(source="/media/b.mp3"), queue="mixed")
    client.cancel(cancelled)
    found = {one.id: one for one in client.states(["mixed"])}
    assert {job: one.status for job, one in found.items()} == {
        foreign.id: "queued",
        own: "queued",
        cancelled: "canceled",
    }
    assert found["foreign"].progress is None
    assert len(client.states(["mixed"], limit=2)) == 2
    assert client.queues() == ["mixed"]


def test_a_prefix_that_rq_does_not_have_is_refused_with_the_fix(redis):
    with pytest.raises(ClientError, match="set RQ_KEY_PREFIX=media"):
        Client(redis, prefix="media")


def test_media_files_are_found_by_name_folder_and_pattern(tmp_path):
    for name in ("b.wav", "a.wav", ".hidden.wav", "notes.txt"):
        (tmp_path / name).touch()
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "c.wav").touch()
    names = [path.name for path in media_files([str(tmp_path), str(tmp_path / "a.wav"), str(tmp_path / "**/*.wav")])]
    assert names == ["a.wav", "b.wav", "c.wav"]
    with pytest.raises(ClientError, match="no file matches"):
        media_files([str(tmp_path / "*.mp3")])
    (tmp_path / "empty").mkdir()
    with pytest.raises(ClientError, match="no audio or video file in this folder"):
        media_files([str(tmp_path / "empty")])
    assert [path.name for path in media_files([str(tmp_path / "notes.txt")])] == ["notes.txt"]


def test_the_length_is_known_of_sound_headers_only(tmp_path):
    (tmp_path / "x.wav").write_bytes(b"RIFF????WAVE")
    (tmp_path / "x.mp3").write_bytes(b"ID3")
    assert media_seconds(speech(tmp_path)) == 2.5
    assert media_seconds(tmp_path / "x.wav") is None
    assert media_seconds(tmp_path / "x.mp3") is None
    assert media_seconds(tmp_path / "nothing.wav") is None
