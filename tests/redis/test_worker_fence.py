"""The end of a run, step by step: whoever takes the claim in between, nothing is recorded twice or half."""

from __future__ import annotations

import inspect

import pytest
import redis
from redis.client import Pipeline
from rq import Queue, Retry, SimpleWorker
from rq.executions import Execution
from rq.job import Job
from rq.serializers import JSONSerializer
from rq.utils import now

from pool_contract.messages import RunRecord
from pool_contract.scripts import Scripts, claim, register, release
from pool_worker.admission import AllowList
from pool_worker.commit import commit
from pool_worker.connection import Link
from pool_worker.errors import ClaimLostError, NotCommittedError
from pool_worker.fence import Fence, FencedRedis
from pool_worker.interrupts import Watchdog
from pool_worker.run import Run, RunPhase
from pool_worker.settings import Settings
from pool_worker.slot_worker import SlotWorker
from pool_worker.surroundings import Surroundings


class Slot:
    """One slot without its thread: claims and ends runs by hand."""

    def __init__(self, server):
        settings = Settings(redis_url=server.url, replica="r1", allow=("*",))
        self.redis = FencedRedis(host="127.0.0.1", port=server.port)
        self.other = server.client()
        self.scripts = Scripts(self.other)
        self.ends = []
        around = Surroundings(
            settings=settings,
            link=Link("here"),
            watchdog=Watchdog(),
            allowed=AllowList(("*",)),
            timeout_cap=lambda: 60.0,
            commitment=lambda: 0.0,
            slots=lambda: 3,
            stuck=lambda _: None,
            started=lambda: None,
            measure=lambda: None,
            ended=lambda _run, _job, result: self.ends.append(result),
        )
        self.worker = SlotWorker("w", ["default"], self.redis, self.other, around)
        self.queue = Queue("default", connection=self.other, serializer=JSONSerializer)
        self.scripts.run(register("rq", pool="standalone", replica="r1", incarnation="i", max_losses=2))

    def claim(self, function="operator.add", *arguments, **options):
        """A run of a new job, ready to end."""
        claimed = self.claimed(function, *arguments, **options)
        run = self.worker.run = Run(claimed)
        assert run.begin_finish()
        job = self.worker._read(self.other.hgetall(f"rq:job:{claimed.job_id}"))
        execution = self.worker._adopt(job, claimed)
        job.started_at = job.ended_at = now()
        job._result = 3
        return run, job, execution

    def claimed(self, function="operator.add", *arguments, **options):
        """A claim on a new job."""
        self.queue.enqueue(function, *(arguments or (1, 2)), **options)
        call = claim(
            "rq",
            pool="standalone",
            replica="r1",
            incarnation="i",
            worker="w",
            queues=["default"],
            execution_id="e1",
        )
        return self.scripts.run(call).claimed

    def succeed(self, job, execution):
        self.worker.handle_job_success(job, self.queue, self.queue.started_job_registry, execution)

    def give_to_somebody_else(self, run):
        assert self.scripts.run(run.release_call("rq"))

    def recorded(self):
        """The outcomes in the pool's stream of ended runs."""
        entries = self.other.xrange("rq:pp:runs:standalone")
        return [str(RunRecord.model_validate_json(fields[b"run"]).outcome) for _, fields in entries]

    def status(self, job):
        return self.other.hget(job.key, "status").decode()


@pytest.fixture
def slot(server):
    slot = Slot(server)
    yield slot
    slot.redis.connection_pool.disconnect()
    slot.other.close()


def test_a_held_claim_ends_in_the_same_transaction_as_the_job(slot):
    run, job, execution = slot.claim()
    slot.succeed(job, execution)
    assert run.phase is RunPhase.ENDED
    assert slot.status(job) == "finished"
    assert not slot.other.exists(f"rq:pp:owner:{job.id}")
    assert not slot.other.exists("rq:pp:leases:default", "rq:pp:claims:r1", "rq:wip:default")
    assert slot.other.xlen(f"rq:results:{job.id}") == 1
    assert slot.recorded() == ["Finished"]


