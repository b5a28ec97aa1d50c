"""Jobs of every kind run as in any RQ worker: one worker process per kind of server runs them all."""

from __future__ import annotations

import pickle
import zlib

import pytest
from rq import Callback, Queue, Repeat, Retry, Webhook
from rq.command import send_stop_job_command
from rq.group import Group
from rq.job import Dependency, JobStatus
from rq.rate_limit import RateLimit
from rq.results import Result
from tests.redis.worker_harness import Bench, eventually, workers
from tests.servers import binaries, redis_server


@pytest.fixture(scope="module", params=sorted(binaries(), reverse=True))
def place(request, tmp_path_factory):
    with (
        redis_server(request.param, "--notify-keyspace-events", "Kl") as server,
        workers(server, tmp_path_factory.mktemp("workers")) as start,
    ):
        yield server, start("urgent", "default", "--slots", "2").ready()


@pytest.fixture
def bench(place):
    bench = Bench(place[0])
    yield bench
    bench.nothing_is_left()
    bench.redis.delete("test:log")
    bench.redis.close()


@pytest.fixture
def worker(place):
    return place[1]


def test_a_job_runs_and_its_result_is_kept_as_rq_keeps_it(bench):
    job = bench.finished(bench.enqueue("add", 1, 2, result_ttl=900))
    assert job.return_value() == 3
    assert [one.type for one in job.results()] == [Result.Type.SUCCESSFUL]
    assert job.results()[0].execution_id
    assert job.started_at is not None
    assert job.ended_at >= job.started_at
    assert 0 < bench.redis.ttl(job.key) <= 900
    assert bench.redis.zscore("rq:finished:default", job.id)


def test_a_failing_job_goes_to_the_failed_registry_with_its_traceback(bench):
    text = bench.failed(bench.enqueue("fail", "why"))
    assert text.endswith("ValueError: why\n")


def test_a_retry_without_interval_is_run_again(bench):
    job = bench.finished(bench.enqueue("fail_once", retry=Retry(max=2)))
    assert job.return_value() == "at last"
    assert job.retries_left == 1


def test_a_retry_with_an_interval_waits_and_is_run_again(bench):
    job = bench.enqueue("fail_once", retry=Retry(max=1, interval=1))
    bench.wait(job, "scheduled")
    assert bench.redis.zscore("rq:scheduled:default", job.id)
    assert bench.finished(job).return_value() == "at last"


def test_retries_end(bench):
    job = bench.enqueue("fail", retry=Retry(max=2))
    bench.failed(job)
    assert bench.job(job.id).retries_left == 0


@pytest.mark.parametrize("kind", ["payload", "media"])
def test_a_hopeless_job_fails_at_once_with_one_sentence_whatever_retries_it_has(bench, kind):
    job = bench.enqueue("hopeless", kind, retry=Retry(max=3, interval=600), on_failure=Callback("worker_jobs.failed"))
    text = bench.failed(job)
    assert len(text.strip().splitlines()) == 1
    assert text.strip().endswith("Error: the one sentence")
    assert [one.type for one in job.results()] == [Result.Type.FAILED]
    lines = bench.redis.lrange("test:log", 0, -1)
    assert len(lines) == 2
    assert lines[1].decode().startswith(f"failure {job.id} ")


def test_a_machine_s_trouble_is_worth_a_retry(bench):
    job = bench.failed(bench.enqueue("hopeless", "machine", retry=Retry(max=1)))
    assert job.strip().endswith("MachineError: the one sentence")
    assert len(bench.noted()) == 2


def test_a_job_may_return_a_retry(bench):
    job = bench.finished(bench.enqueue("ask_again"))
    assert job.return_value() == "at last"
    assert [one.type for one in job.results()] == [Result.Type.SUCCESSFUL, Result.Type.RETRIED]


def test_meta_that_cannot_be_written_fails_the_job_and_nothing_else(bench):
    assert "and its meta" in bench.failed(bench.enqueue("unwritable_meta", retry=Retry(max=3)))
    assert bench.finished(bench.enqueue("add", 1, 1)).return_value() == 2


