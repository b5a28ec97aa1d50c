"""The read script: everything of an endpoint at one instant, nothing written."""

from __future__ import annotations

import time

import pytest
from rq.utils import now, utcformat
from tests.redis.contract_harness import POOL, PREFIX, Office
from tests.servers import redis_server

from pool_contract import keys, scripts
from pool_contract.messages import JobReport, ReplicaPhase, ReplicaReport
from pool_contract.replies import ReplicaState


@pytest.fixture
def office(server):
    office = Office(server)
    office.register("r1")
    office.register("r2")
    yield office
    office.redis.close()


def one(office, name="default", **options):
    return office.read((name,), **options).queues[name]


def test_an_unknown_queue_is_empty(office):
    queue = one(office, "never-heard-of")
    assert queue == scripts.QueueState(
        waiting=0, intermediate=0, running=0, expired=0, foreign_running=0, scheduled=0, due=0, next_due_at=None,
        oldest_enqueued_at=None, failed=0, deferred=0, hinted_seconds=0.0,
    )  # fmt: skip


def test_every_number_means_what_it_says(office):
    for _ in range(5):
        office.enqueue()
    claims = [office.claim("r1"), office.claim("r1"), office.claim("r2")]
    office.expire(claims[0])
    office.schedule(-5)
    office.schedule(3600)
    soon = office.schedule(90)
    parent = office.enqueue("elsewhere")
    office.queue().enqueue("m.f", depends_on=parent)
    failing = office.claim("r2")
    office.fail(failing, "r2")
    office.redis.rpush(keys.intermediate(PREFIX, "default"), "foreign")
    office.redis.zadd(keys.wip(PREFIX, "default"), {"foreign:e": time.time() + 100, "dead:e": time.time() - 100})
    office.redis.zadd(keys.ready(PREFIX, "default"), {"met": 1})
    queue = one(office)
    assert (queue.waiting, queue.intermediate, queue.running, queue.expired) == (1, 1, 2, 1)
    assert (queue.foreign_running, queue.failed, queue.deferred) == (1, 1, 1)
    assert (queue.scheduled, queue.due) == (3, 2)
    assert queue.next_due_at == office.redis.zscore(keys.scheduled(PREFIX, "default"), soon)
    assert one(office, lookahead_seconds=120).due == 3
    assert queue.problem == ""


def test_the_oldest_is_found_at_either_end_and_junk_has_no_age(office):
    long_ago = utcformat(now().replace(year=2020))
    young, old = office.enqueue(), office.enqueue()
    head = one(office).oldest_enqueued_at
    assert head == pytest.approx(time.time(), abs=30)
    office.redis.hset(keys.job(PREFIX, old), "enqueued_at", long_ago)
    assert one(office).oldest_enqueued_at < head - 86400
    office.redis.lrem(keys.queue(PREFIX, "default"), 0, young)
    assert one(office).oldest_enqueued_at < head - 86400
    for junk in ("yesterday", "", "\udcff"):
        office.redis.hset(keys.job(PREFIX, old), "enqueued_at", junk.encode(errors="surrogateescape"))
        assert one(office).oldest_enqueued_at is None
    office.redis.delete(keys.job(PREFIX, old))
    assert one(office).oldest_enqueued_at is None
    assert one(office).waiting == 1


def test_size_hints_of_waiting_jobs_are_added_up(office):
    jobs = [office.enqueue() for _ in range(3)]
    office.redis.hset(keys.size_hint(PREFIX), mapping={jobs[0]: 60.5, jobs[2]: "120", "other": 7})
    assert one(office).hinted_seconds == 180.5
    office.redis.hset(keys.size_hint(PREFIX), jobs[1], "long")
    assert one(office).hinted_seconds == 180.5


@pytest.mark.parametrize("junk", ["inf", "nan", "-60", "1e400"])
def test_a_size_hint_that_is_no_length_spoils_no_reading(office, junk):
    jobs = [office.enqueue() for _ in range(2)]
    office.redis.hset(keys.size_hint(PREFIX), mapping={jobs[0]: junk, jobs[1]: 60})
    assert one(office).hinted_seconds == 60


