"""Clairvoyant references, against examples worked out by hand."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.pure.simulate_builders import trace

from pool_operator.simulate.clairvoyant import best_objective, bounded_wait, no_wait, references


@pytest.mark.parametrize(
    ("cold_start", "seconds", "starts"),
    [
        (50, 60 + 60 + 50 + 40, 1),  # the gap of 40 is shorter than a cold start: kept
        (30, 60 + 60 + 30 + 30, 2),  # longer: let go, started again
    ],
)
def test_without_waiting_a_gap_costs_itself_or_a_cold_start(cold_start, seconds, starts):
    found = no_wait(trace((0, 60), (100, 60)), cold_start)

    assert (found.replica_seconds, found.starts) == (seconds, starts)


def test_levels_are_kept_apart():
    # two at once, then one after 20 s, then two after 300 s more: level 1 idles 20 and then a cold start, level 2 two starts
    jobs = trace((0, 60), (0, 60), (80, 60), (440, 60), (440, 60))

    found = no_wait(jobs, 50)

    assert found.replica_seconds == 5 * 60 + 50 * 2 + 20 + 50 * 2
    assert found.starts == 4


def test_two_slots_share_a_replica():
    assert no_wait(trace((0, 60), (0, 60)), 50, slots=2).replica_seconds == 110
    assert no_wait(trace((0, 60), (0, 60)), 50, slots=1).replica_seconds == 220


def test_with_a_bounded_wait_a_job_takes_the_replica_that_becomes_free_in_time():
    jobs = trace((0, 60), (30, 60))

    patient, hasty = bounded_wait(jobs, 50, 30), bounded_wait(jobs, 50, 29)

    assert (patient.replica_seconds, patient.starts, patient.waits) == (50 + 120, 1, [0, 30])
    assert (hasty.replica_seconds, hasty.starts, hasty.waits) == (100 + 120, 2, [0, 0])


def test_the_best_reference_waits_where_waiting_is_cheap():
    found = references(trace((0, 60), (30, 60)), 50)

    assert best_objective(found, 1) == pytest.approx((170 + 30) / 3600)
    assert best_objective(found, 4) == pytest.approx(220 / 3600)


JOBS = st.lists(st.tuples(st.floats(0, 3_000), st.floats(1, 300)), min_size=1, max_size=25).map(sorted)


@settings(max_examples=50, deadline=None)
@given(jobs=JOBS, longest=st.floats(0, 500))
def test_no_reference_waits_longer_than_it_may_or_works_less_than_there_is_work(jobs, longest):
    work = sum(service for _, service in jobs)

    none, bounded = no_wait(trace(*jobs), 60), bounded_wait(trace(*jobs), 60, longest)

    assert none.replica_seconds >= work + 60 - 1e-6
    assert bounded.replica_seconds >= work + 60 - 1e-6
    assert max(bounded.waits) <= longest + 1e-9
