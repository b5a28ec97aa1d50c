"""What the engine learns, part by part, with numbers that can be checked by hand."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.pure.engine_builders import FRESH, NOW, reading, replica, seen, spec, starting, unknown

from pool_contract.messages import RunOutcome
from pool_operator.engine.cold_start import learn_cold_starts
from pool_operator.engine.fleet import fleet_of
from pool_operator.engine.growth import context_of, keys
from pool_operator.engine.histogram import LogBins, add, add_many, quantile, samples, tails
from pool_operator.engine.learn import learn
from pool_operator.engine.run_times import counted_on, ends_within, learn_run_times
from pool_operator.engine.state import ColdStarts, Histogram, RunTimes, Traffic
from pool_operator.engine.traffic import learn_traffic, rates
from pool_operator.engine.types import Blocked, Ended, Run

# --- histograms ------------------------------------------------------------------------------------------------------


def histogram(*indexes, decay=0.5):
    found = Histogram()
    for index in indexes:
        found = add(found, index, decay=decay)
    return found


def shares(found):
    return [weight / found.total for weight in found.weights]


def test_older_samples_weigh_less():
    found = histogram(0, 2, 2)
    assert shares(found) == pytest.approx([1 / 7, 0, 6 / 7])
    assert samples(found) == pytest.approx(1 + 1 / 2 + 1 / 4)


@given(st.lists(st.integers(0, 9), max_size=20), st.integers(0, 9), st.integers(1, 3000))
def test_many_equal_samples_at_once_are_the_same_as_one_by_one(before, index, count):
    one_by_one = histogram(*before, *[index] * count, decay=0.99)
    at_once = add_many(histogram(*before, decay=0.99), index, count, decay=0.99)
    assert shares(at_once) == pytest.approx(shares(one_by_one), abs=1e-12)
    assert samples(at_once) == pytest.approx(samples(one_by_one))


def test_weights_stay_finite_for_ever():
    found = histogram(*[1] * 5000)
    assert math.isfinite(found.total)
    assert samples(found) == pytest.approx(2.0)


def test_quantiles_lie_within_bins():
    bins = LogBins(low=1.0, high=16.0, count=4)
    assert [bins.index(value) for value in (0.0, 1.0, 1.9, 2.1, 15.0, 99.0)] == [0, 0, 0, 1, 3, 3]
    assert quantile(histogram(1), bins, 0.5) == pytest.approx(2 * math.sqrt(2))
    assert quantile(Histogram(), bins, 0.5) == 0.0
    assert tails(Histogram(weights=(1.0, 2.0, 3.0), total=6.0)) == (6.0, 5.0, 3.0, 0.0)


# --- run times -------------------------------------------------------------------------------------------------------


def ended(*seconds, **more):
    return [Ended((number, 0), NOW, length, **more) for number, length in enumerate(seconds, 1)]


def times(*seconds, **more):
    return learn_run_times(RunTimes(), ended(*seconds, **more))


def test_the_first_guess_weighs_as_much_as_three_jobs():
    assert [round(times(*[20.0] * count).mean_seconds) for count in (1, 2, 3)] == [95, 80, 70]


def test_a_lost_run_teaches_nothing():
    assert times(60.0, outcome=RunOutcome.LOST) == RunTimes()
    assert times(60.0, outcome=RunOutcome.FAILED).jobs == 1


def test_before_anything_is_known_the_chance_is_exponential():
    assert ends_within(RunTimes(), 120.0)(999.0, 0.0) == pytest.approx(1 - math.exp(-1))


def test_the_chance_to_end_depends_on_the_age():
    chance = ends_within(times(*[10.0, 1000.0] * 20), 60.0)
    assert chance(0.0, 0.0) == pytest.approx(0.5, abs=0.06)
    assert chance(20.0, 0.0) == pytest.approx(0.0, abs=1e-9)
    assert chance(3000.0, 0.0) == pytest.approx(60 / 3060)  # older than anything seen


def test_a_hint_is_worth_more_than_an_age():
    known = times(*[100.0] * 20, hint_seconds=1000.0)  # a tenth of the length of the media
    chance = ends_within(known, 60.0)
    assert known.mean_stretch == pytest.approx(0.1)
    assert chance(0.0, 100.0) == pytest.approx(1.0)  # will take 10 s
    assert chance(0.0, 5000.0) == pytest.approx(0.0)  # will take 500 s
    assert chance(460.0, 5000.0) > 0.3  # is nearly there


def test_doubtful_jobs_never_take_from_sure_ones():
    known = times(*[10.0] * 5, *[900.0] * 5)
    sure = [Run(NOW - 850.0)] * 4
    doubtful = [Run(NOW - 300.0)] * 6
    alone = counted_on(known, sure, NOW, 400.0, 3.0)
    assert alone == pytest.approx(4.0, abs=0.3)
    assert counted_on(known, sure + doubtful, NOW, 400.0, 3.0) >= alone


@given(st.lists(st.floats(0, 3000), min_size=97, max_size=700), st.floats(1, 500))
def test_a_large_fleet_is_judged_in_groups_of_like_age(ages, horizon):
    known = times(*[Random(length).lognormvariate(5, 1) for length in range(50)])
    runs = [Run(NOW - age) for age in ages]
    chance = ends_within(known, horizon)
    expected = math.fsum(chance(age, 0.0) for age in ages)
    assert counted_on(known, runs, NOW, horizon, 0.0) == pytest.approx(expected, abs=0.02 * len(ages) + 3)


# --- cold starts -----------------------------------------------------------------------------------------------------


def started(seconds, ready_at):
    return replica(created_at=ready_at - seconds, ready_at=ready_at)


def cold(starts, *replicas, now=NOW):
    return learn_cold_starts(starts, fleet_of(seen(reading(), *replicas), FRESH, now))


def test_the_first_measured_start_replaces_the_guess_and_later_ones_weigh_a_fifth():
    here = [started(10.0, NOW - 100)]
    starts = cold(ColdStarts(), *here)
    assert (starts.mean_seconds, starts.samples) == (60.0, 0)  # was there before us
    found = []
    for number, seconds in enumerate((2.0, 4.0, 4.0, 4.0, 4.0, 4.0, 14.0)):
        here.append(started(seconds, NOW + number))
        starts = cold(starts, *here, now=NOW + number)
        found.append(round(starts.mean_seconds, 2))
    assert found == [2.0, 3.0, 3.33, 3.5, 3.6, 3.68, 5.74]
    assert cold(starts, *here, now=NOW + 99) == starts


def test_a_start_is_bounded():
    starts = cold(cold(ColdStarts()), started(0.0, NOW))
    assert starts.mean_seconds == 1.0
    assert cold(starts, started(9999.0, NOW + 1)).mean_seconds == pytest.approx((1.0 + 1800.0) / 2)


def test_what_the_cluster_held_up_teaches_nothing():
    starts = cold(ColdStarts(), starting("slow", created_at=NOW - 5000, blocked=Blocked.UNSCHEDULABLE))
    starts = cold(starts, replica("slow", created_at=NOW - 5000, ready_at=NOW), started(7.0, NOW))
    assert (starts.mean_seconds, starts.samples) == (7.0, 1)


# --- traffic ---------------------------------------------------------------------------------------------------------


def traffic_after(*steps, cold_seconds=80.0):
    """`steps`: (seconds, jobs in the system, jobs that have ended since the step before)."""
    traffic, count = Traffic(), 0
    for at, jobs, gone in steps:
        done = [Ended((count + number, 0), NOW + at, 1.0) for number in range(gone)]
        count += gone
        what = seen(reading(jobs), *[replica() for _ in range(9)])
        fleet = fleet_of(what, FRESH, NOW + at)
        traffic = learn_traffic(spec(), what.reading, fleet, traffic, done, cold_seconds=cold_seconds, now=NOW + at)
    return traffic


def test_arrivals_are_growth_and_what_has_ended():
    found = traffic_after((0, 5, 0), (10, 6, 2))
    assert found.fast_per_second == pytest.approx(3 / 120)
    assert found.last_arrival_at == NOW + 10


def test_rates_fade_while_nothing_comes():
    found = traffic_after((0, 0, 0), (10, 12, 0))
    assert rates(found, NOW + 130) == pytest.approx((0.1 / math.e, 0.01 * math.exp(-0.1)))


def test_a_job_whose_end_is_told_late_is_no_arrival():
    assert traffic_after((0, 3, 0), (10, 2, 0), (11, 2, 1)).last_arrival_at is None


def test_but_a_flushed_queue_does_not_hide_what_comes_afterwards():
    found = traffic_after((0, 300, 0), (10, 0, 0), (60, 4, 0))
    assert found.fast_per_second == pytest.approx(4 / 120)


def test_what_was_there_at_first_or_after_an_outage_has_not_arrived():
    assert traffic_after((0, 50, 0)).fast_per_second == 0.0
    found = traffic_after((0, 5, 0))
    fleet = fleet_of(seen(unknown()), FRESH, NOW + 5)
    found = learn_traffic(spec(), unknown(), fleet, found, [], cold_seconds=80.0, now=NOW + 5)
    found = learn_traffic(spec(), reading(70), fleet, found, [], cold_seconds=80.0, now=NOW + 9)
    assert found.fast_per_second == 0.0


def test_growth_within_a_cold_start_is_learned_in_the_context_that_it_had():
    """A cold start of 80 s, a sample each 10 s: those of 10 s to 40 s saw three jobs come at 45 s."""
    found = traffic_after((0, 0, 0), (45, 3, 0), (125, 3, 0))
    quiet = found.growth[keys(0)[0]]
    assert samples(quiet) == pytest.approx(4, abs=0.01)
    assert shares(quiet)[3] == pytest.approx(1.0)
    assert found.pending[0].at == NOW + 50


@given(
    st.lists(st.tuples(st.floats(0.01, 400), st.integers(0, 30)), min_size=2, max_size=8),
    st.lists(st.floats(0.01, 2000), max_size=30),
)
def test_it_learns_the_same_however_often_it_is_asked(events, calls):
    at, steps = 0.0, []
    for gap, jobs in events:
        at += gap
        steps.append((at, jobs, 0))
    instants = {at for at, _, _ in steps}
    between = [call for call in calls if call > steps[0][0] and call not in instants]
    often = sorted([*steps, *((call, None, 0) for call in between)])
    held = []
    for at, jobs, gone in often:
        held.append((at, held[-1][1] if jobs is None else jobs, gone))
    last = max(at for at, _, _ in held) + 5000.0
    seldom = traffic_after(*steps, (last, steps[-1][1], 0))
    asked = traffic_after(*held, (last, steps[-1][1], 0))
    assert rates(asked, NOW + last) == pytest.approx(rates(seldom, NOW + last))
    assert set(asked.growth) == set(seldom.growth)
    for key, known in seldom.growth.items():
        assert samples(asked.growth[key]) == pytest.approx(samples(known))
        assert shares(asked.growth[key]) == pytest.approx(shares(known), abs=1e-9)


def test_a_gap_of_months_is_made_up_for():
    found = traffic_after((0, 0, 0), (1, 40, 0), (2, 0, 40), (90 * 86400.0, 0, 0))
    assert samples(found.growth[keys(0)[2]]) == pytest.approx(1000.0)  # as many as the decay ever leaves
    assert len(found.pending) == 8
    assert len(found.growth) < 40


def test_contexts_get_coarser_in_three_steps():
    busy = Traffic(at=NOW, fast_per_second=0.05, slow_per_second=0.002, in_system=5)
    context = context_of(busy, 60.0, NOW)
    assert context == (5 * 8 + 3) * 8 + 2  # 3 and 0.12 arrivals in a cold start, 3 to 6 jobs
    assert keys(context) == (576 + 5, 512 + 5 * 8 + 3, context)


def test_a_clock_that_jumps_back_starts_afresh_and_keeps_what_was_learned():
    found = traffic_after((0, 0, 0), (500, 3, 0), (1000, 3, 0), (10, 3, 0))
    assert (found.at, found.pending) == (NOW + 10, ())
    assert found.last_arrival_at == NOW + 10
    assert found.growth


# --- together --------------------------------------------------------------------------------------------------------


def test_each_ended_run_is_taken_in_once_also_while_nothing_can_be_read():
    runs = tuple(ended(10.0, 20.0, 30.0))
    observed = replace(seen(unknown(), replica()), ended=runs[:2])
    memory = learn(spec(), observed, fleet_of(observed, FRESH, NOW), FRESH, NOW)
    assert (memory.run_times.jobs, memory.cursor) == (2, (2, 0))
    observed = replace(observed, ended=runs)
    memory = learn(spec(), observed, fleet_of(observed, memory, NOW), memory, NOW + 1)
    assert (memory.run_times.jobs, memory.cursor) == (3, (3, 0))
    assert all(one.id < two.id for one, two in pairwise(runs))