def test_dependents_run_after_success_and_on_request_after_failure(bench):
    first = bench.enqueue("until", "test:go")
    second = bench.enqueue("remember", "second", depends_on=first)
    broken = bench.enqueue("fail", depends_on=second)
    never = bench.enqueue("remember", "never", depends_on=broken)
    always = bench.enqueue("remember", "always", depends_on=Dependency([broken], allow_failure=True))
    bench.redis.set("test:go", 1)
    bench.finished(always)
    assert bench.noted()[-2:] == ["second", "always"]
    assert never.get_status() == JobStatus.DEFERRED
    never.delete()
    bench.redis.delete("test:go")


def test_urgent_queues_come_first_and_at_front_is_first_in_its_queue(bench):
    for name in ("a", "b"):
        bench.enqueue("until", f"test:go:{name}", name)
        bench.until_noted(f"{name} begins")
    late = bench.enqueue("remember", "late")
    bench.enqueue("remember", "front", at_front=True)
    bench.enqueue("remember", "urgent", queue="urgent")
    bench.redis.set("test:go:a", 1)  # one slot alone: two would run two jobs at once, in any order
    bench.finished(late)
    bench.redis.set("test:go:b", 1)
    bench.until_noted("b ends")
    order = [text for text in bench.noted() if text in {"late", "front", "urgent"}]
    assert order == ["urgent", "front", "late"]
    bench.redis.delete("test:go:a", "test:go:b")


def test_a_time_out_ends_the_job(bench):
    text = bench.failed(bench.enqueue("spin", 60, job_timeout=1))
    assert text.endswith("rq.timeouts.JobTimeoutException: Task exceeded maximum timeout value (1 seconds)\n")


def test_callbacks_run(bench):
    good = bench.finished(bench.enqueue("add", 1, 2, on_success=Callback("worker_jobs.succeeded")))
    bad = bench.enqueue("fail", on_failure=Callback("worker_jobs.failed"))
    bench.failed(bad)
    lines = [line.decode() for line in bench.redis.lrange("test:log", 0, -1)]
    assert lines == [f"success {good.id} 3", f"failure {bad.id} ValueError"]


def test_a_failing_success_callback_fails_the_job(bench):
    assert "the callback fails" in bench.failed(
        bench.enqueue("add", 1, 2, on_success=Callback("worker_jobs.failing_callback"))
    )


def test_a_result_with_no_time_to_live_leaves_nothing(bench):
    job = bench.enqueue("remember", "gone", result_ttl=0)
    bench.until_noted("gone")
    eventually(lambda: not bench.redis.exists(job.key), "the job is deleted")


def test_a_job_repeats(bench):
    bench.enqueue("remember", "again", repeat=Repeat(times=2))
    bench.until_noted("again", times=3)


def test_groups_work(bench):
    group = Group.create(bench.redis)
    jobs = group.enqueue_many(bench.queue(), [Queue.prepare_data("worker_jobs.add", (1, n)) for n in range(3)])
    assert sorted(bench.finished(job).return_value() for job in jobs) == [1, 2, 3]


def test_a_rate_limit_is_kept_and_its_slots_come_back(bench):
    jobs = [bench.enqueue("add", 1, n, rate_limit=RateLimit(key="one", concurrency=1)) for n in range(3)]
    assert [bench.finished(job).return_value() for job in jobs] == [1, 2, 3]


def test_a_cancelled_job_is_ended_and_stays_cancelled(bench):
    job = bench.enqueue("spin", 300, job_timeout=600)
    bench.until_noted("spin begins")
    job.cancel()
    bench.nothing_is_left()
    assert job.get_status() == JobStatus.CANCELED
    assert job.latest_result() is None
    assert bench.finished(bench.enqueue("add", 2, 2)).return_value() == 4


def test_a_deleted_job_is_ended_and_not_brought_back(bench):
    job = bench.enqueue("spin", 300, job_timeout=600)
    bench.until_noted("spin begins")
    job.delete()
    bench.nothing_is_left()
    assert not bench.redis.exists(job.key)


