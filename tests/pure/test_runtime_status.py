"""The status: seven conditions, settled values, transitions, events."""

from __future__ import annotations

from tests.fakes.pools import pool_object

from pool_operator.backends.base import BackendView, Problem
from pool_operator.engine.types import Budget, Decision, Observed, QueueReading, Reading, Replica, ReplicaPhase, Unknown
from pool_operator.names import Condition, ConditionReason, Limit, Mode, Reason
from pool_operator.runtime.conditions import Facts
from pool_operator.runtime.status import build_status, coarse, events_of

AT = 1_700_000_000.0
POOL = pool_object(created_at=AT, generation=3)


def decision(**changes):
    values = {"at": AT, "replicas": 2, "slots": 1, "reason": Reason.WORK_WAITING, "message": "2 jobs wait"}
    return Decision(**(values | changes))


def facts(*, waiting=2, wait=3.0, replicas=(), reading=None, view=None, **changes):
    found = reading or Reading(
        at=AT, queues={"default": QueueReading(waiting=waiting, oldest_wait_seconds=wait, scheduled=1)}
    )
    values = {
        "pool": POOL,
        "decision": decision(),
        "observed": Observed(reading=found, replicas=replicas, wanted=0),
        "view": view or BackendView(synced=True, exists=True),
    }
    return Facts(**(values | changes))


def conditions(status):
    return {one["type"]: (one["status"], one["reason"]) for one in status["conditions"]}


def test_the_first_status_has_everything():
    replicas = (
        Replica(id="a", phase=ReplicaPhase.READY, created_at=AT, drained=True),
        Replica(id="b", phase=ReplicaPhase.STARTING, created_at=AT),
    )
    status = build_status(facts(replicas=replicas), {})
    assert {one["type"] for one in status["conditions"]} == {str(kind) for kind in Condition}
    assert status["observedGeneration"] == 3
    assert (status["replicas"], status["readyReplicas"], status["desiredReplicas"]) == (2, 1, 2)
    assert (status["drainingReplicas"], status["slotsPerReplica"]) == (1, 1)
    assert status["queue"] == {"waiting": 2, "running": 0, "scheduled": 1, "oldestWaitSeconds": 3}
    assert status["decision"] == {"reason": "WorkWaiting", "message": "2 jobs wait", "at": "2023-11-14T22:13:20Z"}
    assert conditions(status)["BudgetAvailable"] == ("Unknown", "NoPrice")


def test_time_alone_changes_nothing():
    first = build_status(facts(), {})
    later = build_status(
        facts(wait=900.0, decision=decision(at=AT + 900, message="2 jobs wait since 15 minutes")), first
    )
    assert later == first


def test_counts_that_were_told_a_moment_ago_stay_unless_something_else_changes():
    first = build_status(facts(), {})
    assert build_status(facts(waiting=5), first, keep_queue=True) == first
    assert build_status(facts(waiting=5), first)["queue"]["waiting"] == 5
    other = build_status(facts(waiting=5, decision=decision(replicas=5)), first, keep_queue=True)
    assert other["queue"]["waiting"] == 5


def test_a_condition_keeps_its_time_while_its_status_stays():
    first = build_status(facts(), {})
    problem = Problem(reason=ConditionReason.QUEUE_UNREACHABLE, message="gone")
    unknown = Unknown(since=AT + 50, why="gone")
    second = build_status(
        facts(reading=unknown, queue_problem=problem, decision=decision(at=AT + 50, reason=Reason.HOLD_UNKNOWN)), first
    )
    times = {one["type"]: one["lastTransitionTime"] for one in second["conditions"]}
    assert conditions(second)["QueueReachable"] == ("False", "QueueUnreachable")
    assert conditions(second)["Ready"] == ("False", "QueueUnreachable")
    assert conditions(second)["ScalingActive"] == ("False", "HoldUnknown")
    assert times["QueueReachable"] == "2023-11-14T22:14:10Z"
    assert times["TemplateValid"] == "2023-11-14T22:13:20Z"
    assert second["queue"] == first["queue"]


def test_another_trouble_of_the_same_reason_is_told():
    before = build_status(facts(decision=decision(reason=Reason.HOLD_UNKNOWN, message="refused")), {})
    after = build_status(facts(decision=decision(reason=Reason.HOLD_UNKNOWN, message="wrong password")), before)
    assert after["decision"]["message"] == "wrong password"


def test_each_trouble_lands_in_its_condition():
    shared = Problem(reason=ConditionReason.QUEUE_SHARED, message="shared")
    refused = Problem(reason=ConditionReason.TEMPLATE_REFUSED, message="no")
    full = Problem(reason=ConditionReason.UNSCHEDULABLE, message="full")
    cases = [
        (facts(pool_problem=shared), Condition.READY, ("False", "QueueShared")),
        (facts(pool_problem=shared), Condition.SCALING_ACTIVE, ("False", "QueueShared")),
        (
            facts(view=BackendView(synced=True, template_problem=refused)),
            Condition.TEMPLATE_VALID,
            ("False", "TemplateRefused"),
        ),
        (facts(apply_problem=refused), Condition.TEMPLATE_VALID, ("False", "TemplateRefused")),
        (facts(view=BackendView(synced=True)), Condition.TEMPLATE_VALID, ("Unknown", "NotYetKnown")),
        (
            facts(view=BackendView(synced=True, capacity_problem=full)),
            Condition.CAPACITY_AVAILABLE,
            ("False", "Unschedulable"),
        ),
        (facts(decision=decision(limited_by=Limit.MAXIMUM)), Condition.SCALING_LIMITED, ("True", "Maximum")),
        (facts(mode=Mode.PAUSED, decision=decision(acts=False)), Condition.SCALING_ACTIVE, ("False", "Paused")),
        (facts(mode=Mode.DRY_RUN, decision=decision(acts=False)), Condition.SCALING_ACTIVE, ("False", "DryRun")),
        (facts(budget=Budget(price_per_replica_hour=0.69)), Condition.BUDGET_AVAILABLE, ("Unknown", "NoBudget")),
    ]
    for given, kind, expected in cases:
        assert conditions(build_status(given, {}))[str(kind)] == expected


def test_coarse_keeps_two_digits():
    assert [coarse(number) for number in (0, 9, 42, 123, 98765)] == [0, 9, 42, 120, 98000]


def test_events_come_with_a_change_and_only_then():
    up = events_of(None, decision(), wanted=0)
    assert [(one.type, one.reason, one.message) for one in up] == [
        ("Normal", "WorkWaiting", "0 -> 2 replicas: 2 jobs wait")
    ]
    assert events_of(decision(), decision(message="other words"), wanted=2) == []
    assert events_of(None, decision(replicas=0, reason=Reason.IDLE), wanted=0) == []
    hold = events_of(decision(), decision(reason=Reason.HOLD_UNKNOWN, message="gone"), wanted=2)
    assert [(one.type, one.message) for one in hold] == [("Warning", "gone")]
    again = events_of(decision(reason=Reason.HOLD_UNKNOWN), decision(reason=Reason.HOLD_UNKNOWN), wanted=2)
    assert again == []
