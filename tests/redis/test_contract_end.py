"""How a claim goes on and how it ends: renewed, released, taken back from the dead; cancelled or deleted by others."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from redis.exceptions import ResponseError
from rq import Retry
from rq.registry import StartedJobRegistry
from rq.utils import current_timestamp
from tests.redis.contract_harness import POOL, PREFIX, Office

from pool_contract import keys
from pool_contract.scripts import Refusal


@pytest.fixture
def office(server):
    office = Office(server)
    office.register("r1")
    office.register("r2")
    yield office
    office.redis.close()


# --- renew ----------------------------------------------------------------------------------------------------------


def test_renewing_moves_what_rqs_heartbeat_moves_and_leaves_the_fence_alone(office):
    office.worker("w-r1").register_birth()
    office.enqueue()
    claim = office.claim(lease_seconds=5)
    owner, job = keys.owner(PREFIX, claim.job_id), keys.job(PREFIX, claim.job_id)
    execution = keys.execution(PREFIX, claim.job_id, claim.execution_id)
    member = f"{claim.job_id}:{claim.execution_id}"
    office.redis.hset(job, "last_heartbeat", "old")
    office.redis.hset(execution, "last_heartbeat", "1.0")
    office.redis.expire(keys.worker(PREFIX, "w-r1"), 1)
    with office.redis.pipeline() as pipeline:
        pipeline.watch(owner)
        assert office.renew(claim) == ()
        pipeline.multi()
        pipeline.get("anything")
        pipeline.execute()  # raises WatchError if the owner key was written
    lease = office.redis.zscore(keys.leases(PREFIX, "default"), claim.job_id)
    assert lease > current_timestamp() + 55
    assert office.redis.zscore(keys.wip(PREFIX, "default"), member) == pytest.approx(lease + 86400, abs=0.01)
    assert office.redis.hget(job, "last_heartbeat") != b"old"
    assert float(office.redis.hget(execution, "last_heartbeat")) > 1
    assert office.redis.ttl(execution) > 60
    assert office.redis.ttl(keys.executions(PREFIX, claim.job_id)) > 60
    assert office.redis.zscore(keys.executions(PREFIX, claim.job_id), claim.execution_id) > current_timestamp() + 100
    assert office.redis.ttl(keys.worker(PREFIX, "w-r1")) > 60
    assert office.redis.ttl(keys.worker_executions(PREFIX, "w-r1")) > 60


def test_a_longer_life_of_a_worker_is_not_shortened(office):
    office.worker("w-r1").register_birth()
    office.enqueue()
    claim = office.claim()
    office.redis.expire(keys.worker(PREFIX, "w-r1"), 480)
    office.renew(claim)
    assert office.redis.ttl(keys.worker(PREFIX, "w-r1")) > 400


def test_a_claim_that_somebody_else_holds_now_is_told_and_not_touched(office):
    job = office.enqueue()
    old = office.claim("r1")
    office.lose(old)
    new = office.claim("r2")
    before = office.redis.hgetall(keys.owner(PREFIX, job))
    assert office.renew(old) == (job,)
    assert office.redis.hgetall(keys.owner(PREFIX, job)) == before
    assert office.renew(new, replica="r2") == ()
    assert office.renew(new, replica="r1") == (job,), "the right execution in the wrong hands"


def test_a_wip_entry_that_somebody_removed_is_written_again(office):
    job = office.enqueue()
    claim = office.claim()
    office.redis.delete(keys.wip(PREFIX, "default"))
    assert office.renew(claim) == ()
    assert office.members(keys.wip(PREFIX, "default")) == [f"{job}:{claim.execution_id}"]


def test_a_key_of_the_wrong_type_ends_no_claim_on_another_queue(office):
    jobs = [office.enqueue("bad"), office.enqueue("good")]
    bad, good = office.claim(queues=("bad",)), office.claim(queues=("good",))
    for key in (keys.wip(PREFIX, "bad"), keys.leases(PREFIX, "bad"), keys.executions(PREFIX, jobs[0])):
        office.redis.set(key, "text")
    before = office.redis.zscore(keys.leases(PREFIX, "good"), jobs[1])
    assert office.renew(bad, good) == ()
    assert office.redis.zscore(keys.leases(PREFIX, "good"), jobs[1]) > before
    assert office.reclaim(("bad", "good")) == ()
    office.redis.delete(keys.wip(PREFIX, "bad"), keys.leases(PREFIX, "bad"))
    assert office.renew(bad, good) == ()
    assert office.members(keys.leases(PREFIX, "bad")) == [jobs[0]]
    assert office.release(bad) is True
    assert office.ids("bad") == [jobs[0]]


def test_memory_full_ends_no_claim(office):
    job = office.enqueue()
    claim = office.claim(lease_seconds=10)
    before = office.redis.zscore(keys.leases(PREFIX, "default"), job)
    office.redis.config_set("maxmemory", 1)
    assert office.renew(claim) == ()
    office.redis.config_set("maxmemory", 0)
    assert office.redis.zscore(keys.leases(PREFIX, "default"), job) > before + 30


def test_a_retry_in_the_making_does_not_end_the_claim(office):
    """RQ marks the job `scheduled` before its transaction: a heartbeat in between must not break that."""
    job = office.queue().enqueue("m.f", retry=Retry(max=1, interval=60)).id
    claim = office.claim()
    office.redis.hset(keys.job(PREFIX, job), "status", "scheduled")
    assert office.renew(claim) == ()
    office.fail(claim)
    assert office.members(keys.scheduled(PREFIX, "default")) == [job]
    assert office.ours() == []


@pytest.mark.parametrize("limited", [False, True], ids=["plain", "rate-limited"])
@pytest.mark.parametrize("end", ["cancel", "delete"])
@pytest.mark.parametrize("noticed_by", ["renew", "reclaim", "release", "register"])
def test_cancelled_or_deleted_while_it_runs(office, end, noticed_by, limited):
    from rq.rate_limit import RateLimit

    limit = {"rate_limit": RateLimit("vendor", 1)} if limited else {}
    job = office.enqueue(**limit)
    follower = office.enqueue(**limit)
    claim = office.claim()
    getattr(office.job(job), end)()
    if noticed_by == "renew":
        assert office.renew(claim) == (job,)
    elif noticed_by == "reclaim":
        office.expire(claim)
        assert office.reclaim() == ()
    elif noticed_by == "release":
        assert office.release(claim) is False
    else:
        assert office.register("r1", "second") == ()
    assert job not in office.ids()
    assert office.ours() == []
    assert office.traces(claim) == []
    assert not office.redis.exists(keys.executions(PREFIX, job))
    if end == "cancel":
        assert office.status(job) == "canceled"
        assert office.members(keys.canceled(PREFIX, "default")) == [job]
    else:
        assert not office.redis.exists(keys.job(PREFIX, job))
    office.sweep()
    assert office.ids() == [follower], "its slot of the rate limit is free"


def test_a_cancelled_job_whose_execution_rq_no_longer_lists_is_noticed_too(office):
    """RQ forgets an execution after its time to live and then cannot remove its wip entry."""
    job = office.enqueue()
    claim = office.claim()
    office.redis.delete(keys.executions(PREFIX, job))
    office.job(job).cancel()
    assert office.redis.zcard(keys.wip(PREFIX, "default")) == 1
    assert office.renew(claim) == (job,)
    assert office.traces(claim) == []


# --- release --------------------------------------------------------------------------------------------------------


def test_released_to_the_head_with_everything_as_it_was(office):
    job = office.queue().enqueue("m.f", retry=Retry(max=2), ttl=500).id
    others = [office.enqueue(), office.enqueue()]
    before = office.redis.hgetall(keys.job(PREFIX, job))
    claim = office.claim()
    assert office.release(claim) is True
    after = office.redis.hgetall(keys.job(PREFIX, job))
    moved = {b"enqueued_at", b"last_heartbeat"}
    assert {k: v for k, v in after.items() if k not in moved} == {k: v for k, v in before.items() if k not in moved}
    assert office.ids() == [job, *others]
    assert 0 < office.redis.ttl(keys.job(PREFIX, job)) <= 500, "RQ starts the time to live anew when it enqueues"
    assert office.traces(claim) == []
    assert office.ours() == []
    assert office.release(claim) is False
    assert office.claim("r2").losses == 0


def test_only_the_claim_of_this_execution_is_released(office):
    office.enqueue()
    old = office.claim("r1")
    office.lose(old)
    new = office.claim("r2")
    assert office.release(old) is False
    assert office.ids() == []
    assert office.renew(new, replica="r2") == ()


def test_a_released_job_that_was_lost_before_runs_alone_again(office):
    job = office.enqueue()
    office.lose(office.claim("r1"))
    assert office.release(office.claim("r1"))
    claim = office.claim("r2")
    assert (claim.job_id, claim.alone, claim.losses) == (job, True, 1)


def test_a_queue_of_the_wrong_type_keeps_the_claim(office):
    job = office.enqueue()
    claim = office.claim()
    office.redis.set(keys.queue(PREFIX, "default"), "text")
    with pytest.raises(ResponseError, match="rq:queue:default holds a string, not a list"):
        office.release(claim)
    office.expire(claim)
    assert office.reclaim() == ()
    assert office.register("r1", "second") == ()
    assert office.redis.exists(keys.owner(PREFIX, job))
    office.redis.delete(keys.queue(PREFIX, "default"))
    (back,) = office.reclaim()
    assert back.job_id == job
    assert office.ids() == [job]


# --- register -------------------------------------------------------------------------------------------------------


def test_a_restarted_replica_gives_back_what_it_held_in_order(office):
    jobs = [office.enqueue() for _ in range(3)]
    claims = [office.claim("r1") for _ in jobs]
    back = office.register("r1", "second")
    assert {one.job_id for one in back} == set(jobs)
    assert {one.losses for one in back} == {1}
    assert office.ids() == jobs
    assert office.renew(*claims) == tuple(jobs)
    assert office.register("r1", "second") == ()
    assert office.ours() == []


def test_registering_twice_as_the_same_process_keeps_its_claims(office):
    office.enqueue()
    claim = office.claim("r1")
    assert office.register("r1") == ()
    assert office.renew(claim) == ()


def test_a_drain_mark_outlives_the_process(office):
    office.drain("r1")
    office.register("r1", "second")
    office.enqueue()
    assert office.claim("r1", incarnation="second") is Refusal.DRAINED


# --- reclaim --------------------------------------------------------------------------------------------------------


def test_only_an_ended_lease_is_reclaimed(office):
    jobs = [office.enqueue(), office.enqueue()]
    living, dead = office.claim("r1"), office.claim("r2")
    office.expire(dead)
    (back,) = office.reclaim()
    assert (back.job_id, back.replica, back.queue, back.losses, back.exhausted) == (jobs[1], "r2", "default", 1, False)
    assert office.renew(living) == ()
    assert office.traces(dead) == []
    assert office.reclaim() == ()


def test_a_queue_that_the_pool_has_no_longer_is_found_by_the_claims_of_its_replicas(office):
    job = office.enqueue("old")
    office.register()
    dead = office.claim("r1", ("old",))
    office.expire(dead)
    assert office.reclaim(("new",)) == ()
    assert office.reclaim(("new",), pools=("another",)) == ()
    (back,) = office.reclaim(("new",), pools=(POOL,))
    assert (back.job_id, back.queue) == (job, "old")
    assert office.ids("old") == [job]
    assert office.traces(dead) == []


def test_what_is_no_claim_stops_no_reclaim_by_pool(office):
    office.register("r1")
    office.register("r2")
    office.redis.set(keys.claims(PREFIX, "r1"), "junk")
    office.redis.sadd(keys.claims(PREFIX, "r2"), "no-job")
    job = office.enqueue()
    office.expire(office.claim("r3"))
    (back,) = office.reclaim(pools=(POOL, "unknown"))
    assert back.job_id == job


def test_a_copy_far_behind_is_not_looked_for_and_runs_no_second_time(office):
    job = office.enqueue()
    claim = office.claim()
    office.redis.rpush(keys.queue(PREFIX, "default"), *(f"none-{number}" for number in range(1000)), job)
    office.lose(claim)
    assert office.ids()[0] == office.ids()[-1] == job
    again = office.claim()
    assert again.job_id == job
    assert office.claim("r2") is Refusal.EMPTY
    office.finish(again)
    assert office.claim("r2") is Refusal.EMPTY
    assert office.ids() == []


@pytest.mark.parametrize("ttl", ["12.5", "100000000000000000", "inf", "soon"])
def test_a_time_to_live_that_is_none_loses_no_job(office, ttl):
    job = office.enqueue()
    office.redis.hset(keys.job(PREFIX, job), "ttl", ttl)
    office.lose(office.claim())
    assert office.ids() == [job]
    assert office.release(office.claim())
    assert office.ids() == [job]


def test_the_fence_is_our_lease_and_never_wip(office):
    """A stock cleaner, or somebody by hand, may remove the wip entry: a living claim's job is not given away by that."""
    office.enqueue()
    claim = office.claim()
    office.redis.zadd(keys.wip(PREFIX, "default"), {f"{claim.job_id}:{claim.execution_id}": 1})
    assert office.reclaim() == ()
    office.expire(claim)
    office.redis.delete(keys.wip(PREFIX, "default"))
    (back,) = office.reclaim()
    assert back.job_id == claim.job_id
    assert office.ids() == [claim.job_id]


