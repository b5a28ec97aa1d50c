"""Overflow pools: they start when the other pool is at a limit and jobs wait, and go when it keeps up again."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.pure.engine_builders import FRESH, NOW, reading, replica, seen, spec

from pool_operator.engine.decide import decide
from pool_operator.engine.overflow import AT_LIMIT
from pool_operator.engine.types import Primary
from pool_operator.names import Limit, Reason
from pool_operator.runtime.scene import offer

POOL = spec(overflow_after_seconds=900.0, max_replicas=50)
SHORT = Primary(limited_by=Limit.MAXIMUM, slots=4, at=NOW)
FINE = Primary(limited_by=None, slots=4, at=NOW)
HELPING = replace(FRESH, overflow_since=NOW - 600)


def decided(primary, *fleet, waiting=6, theirs=4, oldest=900.0, memory=FRESH):
    own = sum(one.claims for one in fleet)
    what = reading(waiting, theirs + own, oldest_wait_seconds=oldest if waiting else None)
    return decide(POOL, seen(what, *fleet, primary=primary), memory, NOW)


def test_it_takes_what_exceeds_the_others_slots():
    found, memory = decided(SHORT)
    assert (found.replicas, found.reason, memory.overflow_since) == (6, Reason.WORK_WAITING, NOW)


def test_free_slots_of_the_other_are_left_to_it():
    assert decided(SHORT, theirs=1)[0].replicas == 3


@pytest.mark.parametrize("limit", sorted(AT_LIMIT))
def test_each_limit_of_the_other_counts(limit):
    assert decided(replace(SHORT, limited_by=limit))[0].replicas == 6


def test_while_the_other_is_at_no_limit_it_keeps_out():
    found, memory = decided(FINE)
    assert (found.replicas, found.limited_by, found.reason) == (0, Limit.OVERFLOW, Reason.PRIMARY_KEEPS_UP)
    assert "keeps up" in found.message
    assert memory.overflow_since is None
    assert dict(found.without)[Limit.OVERFLOW] > 0


def test_before_the_oldest_has_waited_long_enough_it_keeps_out_and_wakes_then():
    found, _ = decided(SHORT, oldest=880.0)
    assert (found.replicas, found.limited_by) == (0, Limit.OVERFLOW)
    assert found.wake_at <= NOW + 20


def test_once_it_helps_a_shorter_wait_does_not_end_it():
    found, memory = decided(SHORT, replica("a", 1), waiting=2, oldest=5.0, memory=HELPING)
    assert found.replicas == 3
    assert memory.overflow_since == NOW - 600


def test_when_the_other_keeps_up_it_finishes_what_it_runs_and_goes():
    fleet = replica("a", 1), replica("b", 0)
    found, memory = decided(FINE, *fleet, waiting=1, oldest=5.0, memory=HELPING)
    assert set(found.drain) == {"a", "b"}
    assert (found.replicas, found.limited_by, memory.overflow_since) == (1, Limit.RUNNING, None)


def test_when_nothing_waits_it_goes_and_comes_back_only_after_the_wait():
    found, memory = decided(SHORT, replica("a", 1), waiting=0, memory=HELPING)
    assert found.drain == ("a",)
    assert memory.overflow_since is None
    assert decided(SHORT, waiting=3, oldest=10.0, memory=memory)[0].replicas == 0


@pytest.mark.parametrize("primary", [None, replace(SHORT, at=NOW - 61)])
def test_of_a_pool_that_was_not_seen_lately_nothing_is_concluded(primary):
    found, memory = decided(primary, replica("a", 1), replica("b"), memory=HELPING)
    assert (found.replicas, found.drain, found.reason) == (2, (), Reason.HOLD_UNKNOWN)
    assert memory.overflow_since == NOW - 600
    assert decided(primary)[0].replicas == 0


def test_a_pool_that_helps_nobody_is_not_held():
    pool = replace(POOL, overflow_after_seconds=None)
    assert decide(pool, seen(reading(6, oldest_wait_seconds=1.0)), FRESH, NOW)[0].replicas == 6


def test_a_pool_whose_last_jobs_still_run_is_at_its_limit_all_the_same():
    """Its own decision names what runs, and whoever helps it out is told of the limit that lets no more start."""
    poor = spec(max_replicas=0)
    found, _ = decide(poor, here := seen(reading(6, 2), replica(claims=1), replica(claims=1)), FRESH, NOW)
    assert found.limited_by is Limit.RUNNING
    assert offer(found, here) == Primary(limited_by=Limit.MAXIMUM, slots=2, at=NOW)
    shrunk, _ = decide(spec(), here := seen(reading(0, 1), replica(claims=1, slots=2), replica()), FRESH, NOW)
    assert offer(shrunk, here).limited_by is None


def test_without_such_a_pool_it_holds_and_says_which_one_it_misses():
    missing = "spec.overflow.forPoolRef 'own': there is no such pool in namespace media: this pool holds"
    observed = replace(seen(reading(6, 4, oldest_wait_seconds=900.0)), primary_missing=missing)
    found, _ = decide(POOL, observed, FRESH, NOW)
    assert (found.replicas, found.reason) == (0, Reason.HOLD_UNKNOWN)
    assert found.message.endswith(missing)
