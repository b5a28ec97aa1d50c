"""Hits: a replica at work went by a lowering of ours. Other people's removals are none."""

from __future__ import annotations

from pool_operator.engine.types import Replica, ReplicaPhase
from pool_operator.runtime.hits import HitWatch


def replica(name, claims=0, *, ending=False):
    phase = ReplicaPhase.TERMINATING if ending else ReplicaPhase.READY
    return Replica(id=name, phase=phase, created_at=0.0, claims=claims)


class Pool:
    """Two replicas at work, two drained; each call is what one pass saw."""

    def __init__(self):
        self.watch = HitWatch()
        self.hits = 0
        self.sees(replica("busy-1", 1), replica("busy-2", 2), replica("idle-1"), replica("idle-2"), wanted=4)

    def sees(self, *replicas, wanted, unmarked=(), excused=()):
        self.hits += self.watch.look(replicas, wanted, unmarked=unmarked, excused=excused)
        return self

    def lowers(self, to=2):
        self.watch.lowered(to, {"idle-1", "idle-2"})
        return self


BUSY = (replica("busy-1", 1), replica("busy-2", 2))


def test_the_drained_ones_go_and_nothing_is_hit():
    pool = Pool().lowers()
    pool.sees(*BUSY, replica("idle-1", ending=True), replica("idle-2"), wanted=2)
    assert pool.sees(*BUSY, wanted=2).hits == 0


def test_a_replica_at_work_that_goes_in_the_place_of_a_drained_one_is_a_hit():
    pool = Pool().lowers()
    pool.sees(replica("busy-1", 1, ending=True), BUSY[1], replica("idle-1"), replica("idle-2"), wanted=2)
    assert pool.hits == 0, "not yet certain: three are left, two were asked for"
    pool.sees(replica("busy-1", 1, ending=True), BUSY[1], replica("idle-2"), wanted=2)
    assert pool.hits == 1
    assert pool.sees(BUSY[1], replica("idle-2"), wanted=2).hits == 1, "once"


def test_one_that_is_gone_before_anybody_saw_it_end_is_a_hit_too():
    assert Pool().lowers().sees(BUSY[1], replica("idle-2"), wanted=2).hits == 1


def test_claims_that_nobody_knows_count():
    pool = Pool()
    pool.sees(replica("busy-1", None), BUSY[1], replica("idle-1"), replica("idle-2"), wanted=4)
    assert pool.lowers().sees(BUSY[1], replica("idle-2"), wanted=2).hits == 1


def test_a_removal_by_somebody_else_is_none_the_drained_ones_go_all_the_same():
    pool = Pool().lowers()
    pool.sees(replica("busy-1", 1, ending=True), BUSY[1], replica("idle-1"), replica("idle-2"), wanted=2)
    assert pool.sees(BUSY[1], replica("new"), wanted=2).hits == 0


def test_an_eviction_is_none():
    assert Pool().lowers().sees(BUSY[1], replica("idle-2"), wanted=2, excused={"busy-1"}).hits == 0


def test_without_a_lowering_nothing_is_a_hit():
    assert Pool().sees(BUSY[1], replica("idle-1"), replica("idle-2"), wanted=4).hits == 0


def test_an_idle_replica_in_the_place_of_another_is_none():
    pool = Pool()
    pool.watch.lowered(3, {"idle-1"})
    assert pool.sees(*BUSY, replica("idle-1"), wanted=3).hits == 0


def test_one_that_got_a_job_after_its_mark_was_taken_away_is_a_hit():
    pool = Pool().lowers()
    pool.sees(*BUSY, replica("idle-1", 1), replica("idle-2"), wanted=2, unmarked={"idle-1"})
    assert pool.sees(*BUSY, wanted=2).hits == 1


def test_an_old_reading_of_a_drained_one_is_no_hit():
    """Its last claim ended between the reading and the mark."""
    pool = Pool()
    pool.sees(*BUSY, replica("idle-1", 1), replica("idle-2"), wanted=4)
    assert pool.lowers().sees(*BUSY, wanted=2).hits == 0


def test_a_lowering_that_was_taken_back_leaves_nothing_behind():
    pool = Pool().lowers().sees(*BUSY, replica("idle-1"), replica("idle-2"), wanted=4)
    assert pool.sees(BUSY[1], replica("idle-1"), replica("idle-2"), replica("new"), wanted=4).hits == 0
