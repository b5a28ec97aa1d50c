"""When replicas may be lowered: the marks are seen, both count the same pods, and the controller would pick them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.pure.kubernetes_builders import NOW, facts, pod, replica_set, target

from pool_operator.backends.kubernetes.lowering import (
    SETTLE_SECONDS,
    plan_lowering,
    wanted_costs,
)
from pool_operator.backends.kubernetes.objects import DRAINED_COST, IDLE_COST
from pool_operator.backends.kubernetes.ranking import deletion_order


def plan(these, wish, *, seen_for=10.0):
    seen = {one.id.uid: 100.0 - seen_for for one in these.pods}
    return plan_lowering(these, wish, cost_seen_at=seen, monotonic=100.0, now=NOW)


def test_drained_replicas_go_once_their_cost_is_known():
    these = facts(pod("a", cost=DRAINED_COST), pod("b"), pod("c"))
    assert plan(these, target(2, drained=["a"])).replicas == 2


def test_nothing_goes_that_is_not_drained():
    these = facts(pod("a"), pod("b"), pod("c"))
    assert plan(these, target(0)).replicas is None


def test_it_waits_until_the_watch_shows_the_cost_and_then_a_second_more():
    unseen = facts(pod("a"), pod("b"))
    assert plan(unseen, target(1, drained=["a"])).replicas is None
    seen = facts(pod("a", cost=DRAINED_COST), pod("b"))
    early = plan(seen, target(1, drained=["a"]), seen_for=SETTLE_SECONDS - 0.25)
    assert early.replicas is None
    assert early.wait_seconds == pytest.approx(0.25)


def test_it_waits_while_the_replica_set_counts_other_pods_than_we_see():
    these = facts(pod("a", cost=DRAINED_COST), pod("b"), wanted=3, sets=(replica_set(wanted=3, present=3),))
    assert plan(these, target(1, drained=["a"])).replicas is None


def test_a_pod_that_the_controller_would_take_first_holds_everything_back():
    starting = pod("new", phase="Pending", ready=False, node="")
    these = facts(pod("a", cost=DRAINED_COST), pod("b"), starting)
    held = plan(these, target(2, drained=["a"]))
    assert held.replicas is None
    assert "name-new" in held.why
    marked = facts(
        pod("a", cost=DRAINED_COST), pod("b"), pod("new", phase="Pending", ready=False, node="", cost=DRAINED_COST)
    )
    assert plan(marked, target(1, drained=["a", "new"])).replicas == 1


def test_a_rollout_only_raises_unless_everything_is_empty():
    sets = (replica_set("set-1", wanted=2), replica_set("set-2", wanted=1, revision="2"))
    these = facts(pod("a", cost=DRAINED_COST), pod("b"), pod("c", owner="set-2"), sets=sets, revision="2")
    assert plan(these, target(1, drained=["a"])).replicas is None
    assert plan(these, target(1, drained=["a", "b", "c"])).replicas == 0


def test_an_unseen_change_of_the_deployment_holds_back():
    these = facts(pod("a", cost=DRAINED_COST), pod("b"), generation=2, observed=1)
    assert plan(these, target(1, drained=["a"])).replicas is None


def test_replicas_that_never_came_are_not_asked_for_any_longer():
    these = facts(pod("a"), wanted=5, sets=(replica_set(wanted=5, present=1),))
    assert plan(these, target(1)).replicas == 1


def test_terminating_pods_are_not_counted():
    going = pod("gone", deletionTimestamp="2027-01-15T08:00:00Z")
    these = facts(pod("a", cost=DRAINED_COST), pod("b"), going, wanted=2, sets=(replica_set(wanted=2, present=2),))
    assert plan(these, target(1, drained=["a"])).replicas == 1


def test_costs_mark_the_drained_and_only_in_a_rollout_the_idle():
    calm = facts(pod("a"), pod("b"), pod("c", cost=DRAINED_COST))
    assert wanted_costs(calm, target(2, drained=["a"], idle=["b"])) == {"a": DRAINED_COST, "c": None}
    sets = (replica_set("set-1", wanted=2), replica_set("set-2", wanted=1, revision="2"))
    rolling = facts(pod("a"), pod("b"), pod("c", cost=IDLE_COST), sets=sets)
    assert wanted_costs(rolling, target(3, idle=["b"])) == {"b": IDLE_COST, "c": None}


def test_a_cost_that_is_not_ours_stays():
    assert wanted_costs(facts(pod("a", cost=7)), target(1)) == {}


ANY_POD = st.builds(
    dict,
    node=st.sampled_from(["", "n1", "n2"]),
    phase=st.sampled_from(["Pending", "Running"]),
    ready=st.booleans(),
    cost=st.sampled_from([None, DRAINED_COST, IDLE_COST, 5]),
    age=st.floats(1, 5000),
)


@given(pods=st.lists(ANY_POD, max_size=8), drained=st.sets(st.integers(0, 7)), wish=st.integers(0, 8))
def test_whatever_the_pods_a_written_number_removes_only_drained_ones(pods, drained, wish):
    these = facts(*(pod(f"p{number}", **shape) for number, shape in enumerate(pods)))
    proved = {f"p{number}" for number in drained}
    lowering = plan(these, target(wish, drained=proved))
    if lowering.replicas is None:
        return
    assert lowering.replicas >= wish
    order = deletion_order(these.active, related=these.active, now=NOW)
    picked = order[: max(0, len(order) - lowering.replicas)]
    assert {one.id.uid for one in picked} <= proved


def test_the_controllers_order_unassigned_pending_unready_cost_doubled_young():
    pods = [
        pod("old", node="n3", age=5000),
        pod("young", node="n4", age=20),
        pod("doubled-1", node="n1", age=5000),
        pod("doubled-2", node="n1", age=5000),
        pod("cheap", node="n5", cost=-5),
        pod("unready", node="n6", ready=False),
        pod("pending", node="n7", phase="Pending", ready=False),
        pod("unassigned", node="", phase="Pending", ready=False),
    ]
    order = [one.id.uid for one in deletion_order(pods, related=pods, now=NOW)]
    assert order == ["unassigned", "pending", "unready", "cheap", "doubled-1", "doubled-2", "young", "old"]