def test_replicas_as_redis_knows_them(office):
    office.enqueue()
    office.claim("r1")
    said = ReplicaReport(
        replica="r1", pool=POOL, incarnation="i-r1", phase=ReplicaPhase.READY, at=5.0, started_at=1.0, slots=4,
        jobs=(JobReport(job_id="j", queue="default", started_at=2.0),),
    )  # fmt: skip
    office.run(scripts.report(PREFIX, report=said))
    office.drain("r2")
    office.drain("starting")
    pool = office.read().pools[POOL]
    assert pool.replicas["r2"] == ReplicaState(replica="r2", claims=0, drained=True, report=None, age_seconds=None)
    assert pool.replicas["starting"].drained
    first = pool.replicas["r1"]
    assert (first.claims, first.drained, first.report) == (1, False, said)
    assert 0 <= first.age_seconds < 30
    assert 0 < office.redis.ttl(keys.report(PREFIX, "r1")) <= 45
    assert pool.published is False
    office.redis.set(keys.report(PREFIX, "r1"), "no report")
    assert office.read().pools[POOL].replicas["r1"].report is None


def test_what_cannot_be_read_of_a_replica_is_not_idle(office):
    office.redis.set(keys.claims(PREFIX, "r1"), "text")
    office.redis.hset(keys.report(PREFIX, "r2"), "a", "b")
    replicas = office.read().pools[POOL].replicas
    assert replicas["r1"].claims == 1
    assert replicas["r2"].report is None
    office.redis.set(keys.replicas(PREFIX, "broken"), "text")
    assert office.read(pools=("broken",)).pools["broken"].replicas == {}


BY_TYPE = {
    "rq:queue:bad": "list", "rq:queue:bad:intermediate": "list", "rq:wip:bad": "sorted set",
    "rq:pp:leases:bad": "sorted set", "rq:scheduled:bad": "sorted set", "rq:ready:bad": "sorted set",
    "rq:failed:bad": "sorted set", "rq:deferred:bad": "sorted set",
}  # fmt: skip


@pytest.mark.parametrize("key", BY_TYPE)
def test_a_key_of_the_wrong_type_is_that_queues_problem(office, key):
    office.enqueue("good")
    office.redis.hset(key, "a", "b")
    state = office.read(("bad", "good"))
    assert state.queues["bad"].problem == f"{key} holds a hash, not a {BY_TYPE[key]}"
    assert state.queues["good"].waiting == 1
    assert state.queues["good"].problem == ""
    office.due("bad", "good")
    office.ready("bad", "good")
    office.reclaim(("bad", "good"))
    office.sweep("bad", "good")
    assert office.redis.hgetall(key) == {b"a": b"b"}


def test_it_writes_nothing_and_works_on_a_replica(office, server):
    office.enqueue()
    office.claim("r1")
    with redis_server("valkey", "--replicaof", f"127.0.0.1 {server.port}") as second, second.client() as copy:
        end = time.monotonic() + 20
        while copy.info("replication")["master_link_status"] != "up":
            assert time.monotonic() < end
            time.sleep(0.02)
        assert copy.info("replication")["role"] == "slave"
        call = scripts.read(PREFIX, queues=["default"], pools=[POOL])
        state = scripts.Scripts(copy).run(call)
        assert state.replication_role == "slave"
        assert state.queues["default"].running == 1
    state = office.read()
    assert state.replication_role == "master"
    assert state.at == pytest.approx(time.time(), abs=30)
    assert 0 <= state.uptime_seconds < 600


def test_many_queues_come_in_one_call_and_in_their_own_order(office):
    names = [f"q{number}" for number in range(1000)]
    for name in names[::100]:
        office.redis.rpush(keys.queue(PREFIX, name), *([f"job-of-{name}"] * (1 + int(name[1:]) // 100)))
    queues = office.read(names).queues
    assert {name: queue.waiting for name, queue in queues.items() if queue.waiting} == {
        name: 1 + number for number, name in enumerate(names[::100])
    }
