"""How many jobs a replica runs at once: memory caps it, an out-of-memory lowers it, one more stays only if it pays."""

from __future__ import annotations

from dataclasses import replace
from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.pure.engine_builders import NOW, reading, replica, seen, spec, unknown

from pool_contract.messages import RunOutcome
from pool_operator.engine.decide import decide
from pool_operator.engine.slots import fits, learn_slots, slots_of
from pool_operator.engine.state import LearnedSlots, Memory
from pool_operator.engine.types import Ended, MemorySpace

GIB = 1024**3
HOUR = 3600.0
FRESH = LearnedSlots()
_ids = count(1)


def pool(*, slots=4, most=8, usable=10 * GIB, base=2 * GIB, job=2 * GIB, gpu=None, **changes):
    spaces = (MemorySpace(kind="host", usable_bytes=usable, base_bytes=base, per_job_bytes=job),)
    if gpu is not None:
        spaces += (MemorySpace(kind="gpu", usable_bytes=gpu[0], base_bytes=gpu[1], per_job_bytes=gpu[2]),)
    values = {"slots_per_replica": slots, "max_slots": most, "memory_spaces": spaces, "learn_slots": True}
    return spec(**(values | changes))


def ended(seconds=100.0, *, at=NOW, outcome=RunOutcome.FINISHED, slots=4, **more):
    return Ended(id=(int(at), next(_ids)), at=at, seconds=seconds, outcome=outcome, slots=slots, **more)


def out_of_memory(at=NOW, slots=4):
    return ended(at=at, outcome=RunOutcome.OUT_OF_MEMORY, slots=slots)


def learn(rules, learned, *runs, now=NOW, waiting=5, killed_at=None):
    observed = seen(reading(waiting), replica(), ended=runs, out_of_memory_at=killed_at)
    return learn_slots(rules, observed, learned, runs, now=now)


def taught(rules, *batches, learned=FRESH, now=NOW):
    """Batches of run times, each in one decision a minute after the last; all at the number that holds then."""
    for seconds in batches:
        now += 60.0
        at = slots_of(rules, learned)
        runs = [ended(one, at=now + one, slots=at) for one in seconds]
        learned = learn(rules, learned, *runs, now=now)
    return learned


# --- memory -------------------------------------------------------------------------------------------------------


def test_before_anything_is_learned_the_pools_own_figures_hold():
    assert slots_of(pool(slots=4), FRESH) == 4
    assert slots_of(pool(slots=4), learn(pool(slots=4), FRESH)) == 4


def test_learning_can_be_switched_off():
    off = pool(learn_slots=False)
    assert learn(off, FRESH, out_of_memory()) is FRESH
    assert slots_of(off, LearnedSlots(slots=1)) == 4


def test_nineteen_peaks_are_not_enough_and_twenty_are():
    rules = pool()
    runs = [ended(peak_bytes=4 * GIB) for _ in range(20)]
    assert slots_of(rules, learn(rules, FRESH, *runs[:19])) == 4
    assert slots_of(rules, learn(rules, FRESH, *runs)) == 1  # 8 GiB for jobs of a little over 4


def test_the_worked_example_of_fits():
    rules = pool(usable=8 * GIB, base=2 * GIB)
    learned = learn(rules, FRESH, *[ended(peak_bytes=int(0.97 * GIB)) for _ in range(40)])
    assert fits(rules, learned) == 6


@pytest.mark.parametrize(
    ("gpu", "want"), [((20 * GIB, 2 * GIB, 2 * GIB), 4), ((6 * GIB, 2 * GIB, 2 * GIB), 2), ((1 * GIB, 2 * GIB, GIB), 1)]
)
def test_the_smaller_of_host_and_gpu_wins_and_at_least_one_job_runs(gpu, want):
    assert fits(pool(gpu=gpu), FRESH) == want


def test_gpu_peaks_count_for_the_gpu_alone():
    rules = pool(gpu=(20 * GIB, 2 * GIB, 2 * GIB))
    runs = [ended(gpu_peak_bytes=5 * GIB) for _ in range(30)]
    assert fits(rules, learn(rules, FRESH, *runs)) == 3


def test_one_large_job_among_many_does_not_move_the_number():
    rules = pool()
    runs = [ended(peak_bytes=GIB) for _ in range(99)] + [ended(peak_bytes=7 * GIB)]
    assert slots_of(rules, learn(rules, FRESH, *runs)) >= 4


