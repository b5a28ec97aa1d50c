"""The claim script: who gets which job, and what it leaves in RQ's keys."""

from __future__ import annotations

import json
import time

import pytest
from redis.exceptions import OutOfMemoryError, ResponseError
from rq import Queue
from rq.executions import Execution
from rq.serializers import JSONSerializer
from tests.redis.contract_harness import FUNCTION, PREFIX, Office, unix

from pool_contract import keys
from pool_contract.scripts import Refusal


@pytest.fixture
def office(server):
    office = Office(server)
    office.register("r1")
    office.register("r2")
    yield office
    office.redis.close()


def test_strict_priority_then_head_first(office):
    low = [office.enqueue("low") for _ in range(2)]
    high = [office.enqueue("high") for _ in range(2)]
    first = office.enqueue("high", at_front=True)
    taken = [office.claim(queues=("high", "default", "low")).job_id for _ in range(5)]
    assert taken == [first, *high, *low]
    assert office.claim(queues=("high", "default", "low")) is Refusal.EMPTY


def test_the_keys_are_those_of_a_job_that_stock_rq_has_started(office):
    """The same job, started by RQ's own worker under another prefix-free name, differs in nothing but time and lease."""
    ours, theirs = office.enqueue(ttl=900), office.enqueue("other", ttl=900)
    worker = office.worker("w-r1", ("other",))
    worker.register_birth()
    claim = office.claim()
    job, _ = Queue.dequeue_any([office.queue("other")], None, connection=office.redis, serializer=JSONSerializer)
    execution = worker.prepare_execution(job)
    worker.prepare_job_execution(job, remove_from_intermediate_queue=True)
    times = {b"created_at", b"enqueued_at", b"started_at", b"last_heartbeat"}

    def untimed(key):
        return {name: value for name, value in office.redis.hgetall(key).items() if name not in times}

    mine, stock = untimed(keys.job(PREFIX, ours)), untimed(keys.job(PREFIX, theirs))
    assert mine.pop(b"origin") == b"default"
    assert stock.pop(b"origin") == b"other"
    assert mine == stock
    assert office.redis.ttl(keys.job(PREFIX, ours)) == office.redis.ttl(keys.job(PREFIX, theirs)) == -1
    for key, other in (
        (keys.executions(PREFIX, ours), keys.executions(PREFIX, theirs)),
        (keys.execution(PREFIX, ours, claim.execution_id), execution.key),
    ):
        assert office.redis.type(key) == office.redis.type(other)
        assert office.redis.ttl(key) > 0
        assert office.redis.ttl(other) > 0
    mine = office.redis.hgetall(keys.execution(PREFIX, ours, claim.execution_id))
    assert mine.keys() == office.redis.hgetall(execution.key).keys()
    assert office.redis.smembers(keys.worker_executions(PREFIX, "w-r1")) == {
        f"{ours}:{claim.execution_id}".encode(),
        execution.composite_key.encode(),
    }
    adopted = Execution.fetch(claim.execution_id, ours, connection=office.redis)
    assert adopted.worker_name == "w-r1"
    assert office.redis.hget(keys.worker(PREFIX, "w-r1"), "state") == b"busy"
    assert [one.id for one in office.job(ours).get_executions()] == [claim.execution_id]


def test_the_lease_is_ours_and_wip_ends_a_day_later(office):
    job = office.enqueue()
    before = time.time()
    claim = office.claim(lease_seconds=60)
    after = time.time()
    (lease,) = office.redis.zrange(keys.leases(PREFIX, "default"), 0, -1, withscores=True)
    (wip,) = office.redis.zrange(keys.wip(PREFIX, "default"), 0, -1, withscores=True)
    assert lease[0].decode() == job
    assert before + 59.9 <= lease[1] <= after + 60.1
    assert wip == (f"{job}:{claim.execution_id}".encode(), pytest.approx(lease[1] + 86400, abs=0.01))
    started = office.redis.hget(keys.job(PREFIX, job), "started_at")
    assert before - 0.1 <= unix(started) <= after + 0.1
    owner = office.redis.hgetall(keys.owner(PREFIX, job))
    assert owner[b"replica"] == b"r1"
    assert owner[b"execution"].decode() == claim.execution_id
    assert office.redis.smembers(keys.claims(PREFIX, "r1")) == {job.encode()}