def test_a_claim_that_was_taken_records_nothing(slot):
    run, job, execution = slot.claim()
    slot.give_to_somebody_else(run)
    slot.succeed(job, execution)
    assert run.phase is not RunPhase.ENDED
    assert slot.status(job) == "queued"
    assert not slot.other.exists(f"rq:results:{job.id}", "rq:finished:default")
    assert slot.queue.job_ids == [job.id]
    assert slot.recorded() == []


def test_the_size_hint_ends_with_the_run_and_one_of_a_wrong_type_harms_nothing(slot):
    _, job, execution = slot.claim()
    slot.other.hset("rq:pp:hints", mapping={job.id: 5, "other": 6})
    slot.succeed(job, execution)
    assert slot.other.hkeys("rq:pp:hints") == [b"other"]
    slot.other.delete("rq:pp:hints")
    slot.other.set("rq:pp:hints", "not a hash")
    run, job, execution = slot.claim()
    slot.succeed(job, execution)
    assert run.phase is RunPhase.ENDED
    assert slot.status(job) == "finished"


def _save(job):
    job.save()


def _save_meta(job):
    job.save_meta()


@pytest.mark.parametrize("save", [_save, _save_meta])
def test_a_running_job_s_code_saves_its_meta(slot, save):
    _, job, _ = slot.claim()
    job.meta["page"] = 7
    save(job)
    assert Job.fetch(job.id, connection=slot.other, serializer=JSONSerializer).meta == {"page": 7}
    assert slot.status(job) == "started"


@pytest.mark.parametrize("save", [_save, _save_meta])
def test_a_deleted_job_s_code_brings_no_ghost_back(slot, save):
    _, job, _ = slot.claim()
    slot.other.delete(job.key)
    job.meta["page"] = 7
    save(job)
    assert not slot.other.exists(job.key)


@pytest.mark.parametrize("save", [_save, _save_meta])
def test_a_job_that_was_given_to_somebody_else_is_not_written_over(slot, save):
    run, job, _ = slot.claim()
    slot.give_to_somebody_else(run)
    before = slot.other.hgetall(job.key)
    job.meta["page"] = 7
    save(job)
    assert slot.other.hgetall(job.key) == before


def test_a_cancelled_job_s_code_does_not_start_it_again(slot):
    _, job, _ = slot.claim()
    Job.fetch(job.id, connection=slot.other, serializer=JSONSerializer).cancel()
    job.save()
    assert slot.status(job) == "canceled"


def test_a_job_deleted_between_the_look_and_the_write_brings_no_ghost_back(slot, monkeypatch):
    _, job, _ = slot.claim()
    original = Pipeline.multi

    def multi(self):
        slot.other.delete(job.key)
        original(self)

    monkeypatch.setattr(Pipeline, "multi", multi)
    job.save_meta()
    assert not slot.other.exists(job.key)


@pytest.mark.parametrize("end", ["success", "failure", "retry", "returned retry"])
def test_a_claim_taken_between_the_look_and_the_commit_records_nothing(slot, end, monkeypatch):
    """As by a freeze of the process in that very moment: the WATCH on the owner key fails the transaction."""
    run, job, execution = slot.claim(retry=Retry(max=3, interval=60) if end == "retry" else None)
    before = slot.other.hgetall(job.key)
    _before_commit(monkeypatch, lambda: slot.give_to_somebody_else(run))
    worker, queue = slot.worker, slot.queue
    if end == "success":
        slot.succeed(job, execution)
    elif end == "returned retry":
        worker.handle_job_retry(job, queue, Retry(max=3), queue.started_job_registry, execution)
    else:
        worker.handle_job_failure(job, queue, exc_string="no", execution=execution)
    assert run.phase is not RunPhase.ENDED
    assert slot.status(job) == "queued"
    assert slot.queue.job_ids == [job.id]
    assert not slot.other.exists(
        f"rq:results:{job.id}", "rq:finished:default", "rq:failed:default", "rq:scheduled:default"
    )
    assert slot.other.hget(job.key, "retries_left") == before.get(b"retries_left")
    assert slot.recorded() == []


def _before_commit(monkeypatch, act):
    """Do something once, after the pipeline has looked at the owner and before its MULTI."""
    from pool_worker.fence import FencedPipeline

    original, done = FencedPipeline._end_claim, []

    def end_claim(self):
        if not done:
            done.append(True)
            act()
        original(self)

    monkeypatch.setattr(FencedPipeline, "_end_claim", end_claim)


