"""The limits of a pool's claims: rate, concurrency, money. They hold for all its replicas together."""

from __future__ import annotations

import uuid

import pytest
from redis.exceptions import ResponseError
from tests.redis.contract_harness import POOL, PREFIX, Office

from pool_contract import keys, scripts
from pool_contract.messages import PoolSettings
from pool_contract.scripts import Claimed, Refusal, StaleEpochError

MONEY = keys.limits(PREFIX, POOL)


@pytest.fixture
def office(server):
    office = Office(server)
    office.register("r1")
    office.register("r2")
    yield office
    office.redis.close()


def publish(office, **limits):
    settings = PoolSettings(namespace="media", name="speech", queues=("default",), **limits)
    office.run(scripts.publish_settings(PREFIX, pool=POOL, epoch=1, settings=settings))


def grant(office, granted, *, epoch=1, used=0.0, ttl_seconds=60.0):
    call = scripts.grant(PREFIX, pool=POOL, epoch=epoch, granted=granted, used=used, ttl_seconds=ttl_seconds)
    return office.run(call)


def claims(office, number, *replicas):
    """What so many claims, round and round over the replicas, are answered."""
    turns = replicas or ("r1", "r2")
    return [office.claim(turns[turn % len(turns)]) for turn in range(number)]


def given(answers):
    return [one for one in answers if isinstance(one, Claimed)]


def used(office):
    return office.read().pools[POOL].allowance_used


def snapshot(office):
    return {key: office.redis.dump(key) for key in office.redis.keys("*")}


# --- rate -------------------------------------------------------------------------------------------------------------


def move_starts(office, seconds):
    """Let the starts counted so far be older by so much."""
    name = keys.starts(PREFIX, POOL)
    times = [float(one) - seconds for one in office.redis.lrange(name, 0, -1)]
    office.redis.delete(name)
    office.redis.rpush(name, *times)


def test_no_minute_sees_more_starts_than_the_rate(office):
    publish(office, rate_per_minute=3)
    for _ in range(9):
        office.enqueue()
    assert len(given(claims(office, 3))) == 3
    refused = office.ask("r2")
    assert refused.refusal is Refusal.RATE
    assert 0 < refused.retry_seconds <= 60
    move_starts(office, 30)
    assert office.ask("r1").retry_seconds == pytest.approx(refused.retry_seconds - 30, abs=10)
    publish(office, rate_per_minute=4)
    assert isinstance(office.claim("r1"), Claimed)
    publish(office, rate_per_minute=3)
    move_starts(office, 31)
    assert len(given(claims(office, 9))) == 2, "the one in between still counts"


def test_a_raised_rate_counts_at_once_and_a_lowered_one_too(office):
    publish(office, rate_per_minute=2)
    for _ in range(9):
        office.enqueue()
    assert len(given(claims(office, 9))) == 2
    publish(office, rate_per_minute=5)
    assert len(given(claims(office, 9))) == 3
    publish(office, rate_per_minute=1)
    move_starts(office, 61)
    assert len(given(claims(office, 9))) == 1
    publish(office)
    assert len(given(claims(office, 9))) == 3


def test_a_clock_of_redis_that_was_set_back_stops_nobody(office):
    publish(office, rate_per_minute=1)
    office.enqueue()
    office.enqueue()
    assert isinstance(office.claim(), Claimed)
    move_starts(office, -3600)
    assert isinstance(office.claim(), Claimed)


def test_what_starts_are_counted_goes_by_itself(office):
    publish(office, rate_per_minute=2)
    office.enqueue()
    office.claim()
    assert 0 < office.redis.ttl(keys.starts(PREFIX, POOL)) <= 120


# --- concurrency --------------------------------------------------------------------------------------------------------


