"""Ended runs as they are read, and what is read of those that go on."""

from __future__ import annotations

import json

import pytest
from tests.redis.contract_harness import POOL, PREFIX, Office

from pool_contract import keys
from pool_contract.messages import RunOutcome

RUNS = keys.runs(PREFIX, POOL)


@pytest.fixture
def office(server):
    office = Office(server)
    office.register("r1")
    office.register("r2")
    yield office
    office.redis.close()


def pool(office, **options):
    return office.read(**options).pools[POOL]


def add(office, **fields):
    record = {"job": "j", "queue": "default", "replica": "r1", "seconds": 1.0, "outcome": "Finished"} | fields
    return office.redis.xadd(RUNS, {"run": json.dumps(record)})


def hold_since(office, claim, seconds):
    at = float(office.redis.hget(keys.owner(PREFIX, claim.job_id), "claimed_at"))
    office.redis.hset(keys.owner(PREFIX, claim.job_id), "claimed_at", at - seconds)


# --- lost runs ----------------------------------------------------------------------------------------------------------


def test_a_lost_run_is_recorded_with_how_long_it_was_held(office):
    job = office.enqueue()
    office.redis.hset(keys.size_hint(PREFIX), job, 90)
    claim = office.claim("r1")
    hold_since(office, claim, 100)
    office.lose(claim)
    (run,) = pool(office).ended
    record = run.record
    assert (record.job, record.queue, record.replica, record.outcome, record.hint) == (
        job, "default", "r1", RunOutcome.LOST, 90.0,
    )  # fmt: skip
    assert record.seconds == pytest.approx(100, abs=20)
    office.reclaim()
    assert len(pool(office).ended) == 1
    assert 29 * 86400 < office.redis.ttl(RUNS) <= 30 * 86400


def test_a_replica_that_comes_again_has_lost_what_it_held(office):
    for _ in range(3):
        office.enqueue()
        office.claim("r1")
    office.register("r1", "anew")
    assert [one.record.outcome for one in pool(office).ended] == [RunOutcome.LOST] * 3
    office.register("r1", "anew")
    assert len(pool(office).ended) == 3


def test_an_excused_loss_and_a_release_are_no_runs(office):
    office.enqueue()
    office.lose(office.claim("r1"), excused=("r1",))
    office.release(office.claim("r2"))
    office.enqueue(job_id="gone")
    claim = office.claim("r1")
    office.job(claim.job_id).delete()
    office.expire(claim)
    assert office.reclaim() == ()
    assert not office.redis.exists(RUNS)


def test_a_stream_that_cannot_be_written_keeps_no_job(office):
    office.redis.set(RUNS, "text")
    job = office.enqueue()
    assert office.lose(office.claim()).job_id == job
    assert office.ids() == [job]
    assert pool(office).ended == ()


# --- reading ----------------------------------------------------------------------------------------------------------------


def test_each_reading_goes_on_behind_the_last_one(office):
    assert pool(office).cursor is None
    for number in range(5):
        add(office, job=f"j{number}")
    first = pool(office, runs_after={}, runs_at_most=3)
    assert [one.record.job for one in first.ended] == ["j2", "j3", "j4"], "the last ones, oldest first"
    assert first.cursor == first.ended[-1].id
    assert pool(office, runs_after={POOL: first.cursor}).ended == ()
    rest = pool(office, runs_after={POOL: (0, 0)}, runs_at_most=3)
    assert [one.record.job for one in rest.ended] == ["j0", "j1", "j2"]
    rest = pool(office, runs_after={POOL: rest.cursor}, runs_at_most=3)
    assert [one.record.job for one in rest.ended] == ["j3", "j4"]


def test_two_pools_have_a_cursor_each(office):
    add(office)
    office.redis.xadd(keys.runs(PREFIX, "other"), {"run": "{}"})
    state = office.read(pools=("other", POOL), runs_after={"other": (0, 0)})
    assert [len(state.pools[uid].ended) for uid in ("other", POOL)] == [0, 1]
    assert [state.pools[uid].unreadable for uid in ("other", POOL)] == [1, 0]


