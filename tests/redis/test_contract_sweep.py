"""`sweep`: what dead processes left behind is mended, as RQ's maintenance would; the living are not touched."""

from __future__ import annotations

import time

import pytest
from rq import Queue
from rq.group import Group
from rq.job import Dependency
from rq.rate_limit import RateLimit, RateLimitRegistry
from rq.registry import clean_registries
from rq.worker_registration import clean_worker_registry
from tests.redis.contract_dump import dump
from tests.redis.contract_harness import POOL, PREFIX, Office

from pool_contract import keys, scripts
from pool_contract.messages import PoolSettings


@pytest.fixture
def office(server):
    office = Office(server)
    office.register("r1")
    yield office
    office.redis.close()


def pop(office, job_id, name="default"):
    """A foreign worker pops a job and dies."""
    assert Queue.lmove(office.redis, keys.queue(PREFIX, name), None)[1].decode() == job_id


# --- foreign intermediates -----------------------------------------------------------------------------------------


def test_a_popped_id_goes_back_to_the_head_after_the_grace(office):
    job, next_one = office.enqueue(), office.enqueue()
    before = office.redis.hgetall(keys.job(PREFIX, job))
    pop(office, job)
    assert office.sweep().intermediate == (), "seen for the first time"
    assert office.sweep().intermediate == (), "not yet"
    assert office.sweep(grace=0).intermediate == (job,)
    assert office.ids() == [job, next_one]
    assert office.redis.hgetall(keys.job(PREFIX, job)) == before
    assert not office.redis.exists(keys.first_seen(PREFIX, "default", job), keys.intermediate(PREFIX, "default"))


def test_rqs_own_stamp_counts(office):
    job = office.enqueue()
    pop(office, job)
    office.queue().intermediate_queue.set_first_seen(job)
    office.redis.set(keys.first_seen(PREFIX, "default", job), time.time() - 61, keepttl=True)
    assert office.sweep().intermediate == (job,)


def test_a_living_foreign_worker_keeps_its_job(office):
    job = office.enqueue()
    pop(office, job)
    worker = office.worker("stock")
    worker.prepare_execution(office.job(job))
    for _ in range(3):
        assert office.sweep(grace=0).intermediate == ()
    worker.prepare_job_execution(office.job(job), remove_from_intermediate_queue=True)
    assert office.sweep(grace=0).intermediate == ()
    assert office.ids() == []
    assert office.status(job) == "started"


@pytest.mark.parametrize("end", ["deleted", "ended", "claimed"])
def test_an_id_that_has_no_business_there_is_dropped(office, end):
    job = office.enqueue()
    if end == "claimed":
        office.claim()
    office.redis.rpush(keys.intermediate(PREFIX, "default"), job)
    office.redis.lrem(keys.queue(PREFIX, "default"), 0, job)
    if end == "deleted":
        office.job(job).delete()
    elif end == "ended":
        office.redis.hset(keys.job(PREFIX, job), "status", "finished")
    for _ in range(2):
        assert office.sweep(grace=0).intermediate == ()
    assert office.ids() == []
    if end != "claimed":  # an execution is there: somebody works on it
        assert office.redis.llen(keys.intermediate(PREFIX, "default")) == 0


def test_enqueued_anew_while_it_ran_and_popped_by_a_foreign_worker(office):
    """The old claim has nothing to give back any more, and the popped id is not lost."""
    job = office.enqueue(job_id="same")
    claim = office.claim()
    office.enqueue(job_id="same")
    pop(office, job)
    office.expire(claim)
    assert office.reclaim() == ()
    assert office.ids() == []
    office.sweep(grace=0)
    office.sweep(grace=0)
    assert office.ids() == [job]
    assert office.claim().job_id == job
    assert office.ids() == []


# --- rate limits ----------------------------------------------------------------------------------------------------


def leaked(office):
    """A worker that died between EXEC and the release of its slot."""
    limit = RateLimit("vendor", 2)
    for number in range(4):
        office.enqueue(job_id=f"job-{number}", rate_limit=limit, at_front=number == 3)
    claim = office.claim()
    office.redis.hset(keys.job(PREFIX, claim.job_id), "status", "finished")
    office.settle(claim, "r1")
    for key in (
        keys.executions(PREFIX, claim.job_id),
        keys.execution(PREFIX, claim.job_id, claim.execution_id),
        keys.wip(PREFIX, "default"),
        keys.worker_executions(PREFIX, "w-r1"),
    ):
        office.redis.delete(key)