def test_another_memory_limit_starts_from_the_pools_figures_again():
    small, large = pool(slots=4), pool(slots=8, usable=18 * GIB)
    learned = learn(small, FRESH, killed_at=NOW)
    assert slots_of(small, learned) == 3
    assert slots_of(large, learned) == 8
    for _ in range(2):  # the kill is told of again and again
        learned = learn(large, learned, killed_at=NOW)
    assert slots_of(large, learned) == 8


# --- out of memory ------------------------------------------------------------------------------------------------


def test_out_of_memory_takes_one_slot_at_once_also_while_the_queues_cannot_be_read():
    rules = pool()
    blind = seen(unknown(), replica())
    assert slots_of(rules, learn_slots(rules, blind, FRESH, [out_of_memory()], now=NOW)) == 3
    assert slots_of(rules, learn(rules, FRESH, killed_at=NOW - 1)) == 3


def test_one_incident_counts_once_however_often_it_is_told():
    rules = pool()
    learned = learn(rules, FRESH, out_of_memory(), out_of_memory(), killed_at=NOW)
    learned = learn(rules, learned, out_of_memory(NOW + 30, slots=3), killed_at=NOW, now=NOW + 30)
    assert slots_of(rules, learned) == 3


def test_a_replica_that_still_had_more_slots_proves_nothing_against_fewer():
    rules = pool()
    learned = learn(rules, FRESH, out_of_memory())
    assert slots_of(rules, learn(rules, learned, out_of_memory(NOW + 900, slots=4), now=NOW + 900)) == 3
    assert slots_of(rules, learn(rules, learned, out_of_memory(NOW + 900, slots=3), now=NOW + 900)) == 2


def test_the_last_slot_stays():
    rules, learned = pool(slots=1), FRESH
    for hour in range(3):
        learned = learn(rules, learned, killed_at=NOW + hour * HOUR, now=NOW + hour * HOUR)
    assert slots_of(rules, learned) == 1


def test_the_ban_doubles_up_to_a_day_and_starts_anew_after_a_long_quiet():
    rules, learned, now, bans = pool(slots=8, most=8, usable=40 * GIB), FRESH, NOW, []
    for _ in range(7):
        learned = learn(rules, learned, killed_at=now, now=now)
        bans.append((learned.raise_at - now) / HOUR)
        now = learned.raise_at + 1
    assert bans == [1, 2, 4, 8, 16, 24, 24]
    now += 48 * HOUR
    assert (learn(rules, learned, killed_at=now, now=now).raise_at - now) / HOUR == 1


def test_after_the_ban_the_slot_is_tried_again():
    rules = pool()
    learned = learn(rules, FRESH, out_of_memory())
    slow = taught(rules, [100.0] * 30, learned=learned)
    assert slots_of(rules, slow) == 3
    assert slots_of(rules, taught(rules, [100.0], learned=slow, now=NOW + HOUR)) == 4


# --- throughput ---------------------------------------------------------------------------------------------------

ROOMY = pool(slots=1, most=3)


def test_the_worked_example_two_slots_pay_and_three_do_not():
    learned = taught(ROOMY, [100.0] * 20)
    assert slots_of(ROOMY, learned) == 2  # tried
    learned = taught(ROOMY, [120.0] * 20, learned=learned, now=NOW + HOUR)
    assert learned.trial is None  # it stays
    learned = taught(ROOMY, [120.0], learned=learned, now=NOW + 2 * HOUR)
    assert slots_of(ROOMY, learned) == 3  # tried
    learned = taught(ROOMY, [185.0] * 20, learned=learned, now=NOW + 3 * HOUR)
    assert slots_of(ROOMY, learned) == 2
    assert slots_of(ROOMY, taught(ROOMY, [120.0] * 30, learned=learned, now=NOW + 20 * HOUR)) == 2
    assert slots_of(ROOMY, taught(ROOMY, [120.0] * 30, learned=learned, now=NOW + 28 * HOUR)) == 3  # a day later again


