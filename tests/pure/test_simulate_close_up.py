"""The busiest stretch: which one it is, and that what is drawn of it is what happened."""

from __future__ import annotations

from tests.pure.simulate_builders import ours, terms, trace

from pool_operator.simulate.close_up import POINTS, Moments
from pool_operator.simulate.run import simulate


def level(series, column, at):
    """Of a step function."""
    return [value for since, value in zip(series.at, getattr(series, column), strict=True) if since <= at][-1]


def test_the_highest_backlog_is_shown_from_before_it_begins_to_after_it_is_gone():
    small = [100.0, 100.0]
    large = [5_000.0 + second for second in range(10)]
    moments = Moments(arrivals=[*small, *large], began=[110.0, 120.0, *[5_400.0] * 10], ended=[200.0] * 12)
    since, until = moments.busiest(10.0)
    assert (since, until) == (5_000 - 3 * 10, 5_400 + 10)


def test_a_short_backlog_is_shown_for_thirty_cold_starts():
    moments = Moments(arrivals=[1_000.0], began=[1_001.0], ended=[1_002.0])
    since, until = moments.busiest(10.0)
    assert until - since == 300


def test_a_backlog_that_grew_for_long_is_shown_from_shortly_before_its_peak():
    arrivals = [float(10 * number) for number in range(1_000)]
    moments = Moments(arrivals=arrivals, began=[20_000.0] * 1_000, ended=[21_000.0] * 1_000)
    since, _ = moments.busiest(10.0)
    assert since == 9_990 - 20 * 10 - 3 * 10


def test_jobs_that_never_begin_wait_to_the_end():
    moments = Moments(arrivals=[0.0, 10.0, 900.0], began=[5.0, -1.0, -1.0], ended=[2_000.0, -1.0, -1.0])
    assert moments.busiest(10.0) == (670.0, 2_010.0)
    assert moments.series(0.0, 2_000.0).waiting[-1] == 2


def test_where_nothing_waits_there_is_no_stretch():
    assert Moments(arrivals=[1.0, 5.0], began=[1.0, 5.0], ended=[2.0, 6.0]).busiest(10.0) is None


def test_within_a_point_the_highest_counts_and_what_passes_on_counts_once():
    """A job runs from 3 to 4 and another from 4 to 5 in the same slot, within one point of 10 s."""
    moments = Moments(arrivals=[1.0, 1.0], began=[3.0, 4.0], ended=[4.0, 5.0], created=[2.0], gone=[6.0])
    series = moments.series(0.0, 10.0 * POINTS)
    assert (series.waiting[0], series.busy[0], series.replicas[0]) == (2, 1, 1)
    assert not any(series.waiting[1:] + series.busy[1:] + series.replicas[1:])


def test_the_moments_of_a_run_are_its_own():
    """Ten jobs of 60 s at second 100 on ten replicas that take 10 s to start."""
    result = simulate(trace((0, 1), *[(100, 60)] * 10), ours(), terms())
    assert result.moments.busiest(10.0) is not None
    series = result.moments.series(0.0, result.ended_at)
    assert max(series.replicas) == result.peak_replicas == 10
    assert max(series.busy) == 10
    assert level(series, "waiting", 105.0) >= 9
    assert level(series, "waiting", 150.0) == 0
    assert level(series, "busy", 50.0) == 0