def empty_limit(office):
    office.enqueue(job_id="only", rate_limit=RateLimit("vendor", 2))
    office.claim()
    office.redis.flushall()
    office.redis.sadd(keys.rate_limits(PREFIX), "vendor")
    office.redis.hset(keys.rate_limit(PREFIX, "vendor"), "concurrency", 2)
    office.redis.zadd(keys.rate_limit_allowed(PREFIX, "vendor"), {"gone": 1})


def room_for_more(office):
    """The limit was raised while jobs waited."""
    for number in range(3):
        office.enqueue(job_id=f"job-{number}", rate_limit=RateLimit("vendor", 1))
    office.redis.hset(keys.rate_limit(PREFIX, "vendor"), "concurrency", 2)


@pytest.mark.parametrize("scene", [leaked, empty_limit, room_for_more], ids=lambda scene: scene.__name__)
def test_rate_limits_are_left_as_rqs_maintenance_leaves_them(office, scene):
    ends = []
    for ours in (False, True):
        office.redis.flushall()
        scene(office)
        if ours:
            office.sweep()
        else:
            for registry in RateLimitRegistry.all(office.redis):
                registry.cleanup()
        ends.append(dump(office.redis))
    assert ends[0] == ends[1]


def test_slots_of_queued_running_and_cancelled_but_running_jobs_are_kept(office):
    limit = RateLimit("vendor", 3)
    for _ in range(4):
        office.enqueue(rate_limit=limit)
    allowed, waits = office.ids(), office.members(keys.rate_limit_waiting(PREFIX, "vendor"))
    claims = [office.claim(), office.claim()]
    office.job(claims[0].job_id).cancel()
    assert office.sweep().rate_limit_slots == 0
    assert set(office.members(keys.rate_limit_allowed(PREFIX, "vendor"))) == set(allowed)
    office.renew(*claims)
    assert office.sweep().rate_limit_slots == 1
    assert office.ids() == [allowed[2], *waits]


def test_a_job_whose_queue_cannot_be_written_goes_on_waiting_for_its_slot(office):
    limit = RateLimit("vendor", 1)
    office.enqueue("one", rate_limit=limit)
    waits = office.enqueue("two", rate_limit=limit)
    office.redis.set(keys.queue(PREFIX, "two"), "text")
    office.redis.delete(keys.rate_limit_allowed(PREFIX, "vendor"))
    office.sweep("one")
    assert office.members(keys.rate_limit_waiting(PREFIX, "vendor")) == [waits]
    office.redis.delete(keys.queue(PREFIX, "two"))
    office.sweep("one")
    assert office.ids("two") == [waits]


def test_release_and_reclaim_keep_the_slot(office):
    limit = RateLimit("vendor", 1)
    job, waits = office.enqueue(rate_limit=limit), office.enqueue(rate_limit=limit)
    office.release(office.claim())
    office.lose(office.claim())
    office.sweep()
    assert office.members(keys.rate_limit_allowed(PREFIX, "vendor")) == [job]
    assert office.members(keys.rate_limit_waiting(PREFIX, "vendor")) == [waits]
    office.finish(office.claim())
    assert office.ids() == [waits]


# --- workers, groups ------------------------------------------------------------------------------------------------


def test_dead_workers_are_forgotten_as_rq_forgets_them(office):
    ends = []
    for ours in (False, True):
        office.redis.flushall()
        for name in ("dead", "alive"):
            office.worker(name, ("default", "other")).register_birth()
        office.redis.delete(keys.worker(PREFIX, "dead"))
        if ours:
            assert office.sweep("default", "other").workers == 2
        else:
            clean_worker_registry(office.queue("default"))
            clean_worker_registry(office.queue("other"))
        left = dump(office.redis)
        for found in (one for key, one in left.items() if key == keys.worker(PREFIX, "alive")):
            found[1].pop(b"birth")
            found[1].pop(b"ip_address", None)
        ends.append(left)
    assert ends[0] == ends[1]
    assert office.redis.smembers(keys.workers(PREFIX)) == {keys.worker(PREFIX, "alive").encode()}


def test_groups_are_cleaned_as_rq_cleans_them_and_as_seldom(office):
    def scene():
        office.redis.flushall()
        for name in ("half", "empty", "whole"):
            group = Group.create(office.redis, name=name)
            group.enqueue_many(
                office.queue(),
                [Queue.prepare_data("m.f", job_id=f"{name}-{number}") for number in range(2)],
            )
        office.redis.delete(*(keys.job(PREFIX, job) for job in ("half-0", "empty-0", "empty-1")))

    scene()
    Group.acquire_maintenance_lock(office.redis, 599)
    Group.clean_registries(office.redis)
    theirs = dump(office.redis)
    scene()
    assert office.sweep().groups == 1
    assert dump(office.redis) == theirs
    office.redis.delete(keys.job(PREFIX, "half-1"))
    assert office.sweep().groups == 0, "once per interval, whoever comes first"
    office.redis.delete(keys.groups_lock(PREFIX))
    assert office.sweep().groups == 1


