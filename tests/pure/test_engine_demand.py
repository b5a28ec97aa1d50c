"""What the work at hand needs, once something is known of how long jobs run and replicas start."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.pure.engine_builders import FRESH, NOW, ending, reading, replica, seen, spec, starting

from pool_operator.engine.decide import decide
from pool_operator.engine.demand import Learned, demand_of, patience_seconds
from pool_operator.engine.fleet import fleet_of
from pool_operator.engine.run_times import learn_run_times
from pool_operator.engine.state import ColdStarts, Memory, RunTimes
from pool_operator.engine.types import Ended, QueueSpec, Run


def times(*seconds, hint=0.0):
    return learn_run_times(
        RunTimes(), [Ended((number, 0), NOW, length, hint_seconds=hint) for number, length in enumerate(seconds, 1)]
    )


def learned(run_times=None, cold=60.0, wait_value=2.0, slots=1):
    return Learned(run_times=run_times or RunTimes(), cold_seconds=cold, wait_value=wait_value, slots=slots)


def needed(observed, known, pool=None):
    return demand_of(pool or spec(), observed.reading, fleet_of(observed, FRESH, NOW), known, NOW)


def test_patience_is_what_a_cold_start_is_worth():
    assert patience_seconds(learned(wait_value=2.0)) == 75.0
    assert patience_seconds(learned(wait_value=0.1)) == 360.0
    assert patience_seconds(learned(wait_value=0.1), target_seconds=120.0) == 120.0
    assert patience_seconds(learned(wait_value=0.1), target_seconds=5.0) == 60.0  # no replica is there sooner


SHORT = times(*[10.0] * 60)
LONG = times(*[600.0] * 60)

# name -> (observed, what is known, slots)
CASES = {
    "nothing known: a slot for each": (seen(reading(100)), learned(), 100),
    "short jobs: a new slot does two of them in time": (seen(reading(100)), learned(SHORT), 50),
    "long jobs: a slot for each": (seen(reading(100)), learned(LONG), 100),
    "short jobs that have waited too long: no time for two": (
        seen(reading(100, oldest_wait_seconds=70.0)),
        learned(SHORT),
        100,
    ),
    "a patient profile: a new slot does 30 of them": (seen(reading(100)), learned(SHORT, wait_value=0.1), 4),
    "what starts counts": (seen(reading(5), *[starting(created_at=NOW) for _ in range(5)]), learned(), 5),
    "what starts and is not needed does not, but for one": (
        seen(reading(2), *[starting(created_at=NOW) for _ in range(5)]),
        learned(),
        3,
    ),
    "what has nearly started does several short ones": (
        seen(reading(20), *[starting(created_at=NOW - 50) for _ in range(4)]),
        learned(SHORT),
        4,
    ),
    "a free slot takes one at once": (seen(reading(1, 1), replica(claims=1), replica()), learned(LONG), 2),
    "a job that ends in time makes room": (
        seen(reading(1, 1), replica(claims=1, runs=(Run(NOW - 590.0),))),
        learned(times(*[500.0, 600.0] * 30)),
        1,
    ),
    "one that has just begun does not": (
        seen(reading(1, 1), replica(claims=1, runs=(Run(NOW - 1.0),))),
        learned(LONG),
        2,
    ),
    "nor one of which it is not known since when it runs": (seen(reading(1, 1), replica(claims=1)), learned(LONG), 2),
    "a job that was lost needs a slot again": (seen(reading(0, 0, expired=1), replica(claims=0)), learned(), 1),
    "a scheduled job counts from one cold start before": (
        seen(reading(upcoming=(NOW + 30.0, NOW + 59.0, NOW + 61.0))),
        learned(),
        2,
    ),
    "what ends elsewhere needs no slot here": (seen(reading(0, 1), ending(claims=1)), learned(), 0),
}


@pytest.mark.parametrize("name", CASES)
def test_slots(name):
    observed, known, want = CASES[name]
    assert needed(observed, known).slots == want


def test_hints_tell_how_much_work_waits():
    known = learned(times(*[30.0] * 60, hint=300.0))  # a tenth of the media
    short = needed(seen(reading(100, hinted=100, hinted_seconds=10_000.0)), known)  # 10 s each
    long = needed(seen(reading(100, hinted=100, hinted_seconds=600_000.0)), known)  # 600 s each
    assert (short.work_seconds, long.work_seconds) == pytest.approx((1000.0, 60_000.0))
    assert (short.slots, long.slots) == (50, 100)


def test_hints_mean_nothing_before_a_hinted_job_has_ended():
    assert needed(seen(reading(100, hinted=100, hinted_seconds=1.0)), learned(LONG)).slots == 100


def test_each_queue_has_its_own_time_and_all_before_it_go_first():
    known = learned(SHORT, wait_value=0.1)  # 360 s of patience
    pool = spec("urgent", "jobs")
    observed = seen(reading(40, queue="jobs", urgent={"waiting": 20}))
    together = needed(observed, known, pool).slots
    assert together == 3  # 28 jobs each
    urgent = replace(pool, queues=(QueueSpec(name="urgent", target_wait_seconds=60.0), QueueSpec(name="jobs")))
    assert needed(observed, known, urgent).slots == 20  # urgent: one each within 60 s
    late = replace(pool, queues=(QueueSpec(name="urgent"), QueueSpec(name="jobs", target_wait_seconds=60.0)))
    assert needed(observed, known, late).slots == 60  # the second cannot start in time unless the first has


def test_a_target_of_the_pool_holds_for_all_its_queues():
    known = learned(SHORT, wait_value=0.1)
    assert needed(seen(reading(100)), known, spec(target_wait_seconds=60.0)).slots == 100


def test_the_promise_of_a_hundred_jobs_and_ten_workers():
    for run_times, cold in ((RunTimes(), 60.0), (times(*[1.5] * 100), 2.0), (LONG, 60.0), (times(10_800.0), 90.0)):
        memory = Memory(run_times=run_times, cold_starts=ColdStarts(mean_seconds=cold))
        assert decide(spec(), seen(reading(100)), memory, NOW)[0].replicas == 10


def test_it_wakes_up_while_hope_may_fade_and_sleeps_while_it_cannot():
    memory = Memory(run_times=times(*[500.0, 600.0] * 30))
    hopeful = seen(reading(1, 1), replica(claims=1, runs=(Run(NOW - 590.0),)))
    assert decide(spec(), hopeful, memory, NOW)[0].wake_at == pytest.approx(NOW + 75.0 / 8.0)
    settled = seen(reading(1, 1), replica(claims=1, runs=(Run(NOW - 590.0),)), starting(created_at=NOW))
    after = decide(spec(), settled, memory, NOW)[0].wake_at
    assert after is None or after >= NOW + 600.0  # when the start would be given up


def test_it_wakes_up_a_cold_start_before_a_scheduled_job():
    observed = seen(reading(upcoming=(NOW + 500.0, NOW + 900.0), next_due_at=NOW + 500.0))
    found = decide(spec(), observed, FRESH, NOW)[0]
    assert (found.replicas, found.wake_at) == (0, NOW + 440.0)
    found = decide(spec(), observed, FRESH, NOW + 440.0)[0]
    assert found.replicas == 1
    assert "1 due within a cold start" in found.message


def test_replicas_of_another_number_of_slots_count_with_their_own():
    """While a template with other slots rolls out, or learned slots are taken over."""
    wide = [replica(claims=4, slots=4) for _ in range(2)]
    needs = [decide(spec(max_replicas=99), seen(reading(waiting, 8), *wide), FRESH, NOW)[0] for waiting in range(3)]
    assert [one.replicas for one in needs] == [2, 3, 4]
    narrow = [replica(claims=1) for _ in range(8)]
    needs = [
        decide(spec(max_replicas=99, slots_per_replica=4), seen(reading(waiting, 8), *narrow), FRESH, NOW)[0]
        for waiting in range(6)
    ]
    assert [one.replicas for one in needs] == [8, 9, 9, 9, 9, 10]
    assert {one.drain for one in needs} == {()}