def test_rqs_stop_command_ends_a_job(bench):
    job = bench.enqueue("spin", 300, job_timeout=600, on_stopped=Callback("worker_jobs.stopped"))
    bench.until_noted("spin begins")

    def stopped():
        if job.get_status() != JobStatus.STOPPED:
            send_stop_job_command(bench.redis, job.id, serializer="json")  # a new slot hears commands after a moment
        return job.get_status() == JobStatus.STOPPED

    eventually(stopped, "the job is stopped")
    assert f"stopped {job.id}".encode() in bench.redis.lrange("test:log", 0, -1)


def test_a_function_that_is_not_allowed_is_refused_and_its_payload_kept(bench):
    job = bench.queue().enqueue("os.system", "true", retry=Retry(max=3))
    before = bench.redis.hget(job.key, "data")
    assert bench.failed(job) == (
        "the job's function 'os.system' is not on this worker's allow-list: "
        "start the worker with --allow os:system (PROCESSINGPOOL_ALLOW)"
    )
    assert bench.redis.hget(job.key, "data") == before


@pytest.mark.parametrize("name", ["worker_jobs.getcwd", "worker_jobs._private", "worker_jobs.os.getcwd"])
def test_a_module_on_the_list_lends_only_its_own_functions(bench, name):
    text = bench.failed(bench.queue().enqueue(name, retry=Retry(max=2)))
    assert text.startswith(f"the job's function '{name}' is not on this worker's allow-list")
    assert "\n" not in text


def test_callbacks_are_checked_too(bench):
    job = bench.enqueue("add", 1, 2, on_success=Callback("os.getcwd"))
    assert "the job's success callback 'os.getcwd' is not on" in bench.failed(job)


def test_a_pickled_job_is_refused_without_being_read(bench, tmp_path):
    class Bomb:
        def __reduce__(self):
            return (open, (str(tmp_path / "boom"), "w"))

    job = bench.enqueue("add", 1, 2)
    bench.finished(job)
    payload = zlib.compress(pickle.dumps(("worker_jobs.add", None, (Bomb(),), {})))
    bench.redis.hset(job.key, mapping={"data": payload, "status": "queued"})
    bench.redis.zrem("rq:finished:default", job.id)
    bench.redis.rpush("rq:queue:default", job.id)
    text = bench.failed(job)
    assert text.startswith("the job was written with RQ's default serializer (pickle)")
    assert "--serializer pickle (PROCESSINGPOOL_SERIALIZER=pickle)" in text
    assert not (tmp_path / "boom").exists()
    assert bench.redis.hget(job.key, "data") == payload


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("data", b"junk"),
        ("timeout", b"soon"),
        ("created_at", b"never"),
        ("result_ttl", b"\xff"),
        ("meta", b"\x80\x04"),
        ("meta", b"[1]"),
        ("dependency_ids", b"12.5"),
    ],
)
def test_junk_in_a_job_hash_harms_nothing_else(bench, worker, field, value):
    bench.redis.hset(
        "rq:job:junk",
        mapping={"data": zlib.compress(b'["worker_jobs.add",null,[1,2],{}]'), "origin": "default", "status": "queued"}
        | {field: value},
    )
    bench.redis.rpush("rq:queue:default", "junk")
    eventually(
        lambda: bench.redis.hget("rq:job:junk", "status") in {b"failed", b"finished"},
        lambda: bench.redis.hgetall("rq:job:junk"),
    )
    assert bench.finished(bench.enqueue("add", 2, 3)).return_value() == 5
    assert worker.process.poll() is None
    bench.redis.delete("rq:job:junk", "rq:results:junk")


def test_ids_without_a_job_are_passed_over(bench):
    bench.redis.rpush("rq:queue:default", "ghost", "no good id!")
    assert bench.finished(bench.enqueue("add", 3, 3)).return_value() == 6
    assert bench.redis.llen("rq:queue:default") == 0


def test_webhooks_are_not_sent_unless_allowed(bench, worker):
    job = bench.enqueue("add", 1, 2, webhooks=[Webhook("http://127.0.0.1:1/", "finished")])
    bench.finished(job)
    worker.said(f"job={job.id} has webhooks, which this worker does not send")
