"""What the cluster gives: how long to wait for it, what to ask for when it is short, and when to ask again."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.pure.engine_builders import FRESH, NOW, reading, replica, seen, spec, starting

from pool_operator.engine.decide import decide
from pool_operator.engine.histogram import add
from pool_operator.engine.starts import SECONDS
from pool_operator.engine.state import ColdStarts, Histogram, Memory
from pool_operator.engine.types import Blocked, ReplicaPhase
from pool_operator.names import Limit, Reason

WORDS = "0/3 nodes have a free GPU"


class Cluster:
    """A tiny one: `places` replicas have room, each is ready 60 s after it got its place. Asks `decide` as we do.

    More work waits than all replicas that are allowed could take, unless `jobs` says otherwise. `fault`: what befalls a start without success: no room (Pending), a start that fails, a refusal to create, silence.
    """

    def __init__(self, places, *, most=12, jobs=1000, fault="unschedulable"):
        self.places, self.jobs, self.fault = places, jobs, fault
        self.pool = spec(max_replicas=most)
        self.memory, self.now, self.replicas, self.wanted = FRESH, NOW, [], 0
        self.created = 0
        self.asked = []  # (second, replicas asked for), on change
        self.decision = None

    def run(self, seconds):
        """Until then, deciding after each change, when asked to be woken, and at least every minute."""
        end = self.now + seconds
        while self.now < end:
            before = self.replicas
            self._step()
            quiet = self.now + (1.0 if self.replicas != before else 60.0)
            self.now = min(end, max(self.now + 1.0, min(self.decision.wake_at or end, quiet)))
        return self

    def _step(self):
        ready = [one for one in self.replicas if one.phase is ReplicaPhase.READY]
        self._start(ready)
        refused = self.fault == "refused" and self.wanted > len(self.replicas)
        short = refused or any(one.blocked for one in self.replicas)
        observed = seen(
            reading(self.jobs, at=self.now),
            *self.replicas,
            wanted=self.wanted,
            capacity_short=WORDS if short else "",
            refused=refused,
        )
        self.decision, self.memory = decide(self.pool, observed, self.memory, self.now)
        if self.decision.replicas != (self.asked[-1][1] if self.asked else 0):
            self.asked.append((self.now - NOW, self.decision.replicas))
        self._apply(self.decision)

    def _start(self, ready):
        free = self.places - len(ready)
        moved = []
        for one in self.replicas:
            if one.phase is ReplicaPhase.STARTING and free > 0:
                free -= 1
                if self.now - one.created_at >= 60.0:
                    one = replace(one, phase=ReplicaPhase.READY, ready_at=self.now, blocked=None)
                else:
                    one = replace(one, blocked=None)
            elif one.phase is ReplicaPhase.STARTING:
                kinds = {"unschedulable": Blocked.UNSCHEDULABLE, "failing": Blocked.FAILING}
                one = replace(one, blocked=kinds.get(self.fault))
            moved.append(one)
        self.replicas = moved

    def _apply(self, decision):
        self.replicas = [one for one in self.replicas if one.id not in decision.drain]
        self.wanted = decision.replicas
        while len(self.replicas) < self.wanted:
            if self.fault == "refused" and len(self.replicas) >= self.places:
                break
            self.created += 1
            self.replicas.append(starting(f"r{self.created}", created_at=self.now, removal_rank=-self.created))

    @property
    def ready(self):
        return sum(one.phase is ReplicaPhase.READY for one in self.replicas)


# --- no room ------------------------------------------------------------------------------------------------------


def test_for_ten_minutes_all_that_is_wanted_is_asked_for_so_that_an_autoscaler_can_act():
    cluster = Cluster(4).run(590)
    assert cluster.asked == [(0, 12)]
    assert (cluster.decision.reason, cluster.decision.limited_by) == (Reason.CAPACITY_SHORT, Limit.CAPACITY)
    assert cluster.decision.message == f"12 replicas wanted, 4 can be had: {WORDS}"


def test_then_what_is_there_and_one_more_that_stays_pending():
    cluster = Cluster(4).run(7200)
    assert cluster.asked == [(0, 12), (600, 5)]
    assert cluster.decision.message == f"12 replicas wanted, 4 can be had: {WORDS}; 1 more asked for"
    assert [one.blocked for one in cluster.replicas].count(Blocked.UNSCHEDULABLE) == 1


def test_a_slow_cold_start_is_waited_for_longer():
    cluster = Cluster(0)
    slow = add(Histogram(), SECONDS.index(599.0), decay=1.0)
    cluster.memory = Memory(cold_starts=ColdStarts(seconds=slow, samples=1))
    assert cluster.run(1700).asked == [(0, 12)]
    assert [number for _, number in cluster.run(300).asked] == [12, 1]


def test_when_there_is_room_again_the_probe_starts_and_the_room_doubles():
    cluster = Cluster(4, most=40).run(1000)
    cluster.places = 50
    cluster.run(600)
    numbers = [number for _, number in cluster.asked]
    assert numbers == [40, 5, 7, 11, 19, 35, 40]
    assert cluster.ready == 40


def test_a_tenth_is_asked_for_where_there_are_many():
    cluster = Cluster(40, most=90).run(1000)
    assert cluster.asked[-1][1] == 44


def test_a_shortage_is_forgotten_when_nobody_wants_more_than_there_is():
    cluster = Cluster(4).run(1000)
    cluster.jobs = 0
    cluster.run(700)
    assert cluster.memory.capacity.ceiling is None
    cluster.jobs = 1000
    cluster.run(10)
    assert cluster.decision.replicas == 12


def test_it_is_remembered_while_the_work_only_pauses():
    cluster = Cluster(4).run(1000)
    cluster.jobs = 0
    cluster.run(120)
    cluster.jobs = 1000
    cluster.run(10)
    assert cluster.decision.replicas == 5


# --- starts that fail, and refusals ---------------------------------------------------------------------------------


@pytest.mark.parametrize(("fault", "grace"), [("failing", 120), ("refused", 0)])
def test_what_fails_or_is_refused_is_given_back_and_tried_after_one_two_four_minutes_up_to_thirty(fault, grace):
    cluster = Cluster(4, fault=fault).run(5 * 3600)
    raises = [at for at, number in cluster.asked[1:] if number == 5]
    lows = [at for at, number in cluster.asked[1:] if number == 4]
    assert {number for _, number in cluster.asked} == {12, 4, 5}
    waits = [round((up - down) / 60) for down, up in zip(lows, raises, strict=False)]
    assert waits[:7] == [1, 2, 4, 8, 16, 30, 30]
    assert grace <= lows[0] <= grace + 2


def test_the_sentence_names_the_next_try_and_keeps_the_clusters_words_while_nothing_is_asked_for():
    cluster = Cluster(4, fault="failing").run(170)
    assert cluster.decision.replicas == 4
    assert not any(one.blocked for one in cluster.replicas)
    assert cluster.decision.message.startswith(f"12 replicas wanted, 4 can be had: {WORDS}; next try at ")
    assert cluster.decision.message.endswith(" UTC")
    assert cluster.decision.wake_at == cluster.memory.capacity.probe_at


def test_a_start_that_fails_for_a_minute_is_let_alone():
    cluster = Cluster(0, most=3, fault="failing").run(90)
    cluster.places = 3
    assert cluster.run(120).asked == [(0, 3)]
    assert cluster.ready == 3


def test_a_quota_that_is_raised_is_found():
    cluster = Cluster(4, fault="refused").run(1800)
    cluster.places = 20
    cluster.run(3600)
    assert cluster.ready == 12


# --- bad places -----------------------------------------------------------------------------------------------------


class BadNode(Cluster):
    """The first `bad` replicas never start and the cluster says nothing; those that come later do."""

    def __init__(self, bad, **more):
        super().__init__(50, fault="silent", **more)
        self.bad = bad

    def _start(self, ready):
        self.replicas = [
            replace(one, phase=ReplicaPhase.READY, ready_at=self.now)
            if int(one.id[1:]) > self.bad and one.phase is ReplicaPhase.STARTING and self.now - one.created_at >= 60
            else one
            for one in self.replicas
        ]


def test_one_that_does_not_start_while_others_do_is_replaced():
    cluster = BadNode(1, most=5).run(590)
    assert (cluster.asked, cluster.ready) == ([(0, 5)], 4)
    cluster.run(120)
    assert cluster.asked == [(0, 5), (600, 4), (601, 5)]
    assert cluster.ready == 5


def test_at_most_a_tenth_at_once():
    cluster = BadNode(20, most=40).run(4000)
    fewest = min(number for _, number in cluster.asked)
    assert fewest == 36
    assert cluster.ready == 40


def test_a_lone_start_that_is_only_slow_comes_through_in_the_end():
    class Slow(BadNode):
        def _start(self, ready):
            self.replicas = [
                replace(one, phase=ReplicaPhase.READY, ready_at=self.now)
                if one.phase is ReplicaPhase.STARTING and self.now - one.created_at >= 3000
                else one
                for one in self.replicas
            ]

    assert Slow(0, most=1).run(3 * 3600).ready == 1


def test_an_old_replica_that_crashed_is_given_the_time_of_a_start():
    crashed = starting("crashed", created_at=NOW - 86_400, restarted_at=NOW - 60)
    found, _ = decide(spec(max_replicas=2), seen(reading(50, 1), replica("a", 1), crashed), FRESH, NOW)
    assert (found.replicas, found.drain, found.inputs["stuck"]) == (2, (), 0)


def test_a_starting_replica_that_holds_a_job_is_never_replaced():
    odd = starting("odd", claims=1, created_at=NOW - 86_400)
    found, _ = decide(spec(max_replicas=2), seen(reading(50, 2), replica("a", 1), odd), FRESH, NOW)
    assert (found.replicas, found.drain) == (2, ())


def test_no_replica_is_replaced_out_of_the_order_in_which_the_backend_removes():
    """It would remove the young one, which is on its way."""
    old, young = (
        starting("old", created_at=NOW - 700, removal_rank=1),
        starting("young", created_at=NOW, removal_rank=0),
    )
    found, _ = decide(spec(), seen(reading(1, 2), replica("a", 1, ready_at=NOW - 10), old, young), FRESH, NOW)
    assert (found.replicas, found.drain) == (3, ())


# --- whatever happens -----------------------------------------------------------------------------------------------

changes = st.lists(
    st.tuples(
        st.integers(0, 8),  # places
        st.integers(0, 30),  # jobs
        st.sampled_from(["unschedulable", "failing", "refused", "silent"]),
        st.integers(1, 3000),  # seconds
    ),
    min_size=1,
    max_size=5,
)


@given(changes)
@settings(max_examples=25, deadline=None)
def test_never_more_than_wished_and_never_stuck_for_ever(steps):
    cluster = Cluster(0)
    for places, jobs, fault, seconds in steps:
        cluster.places, cluster.jobs, cluster.fault = places, jobs, fault
        cluster.run(seconds)
        assert cluster.decision.replicas <= max(cluster.decision.wish, cluster.ready)
        assert cluster.decision.replicas or not jobs or cluster.decision.wake_at is not None
    cluster.places, cluster.jobs = 12, 1000
    cluster.run(3 * 3600)
    assert cluster.ready == 12