def test_a_claim_whose_retry_rq_marked_but_never_scheduled_is_not_lost(office):
    """RQ writes `scheduled` before the transaction; a worker that dies in between leaves a job in no list."""
    job = office.queue().enqueue("m.f", retry=Retry(max=1, interval=60)).id
    claim = office.claim()
    office.redis.hset(keys.job(PREFIX, job), "status", "scheduled")
    assert office.lose(claim).job_id == job
    assert office.ids() == [job]
    assert office.status(job) == "queued"


def test_a_claim_left_behind_by_a_run_that_has_ended_is_forgotten(office):
    job = office.enqueue()
    claim = office.claim()
    worker, loaded, queue, execution = office._running(claim, "r1")
    worker.handle_job_success(loaded, queue, queue.started_job_registry, execution)
    office.expire(claim)
    assert office.reclaim() == ()
    assert office.status(job) == "finished"
    assert office.ours() == []


def test_many_housekeepers_and_rqs_own_cleaners_give_each_job_back_once(office, server):
    jobs = [office.enqueue() for _ in range(60)]
    claims = [office.claim("r1") for _ in jobs]
    for claim in claims:
        office.expire(claim)

    def housekeeper(_number):
        mine = Office(server)
        try:
            return [one.job_id for _ in range(5) for one in mine.reclaim()]
        finally:
            mine.redis.close()

    def rq_info(_number):
        mine = Office(server)
        try:
            for _ in range(10):
                registry = StartedJobRegistry(queue=mine.queue())
                assert registry.count >= 0
                registry.get_job_ids()
            return []
        finally:
            mine.redis.close()

    with ThreadPoolExecutor(8) as pool:
        runs = [pool.submit(rq_info if number % 2 else housekeeper, number) for number in range(8)]
        back = [job for run in runs for job in run.result()]
    assert sorted(back) == sorted(jobs)
    assert sorted(office.ids()) == sorted(jobs)
    assert {office.job(job).get_status().value for job in jobs} == {"queued"}
    assert office.ours() == []


def test_a_living_claim_is_out_of_reach_of_rqs_cleaners(office):
    job = office.enqueue()
    claim = office.claim(lease_seconds=1)
    registry = StartedJobRegistry(queue=office.queue())
    registry.cleanup(timestamp=current_timestamp() + 3600)
    assert office.status(job) == "started"
    assert office.renew(claim) == ()


# --- the fence of a finishing worker --------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["reclaim", "release", "register"])
def test_every_way_to_lose_a_claim_breaks_the_watch_on_its_owner_key(office, how):
    from redis.exceptions import WatchError

    office.enqueue()
    claim = office.claim()
    with office.redis.pipeline() as pipeline:
        pipeline.watch(keys.owner(PREFIX, claim.job_id))
        if how == "reclaim":
            office.lose(claim)
        elif how == "release":
            office.release(claim)
        else:
            office.register("r1", "second")
        pipeline.multi()
        pipeline.get("anything")
        with pytest.raises(WatchError):
            pipeline.execute()
