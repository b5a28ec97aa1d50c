"""RQ stays what it is for everybody else: its tools read our runs, and runs end as they end in stock workers."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from rq import Queue, Repeat, Retry
from rq.command import send_stop_job_command
from rq.executions import Execution
from rq.job import Dependency
from rq.rate_limit import RateLimit
from rq.results import Result
from rq.serializers import JSONSerializer
from tests.redis.contract_dump import dump
from tests.redis.contract_harness import PREFIX, Office

from pool_contract import keys


@pytest.fixture
def office(server):
    office = Office(server)
    office.register("r1")
    yield office
    office.redis.close()


# --- the same jobs, run by a stock worker and through our claims --------------------------------------------------------


def finishes(office):
    office.queue().enqueue("math.sqrt", 16, job_id="one", meta={"who": "me"}, result_ttl=300)


def finishes_and_vanishes(office):
    office.queue().enqueue("math.sqrt", 16, job_id="one", result_ttl=0)


def fails(office):
    office.queue().enqueue("math.sqrt", -1, job_id="one", failure_ttl=500)


def retries_at_once(office):
    office.queue().enqueue("math.sqrt", -1, job_id="one", retry=Retry(max=2))
    office.queue().enqueue("math.sqrt", 1, job_id="two")


def retries_at_the_front(office):
    office.queue().enqueue("math.sqrt", -1, job_id="one", retry=Retry(max=1, enqueue_at_front=True), ttl=800)
    office.queue().enqueue("math.sqrt", 1, job_id="two")


def retries_later(office):
    office.queue().enqueue("math.sqrt", -1, job_id="one", retry=Retry(max=2, interval=[60, 120]))


def repeats(office):
    office.queue().enqueue("math.sqrt", 4, job_id="one", repeat=Repeat(times=1, interval=0))


def family(office):
    office.queue().enqueue("math.sqrt", 4, job_id="one")
    office.queue().enqueue("math.sqrt", 4, job_id="two", depends_on="one", at_front=True)
    office.queue("other").enqueue("math.sqrt", 4, job_id="three", depends_on=["one", "two"])


def family_of_a_failure(office):
    office.queue().enqueue("math.sqrt", -1, job_id="one")
    office.queue().enqueue("math.sqrt", 4, job_id="two", depends_on=Dependency("one", allow_failure=True))
    office.queue().enqueue("math.sqrt", 4, job_id="three", depends_on="one")


def limited(office):
    for number in range(3):
        office.queue().enqueue("math.sqrt", 4, job_id=f"job-{number}", rate_limit=RateLimit("vendor", 1))


SCENES = [
    finishes, finishes_and_vanishes, fails, retries_at_once, retries_at_the_front, retries_later, repeats, family,
    family_of_a_failure, limited,
]  # fmt: skip
QUEUES = ("default", "other")


def run_stock(office):
    worker = office.worker("w-r1", QUEUES)
    worker.register_birth()
    while found := Queue.dequeue_any(worker.queues, None, connection=office.redis, serializer=JSONSerializer):
        worker.execute_job(*found)


def run_claimed(office):
    worker = office.worker("w-r1", QUEUES)
    worker.register_birth()
    while claim := office.ask("r1", QUEUES).claimed:
        execution = Execution.fetch(claim.execution_id, claim.job_id, connection=office.redis)
        worker.executions[execution.id] = execution
        worker.perform_job(office.job(claim.job_id), office.queue(claim.queue), execution)
        office.settle(claim, "r1")
    worker.set_state("idle")


@pytest.mark.parametrize("scene", SCENES, ids=lambda scene: scene.__name__)
def test_a_run_ends_as_in_a_stock_worker(office, scene):
    ends = []
    for run in (run_stock, run_claimed):
        office.redis.flushall()
        scene(office)
        run(office)
        end = {key: value for key, value in dump(office.redis).items() if not key.startswith(f"{PREFIX}:pp:")}
        worker = end.pop(keys.worker(PREFIX, "w-r1"))[1]
        counts = {name: worker.get(name) for name in (b"successful_job_count", b"failed_job_count", b"state")}
        for content in (one[1] for one in end.values() if one[0] == b"hash"):
            content.pop(b"exc_info", None)  # a traceback
        ends.append((end, counts))
    assert ends[0] == ends[1]
    assert office.ours() == []


def test_results_carry_the_execution(office):
    office.queue().enqueue("math.sqrt", 16, job_id="one")
    claim = office.claim()
    office.finish(claim, result=4.0)
    (result,) = office.job("one").results()
    assert (result.type, result.return_value, result.execution_id) == (
        Result.Type.SUCCESSFUL,
        4.0,
        claim.execution_id,
    )
    assert office.job("one").return_value() == 4.0


# --- other people's tools -------------------------------------------------------------------------------------------


def test_rq_info_and_the_registries_show_our_runs_and_change_nothing(office, server):
    office.enqueue()
    office.enqueue()
    office.worker("w-r1").register_birth()
    claim = office.claim()
    office.redis.hset(
        keys.worker(PREFIX, "w-r1"), "last_heartbeat", office.redis.hget(keys.job(PREFIX, claim.job_id), "started_at")
    )
    before = dump(office.redis)
    shown = subprocess.run(
        [sys.executable, "-m", "rq.cli", "info", "--url", server.url],
        capture_output=True, text=True, check=True, env=os.environ | {"COLUMNS": "200"},
    ).stdout  # fmt: skip
    assert "default" in shown
    assert "w-r1" in shown
    queue = office.queue()
    assert queue.started_job_registry.count == 1
    assert queue.started_job_registry.get_job_and_execution_ids() == [(claim.job_id, claim.execution_id)]
    assert claim.job_id in queue.started_job_registry
    assert queue.count == 1
    job = office.job(claim.job_id)
    assert job.is_started
    assert job.worker_name == "w-r1"
    assert [one.id for one in job.get_executions()] == [claim.execution_id]
    (execution,) = office.worker("w-r1").get_current_executions(refresh=True)
    assert execution.id == claim.execution_id
    for registry in (queue.failed_job_registry, queue.finished_job_registry, queue.deferred_job_registry):
        assert registry.count == 0
    assert dump(office.redis) == before


def test_a_stop_command_reaches_the_worker_of_our_run(office):
    office.worker("w-r1").register_birth()
    office.enqueue()
    claim = office.claim()
    with office.redis.pubsub() as heard:
        heard.subscribe(f"{PREFIX}:pubsub:w-r1")
        assert heard.get_message(timeout=5)["type"] == "subscribe"
        send_stop_job_command(office.redis, claim.job_id)
        message = heard.get_message(timeout=5)
    assert claim.job_id.encode() in message["data"]


def test_requeued_from_the_failed_registry(office):
    job = office.enqueue()
    office.fail(office.claim())
    assert office.queue().failed_job_registry.get_job_ids() == [job]
    office.queue().failed_job_registry.requeue(job)
    claim = office.claim()
    assert claim.job_id == job
    office.finish(claim)
    assert [one.type for one in office.job(job).results()] == [Result.Type.SUCCESSFUL, Result.Type.FAILED]


def test_a_stock_worker_takes_what_we_gave_back(office):
    """Released and lost jobs are ordinary waiting jobs; the fields of ours in their hash do not trouble RQ."""
    for number in range(2):
        office.queue().enqueue("math.sqrt", 4, job_id=f"job-{number}")
    office.release(office.claim())
    office.lose(office.claim())
    run_stock(office)
    assert [office.status(f"job-{number}") for number in range(2)] == ["finished", "finished"]
    assert office.ids() == []
