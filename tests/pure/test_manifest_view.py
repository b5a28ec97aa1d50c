"""From cached facts to what the reconciler sees, and the cache that keeps the facts right."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.pure.kubernetes_builders import NOW, deployment, facts, pod, raw_pod, replica_set, target

from pool_operator.backends.kubernetes import objects
from pool_operator.backends.kubernetes.cache import REMEMBER_SECONDS, ClusterCache
from pool_operator.backends.kubernetes.lowering import wanted_costs
from pool_operator.backends.kubernetes.objects import DRAINED_COST
from pool_operator.backends.kubernetes.view import Facts, build_view, capacity_problem
from pool_operator.engine.types import Blocked, ReplicaPhase
from pool_operator.names import ConditionReason


def view(these):
    return build_view(these, synced=True, now=NOW)


def cache():
    clock = [100.0]
    woken = []
    return ClusterCache(wake=woken.append, monotonic=lambda: clock[0]), clock, woken


def unschedulable(message):
    return {"conditions": [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message}]}


def waiting(reason, message="", **more):
    return {
        "containerStatuses": [{"name": "worker", "state": {"waiting": {"reason": reason, "message": message}}, **more}]
    }


def test_a_pool_without_deployment_is_an_empty_view():
    seen = view(Facts())
    assert (seen.exists, seen.wanted, seen.replicas) == (False, 0, ())


def test_phases_deadlines_and_ids_come_from_the_pods():
    going = pod("c", deletionTimestamp="2027-01-15T08:00:00Z")
    seen = view(facts(pod("a"), pod("b", ready=False), going, pod("d", phase="Failed")))
    assert {one.id: one.phase for one in seen.replicas} == {
        "a": ReplicaPhase.READY,
        "b": ReplicaPhase.STARTING,
        "c": ReplicaPhase.TERMINATING,
    }
    assert seen.deadlines == {"c": 1_800_000_000.0}


def test_pods_of_an_older_template_are_outdated_and_block_lowering():
    sets = (replica_set("set-1", wanted=1, revision="1"), replica_set("set-2", wanted=1, revision="2"))
    these = Facts(deployment=deployment(wanted=2, revision="2"), sets=sets, pods=(pod("a"), pod("b", owner="set-2")))
    assert {one.id: one.outdated for one in view(these).replicas} == {"a": True, "b": False}
    assert "rollout" in view(these).lowering_blocked


def test_the_clusters_own_words_say_why_replicas_do_not_come():
    lost = "0/1 nodes are available: 1 Insufficient nvidia.com/gpu."
    problem = capacity_problem(
        facts(pod("a"), pod("b", node="", phase="Pending", ready=False, status=unschedulable(lost)))
    )
    assert problem.reason is ConditionReason.UNSCHEDULABLE
    assert problem.message == f"1 replica cannot be scheduled: {lost}"


def test_a_failing_start_is_told_without_numbers_that_change_by_themselves():
    crash = waiting(
        "CrashLoopBackOff",
        "back-off 20s restarting failed container",
        lastState={"terminated": {"reason": "Error", "exitCode": 3}},
    )
    these = facts(pod("a", ready=False, status=crash), pod("b", ready=False, status=crash))
    assert capacity_problem(these).message == (
        "2 replicas cannot start: container worker: CrashLoopBackOff: its last run ended with Error, exit status 3"
    )
    assert all(one.blocked is Blocked.FAILING for one in view(these).replicas)


def test_a_quota_is_told_with_the_same_text_at_each_retry():
    def failing(name):
        message = f'pods "speech-6d4cf5-{name}" is forbidden: exceeded quota: gpus'
        condition = {"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": message}
        return capacity_problem(
            facts(pod("a"), wanted=3, sets=(replica_set(wanted=3, present=1, conditions=[condition]),))
        )

    assert failing("abcde") == failing("fghij")
    assert "exceeded quota: gpus" in failing("abcde").message
    assert failing("abcde").reason is ConditionReason.FAILED_CREATE


def test_ends_that_are_not_the_jobs_fault_are_remembered_after_the_pod_is_gone():
    kept, clock, _ = cache()
    evicted = raw_pod("evicted", phase="Failed", ready=False, version=2, status={"reason": "Evicted"})
    oom = raw_pod(
        "oom",
        phase="Failed",
        ready=False,
        deletionTimestamp="2027-01-15T08:00:00Z",
        status={"containerStatuses": [{"name": "worker", "state": {"terminated": {"reason": "OOMKilled"}}}]},
    )
    silent = raw_pod("silent", ready=False, status={"containerStatuses": [{"name": "worker", "ready": True}]})
    for raw in (evicted, oom, silent):
        kept.put_pod(objects.pod(raw))
    kept.drop_pod("evicted")
    kept.drop_pod("oom")
    assert kept.facts("pool-1", "speech").excused == {"evicted": "Evicted", "silent": "NodeLost"}
    clock[0] += REMEMBER_SECONDS + 1
    kept.forget_old()
    assert kept.facts("pool-1", "speech").excused == {"silent": "NodeLost"}


def ended(reason, code, at, *, field="lastState", container="worker"):
    terminated = {"reason": reason, "exitCode": code, "finishedAt": at}
    return {"containerStatuses": [{"name": container, field: {"terminated": terminated}}]}


EARLY, LATE = "2027-01-15T08:00:00Z", "2027-01-15T09:00:00Z"


@pytest.mark.parametrize(
    ("status", "more", "at"),
    [
        (ended("OOMKilled", 137, EARLY), {}, NOW),
        (ended("OOMKilled", 137, EARLY, field="state"), {"deletionTimestamp": LATE}, NOW),
        (ended("Error", 137, EARLY), {}, NOW),  # the whole node was short
        (ended("Error", 137, EARLY, field="state"), {"deletionTimestamp": LATE}, None),  # beyond its grace
        (ended("Error", 1, EARLY), {}, None),
        (ended("OOMKilled", 137, EARLY, container="sidecar"), {}, None),
        ({"reason": "Evicted", **ended("Error", 137, EARLY, field="state")}, {"phase": "Failed"}, None),
    ],
)
def test_who_was_killed_for_memory(status, more, at):
    assert pod("a", status=status, **more).out_of_memory_at == at


def test_the_last_kill_for_memory_is_remembered_after_the_pod_is_gone():
    kept, _, _ = cache()
    kept.put_pod(pod("late", status=ended("OOMKilled", 137, LATE)))
    kept.put_pod(pod("early", status=ended("OOMKilled", 137, EARLY)))
    kept.drop_pod("late")
    assert view(kept.facts("pool-1", "speech")).out_of_memory_at == NOW + 3600
    kept.retire("pool-1")
    assert view(kept.facts("pool-1", "speech")).out_of_memory_at is None


def test_a_quota_refuses_and_a_set_that_got_all_it_asked_for_does_not():
    condition = {"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": "exceeded quota"}
    assert view(facts(pod("a"), sets=(replica_set(wanted=3, present=1, conditions=[condition]),))).refused
    assert not view(facts(pod("a"), sets=(replica_set(wanted=1, present=1, conditions=[condition]),))).refused
    assert not view(facts(pod("a"), sets=(replica_set(wanted=3, present=1),))).refused


def test_no_room_and_a_failing_start_are_told_apart():
    seen = view(
        facts(pod("a", node="", status=unschedulable("no")), pod("b", status=waiting("ErrImagePull")), pod("c"))
    )
    assert {one.id: one.blocked for one in seen.replicas} == {
        "a": Blocked.UNSCHEDULABLE,
        "b": Blocked.FAILING,
        "c": None,
    }


def test_a_container_that_was_started_again_begins_anew():
    crashed = ended("OOMKilled", 137, EARLY)["containerStatuses"][0] | {"restartCount": 1}
    waits = {"containerStatuses": [crashed]}
    runs = {"containerStatuses": [crashed | {"state": {"running": {"startedAt": LATE}}}]}
    first = {"containerStatuses": [{"name": "worker", "restartCount": 0, "state": {"running": {"startedAt": LATE}}}]}
    found = [view(facts(pod("a", ready=False, status=one))).replicas[0].restarted_at for one in (waits, runs, first)]
    assert found == [NOW, NOW + 3600, None]


def test_an_older_fact_never_replaces_a_newer_one_nor_brings_a_deleted_one_back():
    kept, _, woken = cache()
    kept.put_pod(pod("a", version=5, ready=True))
    kept.put_pod(pod("a", version=4, ready=False))
    assert kept.pods.of("pool-1")[0].ready
    kept.drop_pod("a")
    kept.put_pod(pod("a", version=5))
    assert kept.pods.of("pool-1") == ()
    assert len(woken) == 2


def test_the_age_of_a_cost_counts_from_the_moment_the_watch_showed_it():
    kept, clock, _ = cache()
    kept.put_pod(pod("a", version=1))
    clock[0] = 110.0
    kept.put_pod(pod("a", version=2, cost=-1000))
    clock[0] = 120.0
    kept.put_pod(pod("a", version=3, cost=-1000, ready=False))
    assert kept.cost_seen_at() == {"a": 110.0}


def test_a_list_drops_what_was_deleted_in_a_gap_but_not_what_is_newer_than_the_list():
    kept, _, _ = cache()
    kept.put_pod(pod("gone", version=5))
    kept.put_pod(pod("new", version=11))
    assert [fact.id.uid for fact in kept.pods.missing_from([], version=10)] == ["gone"]


def test_a_drained_pod_counts_as_going_from_the_moment_a_lower_number_is_written():
    these = facts(pod("a", cost=DRAINED_COST), pod("b"))
    written = facts(
        pod("a", cost=DRAINED_COST), pod("b"), wanted=1, sets=(replica_set(wanted=2, present=2),), generation=2
    )

    def going(some):
        return {one.id for one in view(some).replicas if one.phase is ReplicaPhase.TERMINATING}

    assert going(these) == set()
    assert going(written) == {"a"}
    assert going(replace(these, lowered_lately=True)) == {"a"}
    assert wanted_costs(written, target(2)) == {}  # its cost stays: the controller may be choosing now


def test_a_pod_whose_pool_label_is_taken_away_is_no_replica_of_the_pool_any_more():
    kept, _, _ = cache()
    kept.put_pod(pod("a", version=1))
    relabelled = raw_pod("a", version=2)
    relabelled["metadata"]["labels"] = {}
    kept.put_pod(objects.pod(relabelled))
    assert kept.pods.of("pool-1") == ()
    kept.drop_pod("a")
    assert kept.pods.of("pool-1") == kept.pods.of("") == ()


def test_an_object_that_left_the_watch_by_its_label_comes_back_at_a_newer_version_only():
    kept, _, _ = cache()
    kept.put_pod(pod("a", version=5))
    kept.drop_pod("a")
    kept.put_pod(pod("a", version=4))
    assert kept.pods.of("pool-1") == ()
    kept.put_pod(pod("a", version=7))
    assert [fact.id.version for fact in kept.pods.of("pool-1")] == [7]