def test_run_times_that_scatter_are_looked_at_longer():
    scattered = [20.0, 500.0] * 10
    learned = taught(ROOMY, scattered)
    assert slots_of(ROOMY, learned) == 2
    learned = taught(ROOMY, scattered, learned=learned, now=NOW + HOUR)
    assert learned.trial is not None  # twenty tell nothing here
    learned = taught(ROOMY, *[scattered] * 20, learned=learned, now=NOW + 2 * HOUR)
    assert slots_of(ROOMY, learned) == 3  # two stay, and the next is tried


def test_while_nothing_waits_run_times_say_nothing_and_nothing_is_tried():
    runs = [ended(slots=1) for _ in range(50)]
    learned = learn(ROOMY, FRESH, *runs, waiting=0)
    assert (slots_of(ROOMY, learned), learned.pace.jobs) == (1, 0)


def test_runs_of_another_number_or_that_failed_are_not_compared():
    runs = [ended(slots=2), ended(slots=1, outcome=RunOutcome.FAILED), ended(slots=1, outcome=RunOutcome.LOST)]
    assert learn(ROOMY, FRESH, *runs).pace.jobs == 0


def test_a_run_that_began_before_the_trial_is_not_part_of_it():
    learned = taught(ROOMY, [100.0] * 20)
    half = [ended(100.0, at=learned.trial.since + 50, slots=2) for _ in range(30)]
    assert learn(ROOMY, learned, *half).pace.jobs == 0


def test_out_of_memory_ends_a_trial():
    learned = taught(ROOMY, [100.0] * 20)
    learned = learn(ROOMY, learned, out_of_memory(slots=2))
    assert (slots_of(ROOMY, learned), learned.trial) == (1, None)


def test_nothing_is_tried_that_memory_has_no_room_for():
    full = pool(slots=2, usable=6 * GIB)
    assert slots_of(full, taught(full, [100.0] * 200)) == 2


def test_a_peak_that_fits_barely_is_no_reason_for_one_more():
    """Five fit by the measured peaks, but not with a tenth to spare."""
    rules = pool(slots=4)
    runs = [ended(100.0, peak_bytes=int(1.5 * GIB), slots=4) for _ in range(40)]
    learned = learn(rules, FRESH, *runs)
    assert fits(rules, learned) == 5
    assert slots_of(rules, learn(rules, learned)) == 4


# --- in the decision ----------------------------------------------------------------------------------------------


def test_what_is_learned_is_what_is_decided_with_and_published():
    rules = pool(slots=4, max_replicas=20)
    observed = seen(reading(12), ended=(out_of_memory(),))
    found, memory = decide(rules, observed, Memory(), NOW)
    assert (found.slots, found.replicas) == (3, 4)
    assert memory.cursor == observed.ended[0].id
    again, _ = decide(rules, observed, memory, NOW + 300)
    assert again.slots == 3


def test_the_sentence_tells_the_learned_slots():
    rules = pool(slots=4)
    learned = learn(rules, FRESH, out_of_memory())
    found, _ = decide(replace(rules, max_replicas=99), seen(reading(15)), Memory(learned=learned), NOW)
    assert found.message == "15 jobs wait, 0 run: 15 slots, 5 replicas of 3 slots"


# --- whatever happens ---------------------------------------------------------------------------------------------

runs = st.builds(
    lambda seconds, outcome, slots, peak: (seconds, outcome, slots, peak),
    st.floats(0.1, 7200),
    st.sampled_from(RunOutcome),
    st.integers(1, 8),
    st.integers(0, 12 * GIB),
)


@given(
    st.integers(1, 8), st.lists(st.tuples(st.lists(runs, max_size=30), st.booleans(), st.floats(1, 90_000)), max_size=8)
)
def test_slots_stay_within_memory_and_out_of_memory_lowers(start, steps):
    rules, learned, now = pool(slots=min(start, 4), most=8), FRESH, NOW
    for batch, killed, seconds in steps:
        now += seconds
        before, known = slots_of(rules, learned), learned.out_of_memory_at
        found = [
            ended(one, at=now, outcome=outcome, slots=slots, peak_bytes=peak) for one, outcome, slots, peak in batch
        ]
        learned = learn(rules, learned, *found, now=now, killed_at=now if killed else None)
        after = slots_of(rules, learned)
        assert 1 <= after <= min(8, max(fits(rules, learned), before))
        assert after <= before + 1
        if killed and (known is None or now > known + 60):
            assert after == max(1, before - 1)
        if after > before:
            assert after <= fits(rules, learned)
