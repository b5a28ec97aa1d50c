"""Replica-seconds: from creation until it is seen no more, counted once."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.pure.engine_builders import replica, starting

from pool_operator.engine.types import Blocked
from pool_operator.runtime.meter import Meter


def fleet(**created):
    return [replica(name, created_at=at) for name, at in created.items()]


def test_nothing_is_counted_before_the_first_look():
    assert Meter().look(fleet(a=0.0), 1000.0) == 0


def test_those_that_stay_count_in_full():
    meter = Meter()
    meter.look(fleet(a=0.0, b=0.0), 100.0)
    assert meter.look(fleet(a=0.0, b=0.0), 160.0) == 120


def test_a_new_one_counts_from_its_creation_and_not_from_the_last_look():
    meter = Meter()
    meter.look([], 100.0)
    assert meter.look(fleet(a=158.0), 160.0) == 2


def test_one_that_is_gone_counts_until_now():
    meter = Meter()
    meter.look(fleet(a=0.0), 100.0)
    assert meter.look([], 101.0) == 1
    assert meter.look([], 200.0) == 0


def test_one_that_cannot_start_does_not_count():
    meter = Meter()
    meter.look([], 100.0)
    assert meter.look([starting("a", blocked=Blocked.UNSCHEDULABLE, created_at=101.0)], 160.0) == 0


def test_clocks_that_jump_count_nothing_backwards():
    meter = Meter()
    meter.look(fleet(a=0.0), 100.0)
    assert meter.look(fleet(a=0.0), 50.0) == 0
    assert meter.look(fleet(a=0.0, b=900.0), 60.0) == 10


@given(st.lists(st.floats(0.1, 50), min_size=1, max_size=20))
def test_however_often_one_looks_the_sum_is_the_same(pauses):
    meter, now, total = Meter(), 100.0, 0.0
    meter.look([], now)
    for pause in pauses:
        now += pause
        total += meter.look(fleet(a=100.0), now)
    assert total == pytest.approx(now - 100.0)