def test_a_repeated_question_gets_the_same_answer(office):
    """redis-py asks again when a reply is lost: the second job must not vanish into a claim that nobody knows."""
    office.enqueue()
    office.enqueue()
    first = office.ask(execution="e1")
    assert office.ask(execution="e1") == first
    assert len(office.ids()) == 1
    office.drain("r1")
    assert office.ask(execution="e1") == first, "it holds the job, mark or not"


def test_refused_while_drained_and_served_afterwards(office):
    job = office.enqueue()
    assert office.drain("r1") == {"r1": 0}
    assert office.claim("r1") is Refusal.DRAINED
    assert office.undrain("r1") == 1
    assert office.claim("r1").job_id == job


def test_an_older_incarnation_gets_nothing(office):
    office.enqueue()
    office.register("r1", "second")
    assert office.claim("r1") is Refusal.STALE
    assert office.claim("r1", incarnation="second").queue == "default"


def test_who_asks_first_after_redis_forgot_is_the_replica(office):
    office.redis.flushall()
    office.enqueue()
    office.enqueue()
    assert office.claim("r1").queue == "default"
    assert office.claim("r1", incarnation="another") is Refusal.STALE


def test_a_claim_that_is_none_does_not_count(office):
    """Else the replica would never be empty."""
    office.redis.sadd(keys.claims(PREFIX, "r1"), "nobody-owns-it")
    assert office.claim("r1") is Refusal.EMPTY
    assert office.drain("r1") == {"r1": 0}


@pytest.mark.parametrize("junk", ["no-such-job", "with:colon", "with space", b"\xff\xfe", "", "x" * 5000])
def test_ids_that_are_no_job_are_dropped(office, junk):
    office.redis.rpush(keys.queue(PREFIX, "default"), junk)
    job = office.enqueue()
    assert office.claim().job_id == job
    assert office.ids() == []


def test_a_rest_of_a_hash_is_no_job(office):
    """RQ's heartbeat may recreate a deleted job's hash with one field (rq issue 1450)."""
    office.redis.hset(keys.job(PREFIX, "rest"), "last_heartbeat", "x")
    office.redis.rpush(keys.queue(PREFIX, "default"), "rest")
    assert office.claim() is Refusal.EMPTY
    assert office.ids() == []


def test_more_junk_than_one_call_may_drop_ends_in_the_next(office):
    office.redis.rpush(keys.queue(PREFIX, "default"), *[f"junk-{one}" for one in range(1500)])
    job = office.enqueue()
    assert office.claim() is Refusal.EMPTY
    assert office.claim().job_id == job


def test_a_job_key_of_the_wrong_type_is_looked_past_and_kept(office):
    office.redis.set(keys.job(PREFIX, "odd"), "text")
    office.redis.rpush(keys.queue(PREFIX, "default"), "odd")
    job = office.enqueue()
    assert office.claim().job_id == job
    assert office.ids() == ["odd"]
    assert office.redis.get(keys.job(PREFIX, "odd")) == b"text"


@pytest.mark.parametrize(
    "key",
    [keys.queue(PREFIX, "bad"), keys.wip(PREFIX, "bad"), keys.leases(PREFIX, "bad")],
    ids=["queue", "wip", "leases"],
)
def test_a_queue_key_of_the_wrong_type_harms_no_other_queue(office, key):
    waiting = office.enqueue("bad") if key != keys.queue(PREFIX, "bad") else None
    office.redis.set(key, "text")
    job = office.enqueue("good")
    assert office.claim(queues=("bad", "good")).job_id == job
    assert office.redis.get(key) == b"text"
    if waiting:
        assert office.ids("bad") == [waiting]
        office.redis.delete(key)
        assert office.claim(queues=("bad", "good")).job_id == waiting


@pytest.mark.parametrize("key", [keys.claims(PREFIX, "r1"), keys.worker(PREFIX, "w-r1")])
def test_a_key_of_the_replicas_own_of_the_wrong_type_is_named(office, key):
    office.redis.rpush(key, "x")
    job = office.enqueue()
    with pytest.raises(ResponseError, match=f"{key} holds a list, not a"):
        office.claim()
    assert office.ids() == [job]
    assert office.claim("r2").job_id == job


@pytest.mark.parametrize("status", ["finished", "failed", "stopped", "canceled"])
def test_an_id_of_a_job_that_has_ended_is_a_stale_copy(office, status):
    job = office.enqueue()
    office.redis.hset(keys.job(PREFIX, job), "status", status)
    assert office.claim() is Refusal.EMPTY
    assert office.ids() == []
    assert office.redis.hget(keys.job(PREFIX, job), "status").decode() == status