JUNK = [
    {"run": "no json"},
    {"run": "[]"},
    {"run": b"\xff\xfe"},
    {"other": "field"},
    {"run": '{"job": "j", "queue": "q", "replica": "r", "seconds": NaN, "outcome": "Finished"}'},
    {"run": '{"job": "j", "queue": "q", "replica": "r", "seconds": -1, "outcome": "Finished"}'},
    {"run": '{"job": "j", "queue": "q", "replica": "r", "seconds": 1, "outcome": "Vanished"}'},
    {"run": json.dumps({"job": "j" * 9000, "queue": "q", "replica": "r", "seconds": 1, "outcome": "Finished"})},
]


@pytest.mark.parametrize("junk", JUNK, ids=range(len(JUNK)))
def test_an_entry_that_is_no_run_s_is_counted_and_passed(office, junk):
    add(office, job="before")
    office.redis.xadd(RUNS, junk)
    add(office, job="behind")
    last = office.redis.xadd(RUNS, junk).decode()
    seen = pool(office)
    assert [one.record.job for one in seen.ended] == ["before", "behind"]
    assert seen.unreadable == 2
    assert seen.cursor == tuple(map(int, last.split("-"))), "it is not read again and again"


def test_a_record_of_another_version_is_read_as_far_as_it_goes(office):
    add(office, seconds=2, version=7, mood="fine")
    (run,) = pool(office).ended
    assert (run.record.seconds, run.record.hint, run.record.peak, run.record.slots) == (2.0, 0.0, 0, 1)


def test_a_claim_tells_its_start_and_its_hint(office):
    job = office.enqueue()
    office.redis.hset(keys.size_hint(PREFIX), job, "61.5")
    claim = office.claim("r1", execution="e1")
    assert claim.hint_seconds == 61.5
    at = float(office.redis.hget(keys.owner(PREFIX, job), "claimed_at"))
    assert claim.claimed_at == pytest.approx(at, abs=0.001)
    assert office.claim("r1", execution="e1") == claim, "also when it is asked for again"
    office.enqueue()
    assert office.claim("r1").hint_seconds == 0.0


def test_many_pools_with_many_runs_are_read_a_part_at_a_time(office):
    pools = [f"p{number}" for number in range(5)]
    for uid in pools:
        for number in range(4):
            record = {"job": f"j{number}", "queue": "q", "replica": "r", "seconds": 1, "outcome": "Finished"}
            office.redis.xadd(keys.runs(PREFIX, uid), {"run": json.dumps(record)})
    known, told, calls, more = {}, {uid: [] for uid in pools}, 0, True
    while more:
        state = office.read(pools=pools, runs_after=known, runs_at_most=4)
        assert sum(len(one.ended) for one in state.pools.values()) <= 8
        for uid, one in state.pools.items():
            told[uid] += [run.record.job for run in one.ended]
            known |= {uid: one.cursor} if one.cursor else {}
        more, calls = any(one.more for one in state.pools.values()), calls + 1
        assert calls < 20
    assert told == {uid: ["j0", "j1", "j2", "j3"] for uid in pools}


def test_hints_are_counted_and_coming_jobs_told_soonest_first(office):
    jobs = [office.enqueue() for _ in range(3)]
    office.redis.hset(keys.size_hint(PREFIX), mapping={jobs[0]: 60, jobs[2]: "long", "other": 7})
    scheduled = [office.schedule(seconds) for seconds in (300, 100, 200)]
    office.schedule(-5)
    office.redis.zadd(keys.scheduled(PREFIX, "default"), {"never": "inf"})
    queue = office.read().queues["default"]
    assert (queue.hinted, queue.hinted_seconds) == (1, 60.0)
    due = [office.redis.zscore(keys.scheduled(PREFIX, "default"), scheduled[index]) for index in (1, 2, 0)]
    assert list(queue.upcoming) == due
    assert queue.next_due_at == due[0]
    for number in range(80):
        office.schedule(1000 + number)
    assert len(office.read().queues["default"].upcoming) == 64