def test_a_dependent_added_in_between_is_not_forgotten(slot, monkeypatch):
    run, job, execution = slot.claim()
    _before_commit(monkeypatch, lambda: slot.queue.enqueue("operator.neg", 1, job_id="child", depends_on=job.id))
    slot.succeed(job, execution)
    assert run.phase is RunPhase.ENDED
    assert slot.queue.job_ids == ["child"]


def test_a_cancelled_job_does_not_become_finished(slot):
    run, job, execution = slot.claim()
    Job.fetch(job.id, connection=slot.other, serializer=JSONSerializer).cancel()
    slot.succeed(job, execution)
    assert run.phase is not RunPhase.ENDED
    assert slot.status(job) == "canceled"


def test_a_lost_connection_at_the_commit_is_tried_again_and_counts_retries_once(slot, monkeypatch):
    _, job, execution = slot.claim(retry=Retry(max=3))
    kill = ("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
    _before_commit(monkeypatch, lambda: slot.other.execute_command(*kill))
    slot.worker.handle_job_failure(job, slot.queue, exc_string="no", execution=execution)
    assert slot.status(job) == "queued"
    assert slot.other.hget(job.key, "retries_left") == b"2"
    assert slot.queue.job_ids == [job.id]
    assert slot.recorded() == ["Failed"]


def _lose_the_answer(slot, monkeypatch):
    """The first transaction is applied, and nobody hears of it: nor when it is asked at once."""
    from pool_worker.fence import FencedPipeline

    execute, lost = Pipeline.execute, []

    def execute_unheard(pipeline, raise_on_error=True):
        replies = execute(pipeline, raise_on_error)
        if isinstance(pipeline, FencedPipeline) and not lost:
            lost.append(True)
            raise redis.ConnectionError("the answer is lost")
        return replies

    monkeypatch.setattr(Pipeline, "execute", execute_unheard)
    monkeypatch.setattr(FencedPipeline, "_gone", lambda _self, _error: False)
    return lost


@pytest.mark.parametrize("end", ["finished", "failed"])
def test_an_end_whose_answer_was_lost_is_told_as_recorded(slot, end, monkeypatch, caplog):
    run, job, execution = slot.claim()
    lost = _lose_the_answer(slot, monkeypatch)
    if end == "finished":
        slot.succeed(job, execution)
    else:
        slot.worker.handle_job_failure(job, slot.queue, exc_string="no", execution=execution)
    assert lost
    assert slot.status(job) == end
    assert slot.other.xlen(f"rq:results:{job.id}") == 1
    assert (run.phase, slot.worker._result) == (RunPhase.ENDED, end)
    assert "without a result" not in caplog.text
    assert slot.recorded() == [end.capitalize()]


def test_where_nobody_can_tell_whether_the_end_was_recorded_it_is_said(slot, monkeypatch, caplog):
    run, job, execution = slot.claim(retry=Retry(max=3))  # a retry leaves no result
    _lose_the_answer(slot, monkeypatch)
    slot.worker.handle_job_failure(job, slot.queue, exc_string="no", execution=execution)
    assert slot.queue.job_ids == [job.id]
    assert slot.other.hget(job.key, "retries_left") == b"2"
    assert run.phase is RunPhase.FINISHING
    assert "was recorded when the connection broke" in caplog.text
    assert slot.recorded() == ["Failed"]


def test_a_claim_taken_while_redis_was_away_was_not_ended_by_us(slot, monkeypatch):
    run, job, execution = slot.claim()
    watch, calls = Pipeline.watch, []

    def lose_the_connection_once(pipeline, *names):
        calls.append(names)
        if len(calls) == 1:
            slot.give_to_somebody_else(run)
            raise redis.ConnectionError("away")
        return watch(pipeline, *names)

    monkeypatch.setattr(Pipeline, "watch", lose_the_connection_once)
    slot.worker.handle_job_failure(job, slot.queue, exc_string="no", execution=execution)
    assert run.phase is not RunPhase.ENDED
    assert slot.status(job) == "queued"


def test_a_registry_of_the_wrong_type_does_not_make_the_job_run_again(slot):
    slot.other.set("rq:finished:default", "not a zset")
    run, job, execution = slot.claim()
    slot.succeed(job, execution)
    assert run.phase is RunPhase.ENDED
    assert slot.status(job) == "finished"
    assert slot.other.xlen(f"rq:results:{job.id}") == 1


def test_a_stream_of_the_wrong_type_keeps_no_result(slot):
    slot.other.set("rq:pp:runs:standalone", "not a stream")
    run, job, execution = slot.claim()
    slot.succeed(job, execution)
    assert run.phase is RunPhase.ENDED
    assert slot.status(job) == "finished"
    assert slot.other.get("rq:pp:runs:standalone") == b"not a stream"


def test_what_is_recorded_of_a_run(slot):
    slot.other.hset("rq:pp:hints", "job-1", 90)
    run, job, execution = slot.claim(job_id="job-1")
    run.peak_memory_bytes, run.peak_gpu_memory_bytes = 5, 7
    slot.succeed(job, execution)
    ((_, fields),) = slot.other.xrange("rq:pp:runs:standalone")
    record = RunRecord.model_validate_json(fields[b"run"])
    assert 0 < record.seconds < 30
    assert record == RunRecord(
        job="job-1", queue="default", replica="r1", seconds=record.seconds, outcome="Finished", hint=90.0, peak=5,
        gpu_peak=7, slots=3,
    )  # fmt: skip
    assert 29 * 86400 < slot.other.ttl("rq:pp:runs:standalone") <= 30 * 86400


def test_a_full_redis_keeps_the_result_waiting(slot, monkeypatch):
    run, job, execution = slot.claim()
    slot.other.config_set("maxmemory", 1)
    waits = []

    def sleep(seconds):
        waits.append(seconds)
        assert slot.status(job) == "started"
        slot.other.config_set("maxmemory", 0)
        run._began -= 3600  # it takes an hour until somebody makes room

    monkeypatch.setattr("pool_worker.commit.time.sleep", sleep)
    slot.succeed(job, execution)
    assert waits
    assert run.phase is RunPhase.ENDED
    assert slot.status(job) == "finished"
    ((_, fields),) = slot.other.xrange("rq:pp:runs:standalone")
    assert RunRecord.model_validate_json(fields[b"run"]).seconds < 600, (
        "how long the job took, not how long its end waited"
    )


def test_only_the_first_pipeline_is_fenced(slot):
    run, job, _ = slot.claim()
    fence = Fence("rq", "r1", "default", job.id, "e1")
    with slot.redis.fenced(fence):
        first, second = slot.redis.pipeline(), slot.redis.pipeline()
        second.set("free", 1)
        second.execute()
        assert slot.other.exists(f"rq:pp:owner:{job.id}")
        first.set("bound", 1)
        first.execute()
    assert fence.committed
    assert not slot.other.exists(f"rq:pp:owner:{job.id}")
    assert slot.other.mget("free", "bound") == [b"1", b"1"]
    assert run.phase is RunPhase.FINISHING


def test_a_handler_that_fails_by_itself_leaves_the_claim(slot):
    run, job, _ = slot.claim()

    def handler():
        raise TypeError("not Redis' fault")

    with pytest.raises(TypeError):
        commit(
            handler,
            job=job,
            run=run,
            redis=slot.redis,
            fence=lambda: Fence("rq", "r1", "default", job.id, "e1"),
            link=Link("here"),
        )
    assert slot.other.exists(f"rq:pp:owner:{job.id}")


@pytest.mark.parametrize("broken", ["_read", "perform_job", "handle_job_failure"])
def test_a_job_whose_end_rq_cannot_write_is_failed_with_one_sentence_and_not_run_again(slot, broken, monkeypatch):
    def fail(*_, **__):
        raise TypeError("what RQ cannot handle")

    monkeypatch.setattr(slot.worker, broken, fail)
    function = "operator.add" if broken != "handle_job_failure" else "no_module.at_all"
    run = Run(slot.claimed(function))
    before = slot.other.hgetall(f"rq:job:{run.claimed.job_id}")
    slot.worker.perform(run)
    job = Job.fetch(run.claimed.job_id, connection=slot.other, serializer=JSONSerializer)
    assert (run.phase, slot.ends) == (RunPhase.ENDED, ["failed"])
    assert job.id in slot.queue.failed_job_registry
    text = job.latest_result().exc_string
    assert text.startswith("this run could not be ended as RQ does (TypeError('what RQ cannot handle')): ")
    assert "\n" not in text
    assert slot.queue.job_ids == []
    assert slot.other.hget(job.key, "data") == before[b"data"]
    owner, execution = f"rq:pp:owner:{job.id}", f"rq:execution:{job.id}:e1"
    assert not slot.other.exists(owner, execution, "rq:wip:default", "rq:pp:leases:default", "rq:pp:claims:r1")
    slot.queue.failed_job_registry.requeue(job)
    assert slot.queue.job_ids == [job.id]


def test_a_run_taken_away_before_such_an_error_is_not_failed(slot, monkeypatch):
    def fail(_raw):
        assert slot.worker.take_away() is not None
        raise TypeError("what RQ cannot handle")

    monkeypatch.setattr(slot.worker, "_read", fail)
    slot.worker.perform(Run(slot.claimed()))
    assert slot.ends == ["released"]
    assert len(slot.queue.failed_job_registry) == 0


def test_its_exceptions_pass_through_handlers_that_swallow_exceptions():
    assert not issubclass(ClaimLostError, Exception)
    assert not issubclass(NotCommittedError, Exception)


def test_the_methods_of_rq_that_are_replaced_exist_with_these_arguments():
    for name in (
        "prepare_job_execution",
        "handle_execution_ended",
        "_finalize_success",
        "_finalize_failure",
        "handle_job_success",
        "handle_job_failure",
        "handle_job_retry",
        "kill_horse",
    ):
        theirs = inspect.signature(getattr(SimpleWorker, name)).parameters
        ours = inspect.signature(getattr(SlotWorker, name)).parameters
        assert list(theirs) == list(ours), name
    for name in (
        "perform_job",
        "heartbeat",
        "register_birth",
        "register_death",
        "serialize",
        "set_state",
        "handle_payload",
    ):
        assert callable(getattr(SimpleWorker, name))
    assert {"set_status", "save", "save_meta", "to_dict", "restore", "func", "success_callback"} <= set(dir(Job))
    assert list(inspect.signature(Execution.__init__).parameters)[1:] == ["id", "job_id", "connection", "worker_name"]


@pytest.mark.parametrize("meta", ["[1]", "null", "12.5", '"half"', '{"progress": "half"}', '{"progress": 2}'])
def test_progress_that_is_none_is_none(slot, meta):
    """The heartbeat asks for it, and must go on."""
    _, job, _ = slot.claim()
    slot.other.hset(job.key, "meta", meta)
    assert slot.worker._read(slot.other.hgetall(job.key)).progress() is None


@pytest.mark.parametrize("how", ["released", "lost", "stopped"])
def test_a_run_taken_away_before_its_code_begins_runs_no_code(slot, how, monkeypatch):
    began = []
    monkeypatch.setattr(Job, "perform", lambda job: began.append(job.id))
    read = slot.worker._read

    def take_away_while_reading(raw):
        if how == "released":
            assert slot.worker.take_away() is not None
        elif how == "lost":
            slot.worker.lose(slot.worker.run)
        else:
            slot.worker._stopped_job_id = slot.worker.run.claimed.job_id
            slot.worker.kill_horse()
        return read(raw)

    monkeypatch.setattr(slot.worker, "_read", take_away_while_reading)
    run = Run(slot.claimed())
    slot.worker.perform(run)
    assert began == []
    assert slot.other.hget(f"rq:job:{run.claimed.job_id}", "status") == {"stopped": b"stopped"}.get(how, b"started")


def test_releasing_a_run_that_ended_changes_nothing(slot):
    run, job, execution = slot.claim()
    slot.succeed(job, execution)
    assert not slot.scripts.run(release("rq", queue="default", job_id=job.id, execution_id="e1"))
    assert slot.status(job) == "finished"
    assert not run.take_away(RunPhase.RELEASED, lambda: None)
