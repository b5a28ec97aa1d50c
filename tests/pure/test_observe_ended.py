"""Ended runs on their way to the engine, and Redis' times in ours."""

from __future__ import annotations

import pytest

from pool_contract.messages import RunOutcome, RunRecord
from pool_contract.scripts import EndedRun, PoolState
from pool_operator.engine.types import Ended
from pool_operator.observe.ended import KEPT, EndedRuns
from pool_operator.observe.skew import steady_skew


def run(number, **fields):
    values = {"job": "j", "queue": "q", "replica": "r", "seconds": float(number), "outcome": "Finished"} | fields
    return EndedRun((number * 1000, 0), RunRecord.model_validate(values))


def pool(*numbers, unreadable=0, cursor=None):
    ended = tuple(run(number) for number in numbers)
    return PoolState(
        replicas={}, ended=ended, cursor=cursor or (ended[-1].id if ended else None), unreadable=unreadable
    )


def seconds(ended):
    return [one.seconds for one in ended]


def test_a_run_is_told_in_the_engine_s_words_and_our_time():
    runs = EndedRuns()
    state = PoolState(
        replicas={},
        ended=(run(5, outcome="OutOfMemory", hint=60, peak=7, gpu_peak=8, slots=2),),
        cursor=(5000, 0),
    )
    runs.take_in(state, 100.0)
    assert runs.after((0, 0)) == (
        Ended(
            id=(5000, 0), at=105.0, seconds=5.0, outcome=RunOutcome.OUT_OF_MEMORY, queue="q", hint_seconds=60.0,
            peak_bytes=7, gpu_peak_bytes=8, slots=2,
        ),
    )  # fmt: skip


def test_runs_stay_until_they_were_taken_in_and_come_once():
    runs = EndedRuns()
    runs.take_in(pool(1, 2), 0.0)
    runs.take_in(pool(1, 2), 0.0)
    assert seconds(runs.after((0, 0))) == [1, 2]
    assert seconds(runs.after((0, 0))) == [1, 2], "no decision was made on them yet"
    runs.take_in(pool(3), 0.0)
    assert seconds(runs.after((1000, 0))) == [2, 3]
    assert runs.after((3000, 0)) == ()
    assert runs.cursor == (3000, 0)


def test_a_restored_cursor_is_where_reading_goes_on():
    assert EndedRuns().cursor is None
    runs = EndedRuns((2000, 0))
    assert runs.cursor == (2000, 0)
    runs.take_in(pool(1, 2, 3), 0.0)
    assert seconds(runs.after((2000, 0))) == [3]


@pytest.mark.parametrize(
    ("began", "cursor", "follows"), [((0, 0), (0, 0), True), ((0, 0), (9, 0), False), ((5, 0), (9, 0), True)]
)
def test_a_memory_restored_after_reading_began_may_miss_runs(began, cursor, follows):
    assert EndedRuns(began).follows(cursor) is follows


def test_what_is_no_run_moves_the_cursor_and_is_counted():
    runs = EndedRuns()
    runs.take_in(pool(1, unreadable=2, cursor=(9000, 0)), 0.0)
    assert runs.cursor == (9000, 0)
    assert runs.unreadable == 2
    runs.take_in(pool(cursor=(9000, 0), unreadable=2), 0.0)
    assert runs.unreadable == 2


def test_runs_that_nobody_takes_do_not_pile_up():
    runs = EndedRuns()
    for number in range(KEPT + 5):
        runs.take_in(pool(number + 1), 0.0)
    assert len(runs.after((0, 0))) == KEPT
    assert seconds(runs.after((0, 0)))[0] == 6


@pytest.mark.parametrize(
    ("known", "asked", "answered", "at", "skew"),
    [
        (None, 100.0, 100.2, 90.0, 10.0),
        (10.0, 100.04, 100.1, 90.0, 10.0),  # within what a call cannot tell
        (10.0, 100.0, 105.0, 94.9, 10.0),  # a slow call tells little
        (10.0, 100.25, 100.5, 90.0, 10.25),
        (10.0, 99.0, 99.25, 90.0, 9.25),
        (10.0, 3700.0, 3700.1, 90.0, 3610.0),  # one of the clocks was set
    ],
)
def test_the_skew_moves_only_when_it_cannot_be_right_any_more(known, asked, answered, at, skew):
    assert steady_skew(known, asked=asked, answered=answered, at=at) == skew