def test_a_copy_of_a_scheduled_job_is_dropped_only_if_it_really_is_scheduled(office):
    """RQ marks a retry `scheduled` before the transaction that schedules it."""
    there = office.schedule(3600)
    office.redis.rpush(keys.queue(PREFIX, "default"), there)
    assert office.claim() is Refusal.EMPTY
    only_marked = office.enqueue()
    office.redis.hset(keys.job(PREFIX, only_marked), "status", "scheduled")
    assert office.claim().job_id == only_marked
    assert office.members(keys.scheduled(PREFIX, "default")) == [there]


def test_an_id_that_stands_twice_runs_once(office):
    job = office.enqueue(job_id="same")
    office.enqueue(job_id="same")
    claim = office.claim("r1")
    assert claim.job_id == job
    assert office.claim("r2") is Refusal.EMPTY
    office.finish(claim)
    assert office.claim("r2") is Refusal.EMPTY
    assert office.ids() == []


def test_a_running_job_that_is_cancelled_and_enqueued_anew_runs_anew(office):
    office.enqueue(job_id="same")
    first = office.claim("r1")
    office.job("same").cancel()
    office.queue().enqueue(FUNCTION, job_id="same")
    second = office.claim("r2")
    assert second.job_id == "same"
    assert office.renew(first) == ("same",)
    assert office.renew(second, replica="r2") == ()
    assert office.redis.smembers(keys.claims(PREFIX, "r1")) == set()
    assert office.traces(first) == []


@pytest.mark.parametrize("queue", ["default", "other"])
def test_a_running_job_that_is_enqueued_anew_is_run_anew_and_counts_once(office, queue):
    office.enqueue(job_id="same")
    first = office.claim("r1")
    office.enqueue(queue, job_id="same")
    assert office.renew(first) == ("same",)
    second = office.claim("r2", queues=(queue,))
    assert second.job_id == "same"
    assert office.renew(second, replica="r2") == ()
    assert office.release(first) is False
    assert office.traces(first) == []
    office.finish(second, "r2")
    assert office.claim("r1", queues=("default", "other")) is Refusal.EMPTY


def test_origin_follows_the_queue_that_it_was_taken_from(office):
    """RQ's handlers find the registries by origin."""
    job = office.enqueue("one")
    office.redis.lmove(keys.queue(PREFIX, "one"), keys.queue(PREFIX, "two"))
    claim = office.claim(queues=("two",))
    office.finish(claim)
    assert office.members(keys.finished(PREFIX, "two")) == [job]
    assert office.traces(claim) == []


def test_memory_full_moves_nothing(office):
    job = office.enqueue()
    before = {key: office.redis.dump(key) for key in office.redis.keys("*")}
    office.redis.config_set("maxmemory", 1)
    with pytest.raises(OutOfMemoryError):
        office.claim()
    office.redis.config_set("maxmemory", 0)
    assert {key: office.redis.dump(key) for key in office.redis.keys("*")} == before
    claim = office.claim()
    assert claim.job_id == job
    office.redis.config_set("maxmemory", 1)
    assert office.release(claim), "what frees a replica goes through"
    office.redis.config_set("maxmemory", 0)
    assert office.ids() == [job]


# --- jobs that were lost --------------------------------------------------------------------------------------------


def lost(office, job_id=None, **options):
    job = office.enqueue(job_id=job_id)
    claim = office.claim("r9", incarnation="x")
    assert claim.job_id == job
    office.lose(claim, **options)
    return job


def test_a_lost_job_runs_alone(office):
    job, other = lost(office), office.enqueue()
    claim = office.claim("r1")
    assert (claim.job_id, claim.alone, claim.losses) == (job, True, 1)
    assert office.claim("r1") is Refusal.RESERVED
    assert office.claim("r2").job_id == other
    office.finish(claim)
    assert office.claim("r1") is Refusal.EMPTY


def test_the_first_that_meets_it_waits_until_it_is_empty_and_others_look_past(office):
    running = [office.enqueue(), office.enqueue()]
    first, second = office.claim("r1"), office.claim("r2")
    assert [first.job_id, second.job_id] == running
    job, others = lost(office), [office.enqueue(), office.enqueue()]
    assert office.claim("r1") is Refusal.RESERVED
    assert office.claim("r1") is Refusal.RESERVED
    assert office.claim("r2").job_id == others[0], "it has work: it looks past"
    office.finish(first)
    claim = office.claim("r1")
    assert (claim.job_id, claim.alone) == (job, True)
    assert office.ids() == [others[1]]
    assert office.redis.exists(keys.reserved(PREFIX, "r1")) == 0