# --- dependents of a job whose worker died after EXEC -----------------------------------------------------------------


def crash_after_failure(office, claim):
    worker, job, queue, execution = office._running(claim, "r1")
    worker._enqueue_dependents_safely = lambda _queue, _job: None
    worker.handle_job_failure(job, queue, queue.started_job_registry, exc_string="broke", execution=execution)
    office.settle(claim, "r1")


def test_missed_dependents_end_where_rq_would_have_put_them(office):
    def family():
        office.redis.flushall()
        office.register("r1")
        office.enqueue(job_id="parent")
        lenient = Dependency("parent", allow_failure=True)
        office.queue().enqueue("m.f", job_id="lenient", depends_on=lenient)
        office.queue("other").enqueue("m.f", job_id="cousin", depends_on=lenient)
        office.queue().enqueue("m.f", job_id="strict", depends_on="parent")
        office.enqueue("far", job_id="second")
        both_of = Dependency(["parent", "second"], allow_failure=True)
        office.queue().enqueue("m.f", job_id="waits", depends_on=both_of)
        return office.claim()

    office.fail(family())
    theirs = dump(office.redis)
    crash_after_failure(office, family())
    assert office.ids() == []
    assert office.sweep("default", "other").dependents == 2
    assert office.ready("default", "other") == 2
    ours = dump(office.redis)
    assert ours == theirs
    assert set(office.members(keys.deferred(PREFIX, "default"))) == {"strict", "waits"}


@pytest.mark.parametrize("status", ["queued", "started", "deferred", "scheduled", "canceled", "stopped"])
def test_dependents_of_a_job_that_has_not_ended_well_stay(office, status):
    parent = office.enqueue()
    child = office.queue().enqueue("m.f", depends_on=Dependency(parent, allow_failure=True)).id
    office.redis.hset(keys.job(PREFIX, parent), "status", status)
    assert office.sweep().dependents == 0
    office.redis.delete(keys.job(PREFIX, parent))
    assert office.sweep().dependents == 0, "RQ leaves dependents of a deleted job where they are"
    assert office.members(keys.deferred(PREFIX, "default")) == [child]


def test_beside_rqs_maintenance_nothing_happens_twice(office):
    crash = office.enqueue(job_id="parent")
    office.queue().enqueue("m.f", job_id="child", depends_on=Dependency(crash, allow_failure=True))
    crash_after_failure(office, office.claim())
    for _ in range(2):
        office.sweep()
        clean_registries(office.queue())
        office.ready()
        office.queue().enqueue_dependents(office.job("parent"))
    assert office.ids() == ["child"]


# --- ours -----------------------------------------------------------------------------------------------------------


def test_replicas_that_are_long_gone_are_forgotten_and_the_others_are_not(office):
    settings = PoolSettings(namespace="n", name="p", queues=("default",))
    office.run(scripts.publish_settings(PREFIX, pool=POOL, epoch=1, settings=settings))
    for replica in ("gone", "busy", "here"):
        office.register(replica)
    office.drain("gone", "drained-before-it-reported")
    office.enqueue()
    office.claim("busy")
    for replica in ("gone", "busy", "drained-before-it-reported"):
        office.redis.zadd(keys.replicas(PREFIX, POOL), {replica: time.time() - 7200})
    office.sweep()
    assert set(office.members(keys.replicas(PREFIX, POOL))) == {"r1", "busy", "here"}
    assert not office.redis.exists(keys.incarnation(PREFIX, "gone"))
    assert office.redis.exists(keys.incarnation(PREFIX, "busy"), keys.incarnation(PREFIX, "here")) == 2
    for replica in ("gone", "drained-before-it-reported"):
        assert office.redis.ttl(keys.drain(PREFIX, replica)) > 86400


def test_size_hints_go_with_their_jobs(office):
    job, ended = office.enqueue(), office.enqueue()
    office.redis.hset(keys.job(PREFIX, ended), "status", "canceled")
    office.redis.set(keys.job(PREFIX, "odd"), "not a hash")
    office.redis.hset(keys.size_hint(PREFIX), mapping={job: 5, ended: 7, "gone": 6, "odd": 1})
    office.sweep()
    assert office.redis.hkeys(keys.size_hint(PREFIX)) == [job.encode()]