def test_replicas_share_the_number_of_jobs_at_once(office):
    publish(office, max_concurrent=3)
    for _ in range(9):
        office.enqueue()
    held = given(claims(office, 9))
    assert len(held) == 3
    assert office.claim("r1") is Refusal.CONCURRENCY
    office.finish(held[0], "r1")
    assert len(given(claims(office, 9, "r2"))) == 1
    publish(office, max_concurrent=2)
    office.finish(held[1], "r2")
    assert office.claim("r1") is Refusal.CONCURRENCY, "three were there, two are too many"


def test_a_replica_that_nobody_knows_of_counts_from_its_first_claim_on(office):
    publish(office, max_concurrent=1)
    office.redis.delete(keys.replicas(PREFIX, POOL))
    office.enqueue()
    office.enqueue()
    assert isinstance(office.claim("r1"), Claimed)
    assert office.claim("r2") is Refusal.CONCURRENCY


# --- money ----------------------------------------------------------------------------------------------------------------


def test_a_grant_for_seven_gives_seven_of_twenty(office):
    publish(office, commitment=0.1)
    grant(office, 0.7)
    for _ in range(20):
        office.enqueue()
    answers = claims(office, 20)
    assert len(given(answers)) == 7
    assert set(answers[7:]) == {Refusal.BUDGET}
    assert used(office) == pytest.approx(0.7)


def test_a_hard_budget_without_a_grant_gives_nothing(office):
    publish(office, commitment=2.0)
    office.enqueue()
    assert office.claim() is Refusal.BUDGET
    grant(office, 1.9)
    assert office.claim() is Refusal.BUDGET
    grant(office, 2.0, ttl_seconds=0.0)
    assert office.claim() is Refusal.BUDGET, "it has ended"
    grant(office, 2.0)
    assert isinstance(office.claim(), Claimed)


def test_what_was_used_never_falls(office):
    publish(office, commitment=1.5)
    grant(office, 3.0)
    office.enqueue()
    claim = office.claim()
    office.release(claim)
    assert used(office) == 1.5
    office.claim()
    grant(office, 1.0)
    publish(office)
    publish(office, commitment=0.5, rate_per_minute=7)
    assert used(office) == 3.0
    assert office.redis.hget(MONEY, "rate_per_minute") == b"7"
    publish(office, commitment=0.5)
    assert not office.redis.hexists(MONEY, "rate_per_minute")


def test_a_claim_between_reading_and_grant_is_paid_from_it(office):
    publish(office, commitment=1.0)
    grant(office, 5.0)
    for _ in range(9):
        office.enqueue()
    seen = used(office)
    office.claim()
    assert grant(office, seen + 2.0, used=seen)
    assert len(given(claims(office, 9))) == 1


def test_redis_that_forgets_between_reading_and_grant_gives_nothing_twice(office):
    publish(office, commitment=1.0)
    grant(office, 5.0)
    for _ in range(3):
        office.enqueue()
    claims(office, 3)
    seen = used(office)
    office.redis.flushall()
    publish(office, commitment=1.0)
    office.enqueue()
    assert not grant(office, seen + 1.0, used=seen)
    assert office.claim() is Refusal.BUDGET
    assert grant(office, used(office) + 1.0, used=used(office))
    assert isinstance(office.claim(), Claimed)


def test_a_lost_reply_is_asked_for_again_and_paid_once(office):
    publish(office, commitment=1.0, rate_per_minute=1, max_concurrent=1)
    grant(office, 1.0)
    office.enqueue()
    execution = uuid.uuid4().hex
    first = office.claim(execution=execution)
    assert office.claim(execution=execution) == first
    assert used(office) == 1.0


def test_where_redis_forgot_the_budget_the_replica_still_knows_it(office):
    office.redis.flushall()
    office.enqueue()
    call = scripts.claim(
        PREFIX, pool=POOL, replica="r1", incarnation="i", worker="w", queues=["default"], execution_id="e",
        commitment=1.0,
    )  # fmt: skip
    assert office.run(call).refusal is Refusal.BUDGET
    grant(office, 1.0)
    assert office.run(call).claimed
    assert used(office) == 1.0