def test_an_empty_replica_need_not_wait_for_the_one_that_is_reserved(office):
    office.enqueue()
    office.claim("r1")
    job = lost(office)
    assert office.claim("r1") is Refusal.RESERVED
    assert office.claim("r2").job_id == job
    later = office.enqueue()
    assert office.claim("r1").job_id == later, "it is not reserved any more"


@pytest.mark.parametrize("end", ["cancel", "delete"])
def test_a_reservation_ends_with_its_job(office, end):
    office.enqueue()
    office.claim("r1")
    job = lost(office)
    assert office.claim("r1") is Refusal.RESERVED
    getattr(office.job(job), end)()
    later = office.enqueue()
    assert office.claim("r1").job_id == later


def test_a_reservation_of_a_replica_that_is_drained_or_restarted_holds_nobody_up(office):
    for replica in ("r1", "r2"):
        office.enqueue()
        office.claim(replica)
    job = lost(office)
    assert office.claim("r1") is Refusal.RESERVED
    office.drain("r1")
    assert office.claim("r2") is Refusal.RESERVED, "now r2 waits for it"
    office.undrain("r1")
    assert office.claim("r1") is Refusal.EMPTY
    office.register("r2", "second")  # gives back its own job, lost too
    assert office.claim("r1") is Refusal.RESERVED
    assert job in office.ids()


def test_more_than_twenty_are_not_looked_past(office):
    office.enqueue()
    office.claim("r1")
    for number in range(21):
        job = office.enqueue(job_id=f"lost-{number}")
        office.redis.hset(keys.job(PREFIX, job), mapping={"pp_losses": 1, "pp_reserved_by": f"x{number}"})
        office.redis.set(keys.reserved(PREFIX, f"x{number}"), job)
    behind = office.enqueue()
    assert office.claim("r1") is Refusal.EMPTY
    office.job("lost-0").delete()
    assert office.claim("r1").job_id == behind


def test_only_losses_while_alone_exhaust_a_job(office):
    job = lost(office, max_losses=1)
    for strike in (1, 2):
        claim = office.claim("r1")
        assert (claim.job_id, claim.alone, claim.exhausted) == (job, True, False)
        back = office.lose(claim, max_losses=1)
        assert (back.losses, back.exhausted) == (strike + 1, strike > 1)
    office.enqueue()
    claim = office.claim("r1")
    assert (claim.job_id, claim.alone, claim.exhausted, claim.losses) == (job, False, True, 3)
    office.fail(claim, why="lost too often")
    assert office.status(job) == "failed"
    office.job(job).requeue(at_front=True)
    again = office.claim("r2")
    assert (again.job_id, again.exhausted, again.losses) == (job, False, 0), "whoever enqueues it anew means it"


def test_an_exhausted_claim_that_is_lost_or_released_stays_exhausted(office):
    job = lost(office, max_losses=0)
    assert office.lose(office.claim("r1"), max_losses=0).exhausted
    assert office.lose(office.claim("r1"), max_losses=9).exhausted
    claim = office.claim("r1")
    assert office.release(claim)
    claim = office.claim("r1")
    assert (claim.job_id, claim.exhausted) == (job, True)


def test_losses_on_excused_replicas_are_no_strikes(office):
    job = lost(office, max_losses=0)
    for _ in range(3):
        back = office.lose(office.claim("r1"), max_losses=0, excused=("r1",))
        assert not back.exhausted
    assert office.lose(office.claim("r1"), max_losses=0).exhausted
    assert job == office.claim("r1").job_id


def test_a_run_that_ends_in_order_settles_the_losses(office):
    job = office.enqueue(job_id="flaky")
    office.lose(office.claim("r1"))
    claim = office.claim("r1")
    assert claim.alone
    office.finish(claim)
    left = office.redis.hgetall(keys.job(PREFIX, job))
    assert not [name for name in left if name.startswith(b"pp_")]


def test_arguments_of_any_script_reach_redis_as_they_are(office):
    """Unicode, and numbers above 2**31, survive the way through JSON."""
    job = office.enqueue("münchen ✓")
    assert office.claim(queues=("münchen ✓",)).job_id == job
    assert json.loads(json.dumps(office.drain("r1", epoch=2**53 - 1))) == {"r1": 1}
