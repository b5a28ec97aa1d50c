"""Sustained thresholds: nothing moves on a spike, work never waits for ever, and nothing goes to and fro."""

from __future__ import annotations

from dataclasses import replace

from tests.pure.engine_builders import FRESH, NOW, reading, replica, seen, spec, starting, unknown

from pool_operator.engine.decide import decide
from pool_operator.engine.types import Threshold
from pool_operator.names import Direction, Limit, Reason, ThresholdMetric

UTILIZATION, WAITING = ThresholdMetric.UTILIZATION, ThresholdMetric.WAITING
UP = Threshold(metric=UTILIZATION, direction=Direction.UP, level=70.0, for_seconds=300.0)
DOWN = Threshold(metric=UTILIZATION, direction=Direction.DOWN, level=30.0, for_seconds=600.0)
DEEP = Threshold(metric=WAITING, direction=Direction.UP, level=20.0, for_seconds=60.0)
BUSY = tuple(replica(f"b{n}", 1) for n in range(10))
IDLE = tuple(replica(f"i{n}", 0) for n in range(10))


def follow(thresholds, *scenes, **changes):
    """Decide at each (second, waiting, replicas); the last decision."""
    pool, memory, found = spec(thresholds=tuple(thresholds), max_replicas=50, **changes), FRESH, None
    for second, waiting, fleet in scenes:
        what = waiting
        if isinstance(waiting, int):
            what = reading(waiting, running=sum(one.claims for one in fleet), at=NOW + second)
        found, memory = decide(pool, seen(what, *fleet), memory, NOW + second)
    return found


def test_up_only_after_it_has_held():
    before = follow([UP], (0, 3, BUSY), (299, 3, BUSY))
    assert (before.replicas, before.limited_by, before.reason) == (10, Limit.THRESHOLD, Reason.THRESHOLD_NOT_MET)
    assert "no threshold of spec.scaling.thresholds with direction Up has held long enough" in before.message
    assert dict(before.without) == {Limit.THRESHOLD: 13}
    assert follow([UP], (0, 3, BUSY)).wake_at <= NOW + 300


def test_then_so_many_that_it_no_longer_holds():
    found = follow([UP], (0, 3, BUSY), (300, 3, BUSY))
    assert found.replicas == 15  # ceil(10 / 0.7)
    assert follow([UP], (0, 30, BUSY), (300, 30, BUSY)).replicas == 40, "or as many as the work asks for"


def test_a_break_begins_anew():
    calm = BUSY[:6] + IDLE[:4]
    found = follow([UP], (0, 3, BUSY), (200, 0, calm), (201, 3, BUSY), (400, 3, BUSY))
    assert (found.replicas, found.limited_by) == (10, Limit.THRESHOLD)
    blind = follow([UP], (0, 3, BUSY), (200, unknown(), BUSY), (201, 3, BUSY), (400, 3, BUSY))
    assert (blind.replicas, blind.limited_by) == (10, Limit.THRESHOLD)


def test_what_came_by_the_threshold_does_not_go_again_at_once():
    """15 replicas, 10 busy: 66 %, no threshold holds any more, and with fewer it would again."""
    found = follow([UP], (0, 0, BUSY + IDLE[:5]), (1000, 0, BUSY + IDLE[:5]), (5000, 0, BUSY + IDLE[:5]))
    assert (found.replicas, found.drain) == (15, ())


def test_down_only_after_it_has_held():
    fleet = BUSY[:2] + IDLE[:8]
    before = follow([UP, DOWN], (0, 0, fleet), (599, 0, fleet))
    assert (before.replicas, before.limited_by, before.drain) == (10, Limit.THRESHOLD, ())
    after = follow([UP, DOWN], (0, 0, fleet), (600, 0, fleet))
    assert after.replicas < 10
    assert after.limited_by is not Limit.THRESHOLD


def test_between_the_two_nothing_moves():
    fleet = BUSY[:5] + IDLE[:5]
    assert follow([UP, DOWN], (0, 0, fleet), (9000, 0, fleet)).replicas == 10


def test_depth():
    assert follow([DEEP], (0, 20, BUSY), (600, 20, BUSY)).replicas == 10, "not more than 20"
    assert follow([DEEP], (0, 21, BUSY), (59, 21, BUSY)).replicas == 10
    assert follow([DEEP], (0, 21, BUSY), (60, 21, BUSY)).replicas == 31


def test_one_of_two_is_enough():
    assert follow([UP, DEEP], (0, 25, BUSY), (60, 25, BUSY)).replicas == 35


def test_from_none_to_one_at_once_and_up_to_the_minimum():
    assert follow([UP], (0, 5, ())).replicas == 1
    assert follow([UP], (0, 5, ()), min_replicas=3).replicas == 3


def test_without_thresholds_in_a_direction_it_moves_at_once():
    assert follow([UP], (0, 0, BUSY[:1] + IDLE[:9]), (3600, 0, BUSY[:1] + IDLE[:9])).replicas < 10
    assert follow([DOWN], (0, 5, BUSY)).replicas == 15


def test_other_thresholds_than_before_begin_anew():
    memory = replace(FRESH, met_since=(NOW - 9000, NOW - 9000))
    pool = spec(thresholds=(UP,), max_replicas=50)
    found, after = decide(pool, seen(reading(3, 10), *BUSY), memory, NOW)
    assert (found.replicas, after.met_since) == (10, (NOW,))


def test_several_slots():
    four = tuple(replica(f"f{n}", 4, slots=4) for n in range(3))
    found = follow([UP], (0, 1, four), (300, 1, four), slots_per_replica=4)
    assert found.replicas == 5  # 12 busy slots / 0.7 are 17.2, in replicas of 4


def test_replicas_that_never_become_ready_are_not_kept_for_want_of_a_utilization():
    never = tuple(starting(created_at=NOW) for _ in range(4))
    assert follow([DOWN], (0, 0, never), (599, 0, never)).replicas == 4
    assert follow([DOWN], (0, 0, never), (600, 0, never)).replicas == 0


def test_silent_replicas_meet_no_threshold():
    silent = tuple(replica(claims=None) for _ in range(4))
    scenes = [(second, reading(at=NOW + second), silent) for second in (0, 600)]
    assert follow([DOWN], *scenes).limited_by is Limit.THRESHOLD


def test_the_first_replica_is_held_back_by_no_threshold():
    first = follow([UP], (0, 1, ()))
    assert (first.replicas, first.limited_by, first.reason) == (1, None, Reason.WORK_WAITING)
    assert follow([UP], (0, 2, ())).limited_by is Limit.THRESHOLD