def test_an_older_leader_grants_nothing(office):
    grant(office, 1.0, epoch=4)
    with pytest.raises(StaleEpochError):
        grant(office, 100.0, epoch=3)
    assert office.redis.hget(MONEY, "granted") == b"1"


@pytest.mark.parametrize("junk", ["nan", "much", "-5", ""])
def test_a_grant_that_is_no_amount_gives_nothing(office, junk):
    publish(office, commitment=1.0)
    grant(office, 9.0)
    office.redis.hset(MONEY, "granted", junk)
    office.enqueue()
    assert office.claim() is Refusal.BUDGET


# --- all of them ------------------------------------------------------------------------------------------------------------

NOTHING_LEFT = [
    ({"rate_per_minute": 1}, Refusal.RATE),
    ({"max_concurrent": 1}, Refusal.CONCURRENCY),
    ({"commitment": 1.0}, Refusal.BUDGET),
]


@pytest.mark.parametrize(("limits", "refusal"), NOTHING_LEFT)
def test_a_refused_claim_takes_nothing(office, limits, refusal):
    publish(office, **limits)
    grant(office, 1.0)
    office.enqueue()
    office.enqueue()
    assert isinstance(office.claim("r1"), Claimed)
    before = snapshot(office)
    assert office.claim("r2") is refusal
    assert snapshot(office) == before


@pytest.mark.parametrize(("limits", "refusal"), NOTHING_LEFT)
def test_a_job_that_must_run_alone_sets_nobody_aside_before_it_may(office, limits, refusal):
    office.enqueue()
    office.lose(office.claim("r1"))
    office.enqueue("other")
    publish(office, **limits)
    grant(office, 1.0)
    assert isinstance(office.claim("r1", ("other",)), Claimed)
    assert office.claim("r1") is refusal
    assert not office.redis.exists(keys.reserved(PREFIX, "r1"))


@pytest.mark.parametrize(("limits", "refusal"), NOTHING_LEFT)
def test_where_nothing_waits_nothing_is_limited(office, limits, refusal):
    publish(office, **limits)
    grant(office, 1.0)
    office.enqueue()
    office.claim()
    assert office.claim() is Refusal.EMPTY
    office.enqueue()
    assert office.claim() is refusal


@pytest.mark.parametrize(("limits", "refusal"), NOTHING_LEFT)
def test_a_job_that_is_only_to_be_ended_is_let_through_and_takes_nothing(office, limits, refusal):
    office.enqueue()
    office.lose(office.claim(), max_losses=0)
    office.lose(office.claim(), max_losses=0)
    publish(office, **limits)
    grant(office, 1.0)
    office.enqueue("other")
    office.claim("r2", ("other",))
    before = used(office)
    claim = office.claim("r1")
    assert claim.exhausted
    office.fail(claim)
    assert used(office) == before
    office.enqueue()
    assert office.claim("r1") is refusal


def test_a_pool_without_limits_has_no_key_of_them(office):
    publish(office)
    office.enqueue()
    office.claim()
    assert not office.redis.exists(MONEY, keys.starts(PREFIX, POOL))


def test_a_pool_that_goes_takes_its_limits_along(office):
    publish(office, rate_per_minute=1, commitment=1.0)
    grant(office, 5.0)
    office.enqueue()
    office.lose(office.claim())
    assert office.redis.exists(MONEY, keys.starts(PREFIX, POOL), keys.runs(PREFIX, POOL)) == 3
    office.run(scripts.publish_settings(PREFIX, pool=POOL, epoch=1, settings=None))
    assert not office.redis.exists(MONEY, keys.starts(PREFIX, POOL), keys.runs(PREFIX, POOL))


@pytest.mark.parametrize("name", [MONEY, keys.starts(PREFIX, POOL)])
def test_limits_of_the_wrong_type_are_said_and_harm_no_job(office, name):
    job = office.enqueue()
    office.redis.set(name, "text")
    with pytest.raises(ResponseError, match=f"WRONGTYPE {name} holds a string"):
        office.claim()
    assert office.ids() == [job]
