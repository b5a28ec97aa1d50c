"""What is decided, case by case: demand, limits, the window, what is not known, who is drained, and the words for it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.pure.engine_builders import FRESH, NOW, ending, reading, replica, seen, spec, starting, unknown

from pool_operator.engine.decide import decide
from pool_operator.engine.state import Memory
from pool_operator.engine.types import Blocked
from pool_operator.names import Limit, Mode, OnUnknown, Reason


def decided(pool, observed, memory=FRESH, now=NOW):
    return decide(pool, observed, memory, now)[0]


UNSCHEDULABLE = Blocked.UNSCHEDULABLE
BUSY = [replica(f"busy{number}", 1) for number in range(4)]
IDLE = [replica(f"idle{number}") for number in range(6)]

# name -> (spec, observed, (replicas, reason, limited_by))
CASES = {
    "nothing to do and nothing there": (spec(), seen(reading()), (0, Reason.IDLE, None)),
    "one job wakes a pool at zero": (spec(), seen(reading(1)), (1, Reason.WORK_WAITING, None)),
    "the full target is in the first decision": (spec(), seen(reading(100)), (10, Reason.WORK_WAITING, Limit.MAXIMUM)),
    "seven jobs are two replicas of four slots": (
        spec(slots_per_replica=4),
        seen(reading(7)),
        (2, Reason.WORK_WAITING, None),
    ),
    "what runs is demand too": (spec(), seen(reading(2, 4), *BUSY), (6, Reason.WORK_WAITING, None)),
    "what runs is enough": (spec(), seen(reading(0, 4), *BUSY), (4, Reason.WORK_FITS, None)),
    "fewer jobs than replicas": (spec(), seen(reading(0, 4), *BUSY, *IDLE), (4, Reason.WORK_SHRANK, None)),
    "no jobs left": (spec(), seen(reading(), *IDLE), (0, Reason.IDLE, None)),
    "a due job counts": (spec(), seen(reading(due=2)), (2, Reason.WORK_WAITING, None)),
    "a job whose lease has ended counts": (spec(), seen(reading(expired=1)), (1, Reason.WORK_WAITING, None)),
    "what a foreign worker has just popped does not": (spec(), seen(reading(intermediate=3)), (0, Reason.IDLE, None)),
    "a job for later does not": (spec(), seen(reading(scheduled=3)), (0, Reason.IDLE, None)),
    "all queues count": (spec("jobs", "more"), seen(reading(2, more={"waiting": 3})), (5, Reason.WORK_WAITING, None)),
    "a queue without a reading counts as empty": (
        spec("jobs", "new"),
        seen(reading(2)),
        (2, Reason.WORK_WAITING, None),
    ),
    "a job on a replica that is told to end needs no other": (
        spec(),
        seen(reading(0, 1), ending(claims=1), *IDLE[:1]),
        (0, Reason.IDLE, None),
    ),
    "jobs of a queue that left the spec keep their replicas": (
        spec(),
        seen(reading(), *BUSY),
        (4, Reason.WORK_FITS, None),
    ),
    "scaleUp Never starts nothing": (
        spec("jobs", "archive?"),
        seen(reading(archive={"waiting": 50})),
        (0, Reason.IDLE, None),
    ),
    "scaleUp Never keeps nothing, but what runs may end": (
        spec("jobs", "archive?"),
        seen(reading(archive={"waiting": 50, "running": 2}), *BUSY[:2]),
        (2, Reason.IDLE, Limit.RUNNING),
    ),
    "a slot that such a job occupies is not free for others": (
        spec("jobs", "archive?"),
        seen(reading(1, archive={"running": 2}), *BUSY[:2]),
        (3, Reason.WORK_WAITING, None),
    ),
    "the minimum lifts": (spec(min_replicas=2), seen(reading()), (2, Reason.AT_MINIMUM, Limit.MINIMUM)),
    "the minimum holds": (spec(min_replicas=2), seen(reading(), *IDLE[:2]), (2, Reason.AT_MINIMUM, Limit.MINIMUM)),
    "down to the minimum": (spec(min_replicas=2), seen(reading(), *IDLE), (2, Reason.IDLE, Limit.MINIMUM)),
    "the maximum caps": (
        spec(max_replicas=4),
        seen(reading(9, 4), *BUSY),
        (4, Reason.AT_MAXIMUM, Limit.MAXIMUM),
    ),
    "a lowered maximum ends no running job": (
        spec(max_replicas=2),
        seen(reading(9, 4), *BUSY),
        (4, Reason.WORK_SHRANK, Limit.RUNNING),
    ),
    "a maximum of zero": (spec(max_replicas=0), seen(reading(9)), (0, Reason.AT_MAXIMUM, Limit.MAXIMUM)),
    "replicas that cannot be scheduled are told, and no more are asked for": (
        spec(),
        seen(reading(3, 2), *BUSY[:2], *[starting(blocked=UNSCHEDULABLE, created_at=NOW - 60) for _ in range(3)]),
        (5, Reason.CAPACITY_SHORT, Limit.CAPACITY),
    ),
    "after ten minutes one of them is left, to see when there is room": (
        spec(),
        seen(reading(3, 2), *BUSY[:2], *[starting(blocked=UNSCHEDULABLE) for _ in range(3)]),
        (3, Reason.CAPACITY_SHORT, Limit.CAPACITY),
    ),
    "replicas that the cluster refuses to create are not asked for": (
        spec(),
        seen(reading(3, 2), *BUSY[:2], wanted=5, capacity_short="quota exceeded", refused=True),
        (2, Reason.CAPACITY_SHORT, Limit.CAPACITY),
    ),
    "starts that fail and are tried again by the backend itself": (
        spec(),
        seen(reading(3, 2), *BUSY[:2], wanted=5, capacity_short="replicas end while they start"),
        (5, Reason.CAPACITY_SHORT, Limit.CAPACITY),
    ),
    "stuck replicas are nobody's trouble when the others do the work": (
        spec(),
        seen(reading(0, 2), *BUSY[:2], starting("stuck", blocked=UNSCHEDULABLE)),
        (2, Reason.WORK_SHRANK, None),
    ),
    "an unknown reading holds": (spec(), seen(unknown(), *BUSY, *IDLE), (10, Reason.HOLD_UNKNOWN, None)),
    "an unknown reading holds even above a lowered maximum": (
        spec(max_replicas=1),
        seen(unknown(), *IDLE),
        (6, Reason.HOLD_UNKNOWN, None),
    ),
    "an unknown reading lifts to the minimum where that is wanted": (
        spec(min_replicas=3, on_unknown=OnUnknown.MINIMUM),
        seen(unknown(), *IDLE[:1]),
        (3, Reason.HOLD_UNKNOWN, Limit.MINIMUM),
    ),
    "and lowers to it never": (
        spec(min_replicas=3, on_unknown=OnUnknown.MINIMUM),
        seen(unknown(), *IDLE),
        (6, Reason.HOLD_UNKNOWN, None),
    ),
    "replicas that do not tell what they run are held against an empty reading": (
        spec(),
        seen(reading(), replica("a", None), replica("b", None)),
        (2, Reason.HOLD_CONTRADICTION, Limit.RUNNING),
    ),
    "a replica that is ready this moment may be silent": (
        spec(),
        seen(reading(), replica("a", None, ready_at=NOW - 1)),
        (1, Reason.IDLE, Limit.RUNNING),
    ),
    "a paused pool holds": (spec(mode=Mode.PAUSED), seen(reading(50), *IDLE), (6, Reason.PAUSED, None)),
    "a deleted pool ends when its last job has": (
        spec(min_replicas=3, deleted=True),
        seen(reading(50, 2), *BUSY[:2], *IDLE),
        (2, Reason.DELETED, Limit.RUNNING),
    ),
    "a deleted pool ends whatever its mode": (
        spec(mode=Mode.PAUSED, deleted=True),
        seen(reading(), *IDLE),
        (0, Reason.DELETED, None),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_decision(name):
    pool, observed, want = CASES[name]
    found = decided(pool, observed)
    assert (found.replicas, found.reason, found.limited_by) == want
    assert found.message
    assert found.slots == pool.slots_per_replica


# name -> (spec, observed, (drain, undrain))
DRAINS = {
    "idle ones are marked, busy ones are not": (
        spec(),
        seen(reading(0, 1), replica("busy", 1), replica("idle")),
        ({"idle"}, set()),
    ),
    "starting ones go before idle ones": (
        spec(),
        seen(reading(0, 1), replica("busy", 1), replica("idle"), starting("new"), wanted=3),
        ({"idle", "new"}, set()),
    ),
    "of idle and starting the starting one": (
        spec(),
        seen(reading(1), replica("idle"), starting("new")),
        ({"new"}, set()),
    ),
    "starting ones go in the order of the backend": (
        spec(),
        seen(
            reading(1),
            starting("third", removal_rank=2, created_at=NOW),
            starting("second", removal_rank=1, created_at=NOW),
            starting("first", removal_rank=0, created_at=NOW),
        ),
        ({"first"}, set()),
    ),
    "ready ones too": (
        spec(),
        seen(reading(1), replica("second", removal_rank=1), replica("first", removal_rank=0)),
        ({"first"}, set()),
    ),
    "a mark stays where it is": (
        spec(),
        seen(reading(1), replica("marked", removal_rank=1, drained=True), replica("first", removal_rank=0)),
        ({"marked"}, set()),
    ),
    "demand returns: marks go before anything starts": (
        spec(),
        seen(
            reading(2),
            replica("a", drained=True, removal_rank=2),
            replica("b", drained=True, removal_rank=1),
            replica("c", drained=True, removal_rank=0),
        ),
        ({"c"}, {"a", "b"}),
    ),
    "demand returns for more than there is": (
        spec(),
        seen(reading(5), replica("a", drained=True), replica("b", drained=True)),
        (set(), {"a", "b"}),
    ),
    "the emptiest goes when the others have room": (
        spec(slots_per_replica=4),
        seen(
            reading(0, 6),
            replica("four", 4, slots=4),
            replica("one", 1, slots=4),
            replica("other", 1, slots=4),
            wanted=3,
        ),
        ({"one"}, set()),
    ),
    "the emptiest stays when the others have no room": (
        spec(slots_per_replica=4),
        seen(reading(0, 9), replica("four", 4, slots=4), replica("4", 4, slots=4), replica("one", 1, slots=4)),
        (set(), set()),
    ),
    "a lowered maximum marks busy ones, so that they end after their job": (
        spec(max_replicas=1),
        seen(reading(5, 2), replica("a", 1, removal_rank=1), replica("b", 1, removal_rank=0)),
        ({"b"}, set()),
    ),
    "who does not tell what it runs is not marked": (
        spec(),
        seen(reading(), replica("silent", None), replica("idle")),
        ({"idle"}, set()),
    ),
    "an unknown reading marks nobody and takes no mark away": (
        spec(),
        seen(unknown(), replica("a", None), replica("b", None, drained=True)),
        (set(), set()),
    ),
    "while a rollout runs nobody is marked": (
        spec(),
        seen(reading(0, 1), replica("busy", 1), replica("idle"), lowering_blocked="a rollout runs"),
        (set(), set()),
    ),
    "while lowering is blocked marks stay": (
        spec(),
        seen(reading(0, 1), replica("busy", 1), replica("idle", drained=True), lowering_blocked="not seen yet"),
        ({"idle"}, set()),
    ),
    "while a rollout runs, all may go": (
        spec(),
        seen(reading(), replica("a"), replica("b", outdated=True), lowering_blocked="a rollout runs"),
        ({"a", "b"}, set()),
    ),
    "a stuck rollout of an idle pool is left by letting all go": (
        spec(min_replicas=1),
        seen(
            reading(),
            replica("a"),
            replica("b"),
            starting("new", blocked=UNSCHEDULABLE),
            lowering_blocked="a rollout runs",
            capacity_short="makes no progress",
        ),
        ({"a", "b", "new"}, set()),
    ),
    "but not while it is at its minimum": (
        spec(min_replicas=3),
        seen(
            reading(),
            replica("a"),
            replica("b"),
            starting("new", blocked=UNSCHEDULABLE),
            lowering_blocked="a rollout runs",
            capacity_short="makes no progress",
        ),
        (set(), set()),
    ),
    "ending ones are nobody's business any more": (
        spec(),
        seen(reading(), ending("gone", drained=True), replica("idle")),
        ({"idle"}, set()),
    ),
    "a paused pool's replicas work": (
        spec(mode=Mode.PAUSED),
        seen(reading(), replica("marked", drained=True), replica("idle")),
        (set(), {"marked"}),
    ),
    "a dry run marks nobody, and leaves no mark behind": (
        spec(mode=Mode.DRY_RUN),
        seen(reading(), replica("marked", drained=True), replica("idle")),
        (set(), {"marked"}),
    ),
    "in a deleted pool nobody takes anything new": (
        spec(deleted=True),
        seen(reading(5, 1), replica("busy", 1), replica("idle"), starting("new")),
        ({"busy", "idle", "new"}, set()),
    ),
}


@pytest.mark.parametrize("name", DRAINS)
def test_drain_plan(name):
    pool, observed, want = DRAINS[name]
    found = decided(pool, observed)
    assert (set(found.drain), set(found.undrain)) == want


def test_dry_run_decides_and_does_not_act():
    found = decided(spec(mode=Mode.DRY_RUN), seen(reading(5)))
    assert (found.replicas, found.reason, found.acts) == (5, Reason.WORK_WAITING, False)
    assert "DryRun" in found.message


def test_paused_does_not_act():
    assert decided(spec(mode=Mode.PAUSED), seen(reading(5))).acts is False


# --- the window ------------------------------------------------------------------------------------------------------


def test_the_window_keeps_the_highest_wish_of_its_time():
    pool, memory = spec(scale_down_window_seconds=60, wait_value=0.0), FRESH
    replicas = [replica() for _ in range(5)]
    got = []
    for second, jobs in ((0, 5), (10, 3), (20, 2), (59, 2), (60, 2), (70, 2), (80, 2)):
        decision, memory = decide(pool, seen(reading(jobs), *replicas[: got[-1] if got else 5]), memory, NOW + second)
        got.append(decision.replicas)
    assert got == [5, 5, 5, 5, 3, 2, 2]


def test_the_window_says_so_and_asks_to_be_woken_at_its_end():
    pool = spec(scale_down_window_seconds=300, wait_value=0.0)
    _, memory = decide(pool, seen(reading(4), *IDLE[:4]), FRESH, NOW)
    decision, _ = decide(pool, seen(reading(0, 1), *IDLE[:3], BUSY[0]), memory, NOW + 100)
    assert (decision.replicas, decision.reason, decision.wake_at) == (4, Reason.STABILIZING, NOW + 300)
    assert "300 s" in decision.message
    assert decision.drain == ()


def test_the_window_never_raises():
    pool = spec(scale_down_window_seconds=300, max_replicas=20)
    memory = Memory(proposals=((NOW - 10, 20),))
    assert decided(pool, seen(reading(2), *IDLE[:3]), memory).replicas == 3


def test_without_a_window_no_proposal_is_remembered():
    _, memory = decide(spec(), seen(reading(4)), FRESH, NOW)
    assert memory.proposals == ()


def test_the_window_starts_anew_after_an_outage():
    pool = spec(scale_down_window_seconds=60)
    _, memory = decide(pool, seen(unknown(), *IDLE), FRESH, NOW)
    decision, memory = decide(pool, seen(reading(), *IDLE), memory, NOW + 1)
    assert (decision.replicas, decision.reason) == (6, Reason.STABILIZING)
    decision, _ = decide(pool, seen(reading(), *IDLE), memory, NOW + 61)
    assert decision.replicas == 0


# --- what is not known -----------------------------------------------------------------------------------------------


def test_since_when_it_is_unknown_is_kept_until_it_is_known_again():
    _, memory = decide(spec(), seen(unknown(since=NOW - 5)), FRESH, NOW)
    _, memory = decide(spec(), seen(unknown(since=NOW)), memory, NOW + 1)
    assert memory.unknown_since == NOW - 5
    _, memory = decide(spec(), seen(reading()), memory, NOW + 2)
    assert memory.unknown_since is None


def test_the_sentence_of_an_unknown_reading_holds_still():
    """It becomes a condition: a number that changes in it would be a write each time."""
    sentences = {decided(spec(), seen(unknown(), *IDLE), now=NOW + second).message for second in range(5)}
    assert sentences == {"the queues cannot be read, 6 replicas held: Redis at db:6379/0 does not answer in time"}


def test_the_sentence_of_short_capacity_holds_still():
    stuck = [starting(f"s{number}", blocked=UNSCHEDULABLE, created_at=NOW - 60) for number in range(10)]
    sentences = {
        decided(spec(), seen(reading(jobs), *stuck, wanted=10, capacity_short="0/3 nodes have a GPU")).message
        for jobs in (50, 60, 70)
    }
    assert sentences == {"10 replicas wanted, 0 can be had: 0/3 nodes have a GPU"}


# --- words and times -------------------------------------------------------------------------------------------------

SENTENCES = {
    "no job waits or runs": (spec(), seen(reading())),
    "1 job waits, 0 run: 1 slot, 1 replica of 1 slot": (spec(), seen(reading(1))),
    "12 jobs wait, 1 runs: 13 slots, 4 replicas of 4 slots": (spec(slots_per_replica=4), seen(reading(12, 1))),
    "100 jobs wait, 0 run: 100 slots, 100 replicas of 1 slot; spec.maxReplicas allows 10": (spec(), seen(reading(100))),
    "no job waits or runs; spec.minReplicas keeps 2": (spec(min_replicas=2), seen(reading())),
    "no job waits or runs (3 jobs of queues with scaleUp Never may fill free slots)": (
        spec("jobs", "archive?"),
        seen(reading(archive={"waiting": 3})),
    ),
    "spec.mode is Paused: 1 replica held": (spec(mode=Mode.PAUSED), seen(reading(), *IDLE[:1])),
    "the pool is deleted; 2 replicas may finish what they run": (spec(deleted=True), seen(reading(0, 2), *BUSY[:2])),
}


@pytest.mark.parametrize("want", SENTENCES)
def test_sentence(want):
    assert decided(*SENTENCES[want]).message == want


def test_the_next_scheduled_job_wakes():
    observed = seen(reading(scheduled=1, next_due_at=NOW + 40, more={"next_due_at": NOW + 20}))
    assert decided(spec("jobs", "more"), observed).wake_at == NOW + 20


def test_a_time_that_has_passed_does_not():
    assert decided(spec(), seen(reading(next_due_at=NOW - 1))).wake_at is None


def test_what_went_in_is_told():
    found = decided(spec(), seen(reading(3, 1, at=NOW - 2), *BUSY[:1])).inputs
    assert (found["waiting"], found["running"], found["wanted"], found["reading_age_seconds"]) == (3, 1, 1, 2.0)


def test_stuck_replicas_do_not_make_the_wish_run_away():
    """Decide, let all that is asked for be created and stay stuck, decide again: one stays asked for."""
    pool, replicas = spec(max_replicas=1000), []
    for _ in range(5):
        found = decided(pool, seen(reading(7), *replicas, wanted=len(replicas)))
        replicas = [starting(f"s{number}", blocked=UNSCHEDULABLE) for number in range(found.replicas)]
    assert len(replicas) == 1


def test_a_decision_does_not_change_what_went_in():
    observed, memory = seen(reading(3), *IDLE), Memory(proposals=((NOW - 1, 4),))
    before = replace(observed), replace(memory)
    decide(spec(scale_down_window_seconds=5), observed, memory, NOW)
    assert (observed, memory) == before


def test_an_empty_replica_goes_before_a_marked_one_that_does_not_tell_what_it_runs():
    found = decided(spec(min_replicas=1), seen(reading(), replica("a", None, drained=True), replica("b")))
    assert (found.drain, found.undrain) == (("b",), ("a",))
