"""`due` and `ready` beside RQ's scheduler and maintenance: the same start, the same end, key for key."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from rq import Callback, Repeat, Retry
from rq.job import Dependency, Job, JobStatus
from rq.rate_limit import RateLimit
from rq.registry import ReadyJobRegistry
from rq.scheduler import RQScheduler
from rq.serializers import JSONSerializer
from rq.utils import now
from tests.redis.contract_dump import dump
from tests.redis.contract_harness import PREFIX, Office

from pool_contract import keys, scripts


@pytest.fixture
def office(server):
    office = Office(server)
    yield office
    office.redis.close()


# --- scenes: each leaves jobs that are due, or ready ------------------------------------------------------------------


def schedule(office, job_id, *, seconds=-10, queue="default", **options):
    return office.queue(queue).enqueue_at(now() + timedelta(seconds=seconds), "m.f", job_id=job_id, **options)


def plain(office):
    schedule(office, "one", ttl=500, meta={"a": [1, 2]}, description="a job")
    schedule(office, "two", job_timeout=77, on_success=Callback("m.done"), failure_ttl=9, result_ttl=8)
    schedule(office, "later", seconds=3600)
    office.enqueue(job_id="waiting")


def at_front(office):
    office.enqueue(job_id="waiting")
    schedule(office, "front", at_front=True)
    schedule(office, "back", at_front=False)


def without_time_out(office):
    job = Job.create("m.f", id="bare", connection=office.redis, serializer=JSONSerializer)
    office.queue().schedule_job(job, now() - timedelta(seconds=5))
    office.redis.hdel(keys.job(PREFIX, "bare"), "timeout")


def from_another_queue(office):
    schedule(office, "moved", queue="other")
    office.redis.rename(keys.scheduled(PREFIX, "other"), keys.scheduled(PREFIX, "default"))


def missing(office):
    schedule(office, "gone")
    schedule(office, "here")
    office.redis.delete(keys.job(PREFIX, "gone"))


def retried(office):
    """A retry with an interval, at the front: RQ remembers that only for a job that has run."""
    retry = Retry(max=3, interval=60, enqueue_at_front=True)
    office.queue().enqueue("m.f", job_id="again", retry=retry, ttl=600)
    office.enqueue(job_id="waiting")
    office.fail(office.claim())
    office.redis.zadd(keys.scheduled(PREFIX, "default"), {"again": int(now().timestamp()) - 1})
    schedule(office, "never-ran", retry=retry)


def repeated(office):
    office.queue().enqueue("m.f", job_id="again", repeat=Repeat(times=2, interval=60))
    office.finish(office.claim())
    office.redis.zadd(keys.scheduled(PREFIX, "default"), {"again": int(now().timestamp()) - 1})


def limited(office):
    """Two slots, one taken; three that are due."""
    limit = RateLimit("vendor", 2)
    office.enqueue(job_id="holds", rate_limit=limit)
    for number in range(3):
        schedule(office, f"due-{number}", rate_limit=limit, at_front=number == 1, ttl=300)
        office.redis.zadd(keys.scheduled(PREFIX, "default"), {f"due-{number}": int(now().timestamp()) - 10 + number})


def limited_and_full(office):
    limit = RateLimit("vendor", 1)
    office.enqueue(job_id="holds", rate_limit=limit)
    office.enqueue(job_id="waits", rate_limit=limit)
    schedule(office, "due", rate_limit=RateLimit("vendor", 3), at_front=True)


def dependents(office):
    """Dependents of a finished job whose worker died after EXEC, before it enqueued them."""
    office.queue().enqueue("m.f", job_id="parent")
    office.queue().enqueue("m.f", job_id="child", depends_on="parent", ttl=400)
    office.queue().enqueue("m.f", job_id="front", depends_on=Dependency("parent", enqueue_at_front=True))
    office.queue().enqueue("m.f", job_id="limited", depends_on="parent", rate_limit=RateLimit("vendor", 1))
    office.queue().enqueue("m.f", job_id="held", depends_on="parent", rate_limit=RateLimit("vendor", 1))
    office.queue("other").enqueue("m.f", job_id="cousin", depends_on="parent")
    office.enqueue(job_id="waiting")
    claim = office.claim()
    worker, job, queue, execution = office._running(claim, "r1")
    queue.enqueue_ready_jobs_by_queue = lambda _jobs: None  # the crash
    worker.handle_job_success(job, queue, queue.started_job_registry, execution)
    office.settle(claim, "r1")
    assert len(office.members(keys.ready(PREFIX, "default"))) == 4


def stale_entries(office):
    registry = ReadyJobRegistry(queue=office.queue())
    for number, status in enumerate(("queued", "finished", "canceled")):
        job = office.queue().create_job("m.f", job_id=f"stale-{number}", status=JobStatus(status))
        job.save()
        registry.add(job)
    office.redis.zadd(registry.key, {"gone": 1})


SCHEDULED = [
    plain, at_front, without_time_out, from_another_queue, missing, retried, repeated, limited, limited_and_full
]  # fmt: skip


def stock_scheduler(office):
    scheduler = RQScheduler(["default", "other"], connection=office.redis, serializer=JSONSerializer)
    scheduler.prepare_registries(["default", "other"])
    scheduler.enqueue_scheduled_jobs()


def stock_maintenance(office):
    for name in ("default", "other"):
        ReadyJobRegistry(queue=office.queue(name)).cleanup()


def both(office, scene, stock, ours):
    """The database after stock RQ and after us, from the same start."""
    ends = []
    for act in (stock, ours):
        office.redis.flushall()
        office.register("r1")
        scene(office)
        before = dump(office.redis)
        act(office)
        ends.append(dump(office.redis))
        assert ends[-1] != before, "there was something to do"
    return ends


@pytest.mark.parametrize("scene", SCHEDULED, ids=lambda scene: scene.__name__)
def test_due_leaves_what_rqs_scheduler_leaves(office, scene):
    theirs, ours = both(office, scene, stock_scheduler, lambda office: office.due("default", "other"))
    assert ours == theirs


@pytest.mark.parametrize("scene", [dependents, stale_entries], ids=lambda scene: scene.__name__)
def test_ready_leaves_what_rqs_maintenance_leaves(office, scene):
    theirs, ours = both(office, scene, stock_maintenance, lambda office: office.ready("default", "other"))
    assert ours == theirs


# --- what RQ does not show ------------------------------------------------------------------------------------------


def test_only_what_is_due_moves_and_is_counted(office):
    for number in range(3):
        schedule(office, f"due-{number}")
    schedule(office, "later", seconds=3600)
    assert office.due() == 3
    assert office.due() == 0
    assert office.members(keys.scheduled(PREFIX, "default")) == ["later"]


def test_a_bounded_call_moves_so_many_of_all_queues(office):
    for number in range(6):
        schedule(office, f"due-{number}", queue=f"q{number % 2}")
    call = scripts.due(PREFIX, queues=["q0", "q1"], limit=4)
    assert [office.run(call), office.run(call), office.run(call)] == [4, 2, 0]
    assert len(office.ids("q0")) == len(office.ids("q1")) == 3


def test_a_key_of_the_wrong_type_holds_its_queue_and_loses_nothing(office):
    schedule(office, "due")
    schedule(office, "limited", rate_limit=RateLimit("vendor", 1))
    office.redis.set(keys.rate_limit_allowed(PREFIX, "vendor"), "text")
    assert office.due() == 1
    assert office.members(keys.scheduled(PREFIX, "default")) == ["limited"]
    office.redis.delete(keys.rate_limit_allowed(PREFIX, "vendor"))
    office.redis.rename(keys.queue(PREFIX, "default"), "aside")
    office.redis.set(keys.queue(PREFIX, "default"), "text")
    assert office.due() == 0
    office.redis.delete(keys.queue(PREFIX, "default"))
    assert office.due() == 1
    assert office.ids() == ["limited"]


def test_a_job_with_a_time_to_live_that_is_none_holds_up_nobody(office):
    schedule(office, "odd")
    schedule(office, "good")
    office.redis.hset(keys.job(PREFIX, "odd"), "ttl", "12.5")
    assert office.due() == 2
    assert sorted(office.ids()) == ["good", "odd"]


def test_many_housekeepers_and_rqs_maintenance_move_each_job_once(office, server):
    """RQ's scheduler is left out: it moves a job again that another took between its reading and its writing."""
    for number in range(60):
        schedule(office, f"due-{number}", at_front=number % 3 == 0)
    dependents(office)

    def housekeeper(_number):
        mine = Office(server)
        try:
            return sum(mine.due() + mine.ready("default", "other") for _ in range(4))
        finally:
            mine.redis.close()

    def maintenance(_number):
        mine = Office(server)
        try:
            for _ in range(4):
                stock_maintenance(mine)
            return 0
        finally:
            mine.redis.close()

    with ThreadPoolExecutor(8) as pool:
        runs = [pool.submit(maintenance if number % 4 == 0 else housekeeper, number) for number in range(8)]
        moved = sum(run.result() for run in runs)
    assert moved >= 60
    ids = office.ids() + office.ids("other")
    assert len(ids) == len(set(ids)) == 60 + 1 + 4, "the limited one that is held waits elsewhere"
    assert office.members(keys.ready(PREFIX, "default")) == []
