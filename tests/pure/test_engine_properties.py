"""What holds for any pool, any fleet and any reading."""

from __future__ import annotations

from dataclasses import replace
from random import Random

from hypothesis import assume, given, settings
from hypothesis import strategies as st
from tests.pure.engine_builders import FRESH, NOW, seen, spec
from tests.pure.engine_states import random_memory

from pool_operator.engine.decide import decide
from pool_operator.engine.state import Memory
from pool_operator.engine.types import Blocked, QueueReading, Reading, Replica, ReplicaPhase, Run, Unknown
from pool_operator.names import Limit, Mode, OnUnknown

QUEUES = ("jobs", "more", "archive?")
ACTIVE = st.just(Mode.ACTIVE)
few, many = st.integers(0, 6), st.integers(0, 300)


@st.composite
def specs(draw, mode=ACTIVE):
    low, high = sorted((draw(st.integers(0, 12)), draw(st.integers(0, 12))))
    return spec(
        *QUEUES,
        min_replicas=low,
        max_replicas=high,
        slots_per_replica=draw(st.integers(1, 5)),
        mode=draw(mode),
        on_unknown=draw(st.sampled_from(OnUnknown)),
        scale_down_window_seconds=draw(st.sampled_from([0.0, 60.0])),
    )


@st.composite
def queue_readings(draw):
    return QueueReading(
        waiting=draw(many),
        running=draw(few),
        expired=draw(few),
        intermediate=draw(few),
        due=draw(few),
        next_due_at=draw(st.none() | st.floats(NOW - 100, NOW + 100)),
    )


readings = st.builds(
    lambda *found: Reading(at=NOW, queues=dict(zip(("jobs", "more", "archive"), found, strict=True))),
    queue_readings(),
    queue_readings(),
    queue_readings(),
)
unknowns = st.builds(lambda since: Unknown(since=since, why="away"), st.floats(NOW - 1000, NOW))


@st.composite
def fleets(draw, *, known=False):
    replicas = []
    for number in range(draw(st.integers(0, 14))):
        phase = draw(st.sampled_from(ReplicaPhase))
        replicas.append(
            Replica(
                id=f"r{number}",
                phase=phase,
                created_at=NOW - draw(st.floats(0, 1000)),
                ready_at=None if phase is ReplicaPhase.STARTING else NOW - draw(st.floats(0, 100)),
                claims=draw(few if known else st.none() | few),
                drained=draw(st.booleans()),
                removal_rank=draw(st.integers(0, 14)),
                blocked=draw(st.sampled_from([None, *Blocked])) if phase is ReplicaPhase.STARTING else None,
                outdated=draw(st.booleans()),
            )
        )
    return tuple(replicas)


@st.composite
def observations(draw, what=readings, *, known=False):
    replicas = draw(fleets(known=known))
    return replace(
        seen(draw(what), *replicas, wanted=draw(st.integers(0, 14))),
        lowering_blocked=draw(st.sampled_from(["", "a rollout runs"])),
        capacity_short=draw(st.sampled_from(["", "no GPU is left"])),
    )


memories = st.builds(
    lambda values: Memory(proposals=tuple((NOW - 50 + index, value) for index, value in enumerate(values))),
    st.lists(st.integers(0, 14), max_size=3).map(lambda found: sorted(set(found), reverse=True)),
)


def active(observed):
    return [one for one in observed.replicas if one.phase is not ReplicaPhase.TERMINATING]


def busy(observed):
    return [one for one in active(observed) if one.claims != 0]


@given(specs(), observations(), memories)
def test_within_minimum_and_maximum_but_never_below_what_runs(pool, observed, memory):
    found, _ = decide(pool, observed, memory, NOW)
    assert found.replicas >= pool.min_replicas or found.limited_by in {Limit.CAPACITY, Limit.RUNNING}
    assert found.replicas >= len(busy(observed))
    assert found.replicas <= max(pool.max_replicas, len(busy(observed)))


@given(specs(mode=st.sampled_from(Mode)), observations(unknowns), memories)
def test_unknown_never_lowers_and_marks_nobody(pool, observed, memory):
    found, _ = decide(pool, observed, memory, NOW)
    assert found.replicas >= observed.wanted
    assert found.replicas <= max(observed.wanted, pool.min_replicas)
    assert found.drain == ()
    if pool.mode is Mode.ACTIVE:
        assert found.undrain == ()


@given(specs(), observations(known=True))
def test_no_busy_replica_is_marked_while_an_empty_ready_one_is_not(pool, observed):
    found, _ = decide(pool, observed, FRESH, NOW)
    ready = [one for one in active(observed) if one.phase is ReplicaPhase.READY]
    marked = [one for one in ready if one.id in found.drain]
    spared = [one for one in ready if one.id not in found.drain]
    blocked = observed.lowering_blocked  # then only marks that are there stay
    assert blocked or not any(one.claims for one in marked) or all(one.claims for one in spared)


@given(specs(), fleets(known=True), st.integers(0, 300), few)
def test_with_one_slot_and_no_lower_maximum_no_victim_is_busy(pool, replicas, waiting, due):
    pool = replace(pool, slots_per_replica=1)
    # a replica with one slot holds one job, and one that has not started holds none
    replicas = tuple(
        replace(one, claims=0 if one.phase is ReplicaPhase.STARTING else min(1, one.claims)) for one in replicas
    )
    running = sum(one.claims for one in replicas)
    assume(running <= pool.max_replicas)
    what = Reading(at=NOW, queues={"jobs": QueueReading(waiting=waiting, due=due, running=running)})
    found, _ = decide(pool, seen(what, *replicas), FRESH, NOW)
    assert not [one.id for one in replicas if one.id in found.drain and one.claims]


@given(specs(), observations(), memories, st.integers(1, 50), st.sampled_from(["jobs", "more", "archive"]))
def test_more_work_never_means_fewer_replicas_nor_more_marks(pool, observed, memory, extra, queue):
    fewer, _ = decide(pool, observed, memory, NOW)
    one = observed.reading.queues[queue]
    queues = dict(observed.reading.queues) | {queue: replace(one, waiting=one.waiting + extra)}
    more, _ = decide(pool, replace(observed, reading=Reading(at=NOW, queues=queues)), memory, NOW)
    assert more.replicas >= fewer.replicas
    assert set(more.drain) <= set(fewer.drain)


@given(specs(), observations(), memories)
def test_work_that_waits_finds_a_replica_that_takes_it(pool, observed, memory):
    """Liveness: somebody is there, or asked for, who carries no mark; or the cluster gives nobody, and is asked again."""
    assume(pool.max_replicas and observed.reading.queues["jobs"].waiting)
    found, after = decide(pool, observed, memory, NOW)
    asks_again = after.capacity.ceiling is not None and found.wake_at is not None
    assert max(found.replicas, len(active(observed))) > len(found.drain) or asks_again


@given(specs(), observations(), memories)
def test_marks_are_of_active_replicas_and_never_both_ways(pool, observed, memory):
    found, _ = decide(pool, observed, memory, NOW)
    here = {one.id for one in active(observed)}
    assert set(found.drain) <= here
    assert set(found.undrain) <= {one.id for one in active(observed) if one.drained}
    assert not set(found.drain) & set(found.undrain)
    assert {one.id for one in active(observed) if one.drained} <= set(found.drain) | set(found.undrain)


@given(specs(), observations(), memories)
def test_acted_on_and_looked_at_again_it_is_the_same_decision(pool, observed, memory):
    """No flapping: marks are set, new replicas start, nothing else moves; nothing new is wanted."""
    first, memory = decide(pool, observed, memory, NOW)
    replicas = [
        replace(one, drained=one.id in first.drain) if one.phase is not ReplicaPhase.TERMINATING else one
        for one in observed.replicas
    ]
    new = max(0, first.replicas - len(active(observed)))
    replicas += [
        Replica(id=f"new{number}", phase=ReplicaPhase.STARTING, created_at=NOW, drained=False) for number in range(new)
    ]
    after = replace(observed, replicas=tuple(replicas), wanted=max(observed.wanted, first.replicas))
    second, again = decide(pool, after, memory, NOW)
    assume(not again.capacity.replacing)  # a bad start is replaced once all that is wanted is there
    assert second.replicas == first.replicas
    assert second.undrain == ()
    assert set(second.drain) - {f"new{number}" for number in range(new)} == set(first.drain)
    third, _ = decide(pool, after, again, NOW)
    assert (third.replicas, third.drain, third.undrain) == (second.replicas, second.drain, second.undrain)


@given(specs(mode=st.sampled_from(Mode)), observations(st.one_of(readings, unknowns)), memories, st.booleans())
def test_the_same_input_gives_the_same_decision_and_every_decision_explains_itself(pool, observed, memory, deleted):
    pool = replace(pool, deleted=deleted)
    found = decide(pool, observed, memory, NOW)
    assert found == decide(pool, observed, memory, NOW)
    assert found[0].message
    assert found[0].inputs
    assert found[0].wake_at is None or found[0].wake_at > NOW


@given(st.lists(st.integers(0, 5), max_size=8), st.integers(1, 5), many, few, st.integers(0, 99))
def test_one_replica_of_many_slots_is_as_good_as_many_of_one(held, slots, waiting, coming, seed):
    """The same jobs, waiting and running, on ready replicas of many slots and on ready ones of one slot each."""
    memory, draw = random_memory(Random(seed)), Random(seed)
    wide, narrow = [], []
    for number, claims in enumerate(min(slots, one) for one in held):
        runs = tuple(Run(NOW - draw.expovariate(0.01)) for _ in range(claims))
        one = Replica(id=f"r{number}", phase=ReplicaPhase.READY, created_at=NOW - 900, ready_at=NOW - 800, slots=slots)
        wide.append(replace(one, claims=claims, runs=runs))
        narrow += [replace(one, id=f"r{number}.{run}", slots=1, claims=1, runs=(run,)) for run in runs]
        narrow += [replace(one, id=f"r{number}:{free}", slots=1, claims=0) for free in range(slots - claims)]
    running = sum(one.claims for one in wide)
    what = Reading(
        at=NOW, queues={"jobs": QueueReading(waiting=waiting, running=running, upcoming=(NOW + 1.0,) * coming)}
    )
    of_many, _ = decide(spec(slots_per_replica=slots, max_replicas=9999), seen(what, *wide), memory, NOW)
    of_one, _ = decide(spec(max_replicas=9999), seen(what, *narrow), memory, NOW)
    assert of_many.demand_slots == of_one.demand_slots
    work_wide, work_narrow = dict(of_many.steps)["demand"], dict(of_one.steps)["demand"]
    assert work_narrow <= work_wide * slots < work_narrow + slots


@given(specs(), observations(), memories)
def test_replicas_that_do_not_start_never_make_it_ask_for_more(pool, observed, memory):
    healthy = replace(
        observed,
        capacity_short="",
        replicas=tuple(replace(one, blocked=None, created_at=NOW) for one in observed.replicas),
    )
    assert decide(pool, observed, memory, NOW)[0].replicas <= decide(pool, healthy, memory, NOW)[0].replicas


@given(specs(), st.lists(st.tuples(st.floats(0, 40), few, st.booleans()), min_size=1, max_size=12))
@settings(max_examples=200)
def test_within_the_window_nothing_that_was_wished_for_goes(pool, steps):
    """Replicas follow decisions at once here: the strictest case."""
    pool = replace(pool, scale_down_window_seconds=60.0, max_replicas=12)
    memory, wanted, now, wishes = FRESH, 0, NOW, []
    for seconds, waiting, is_unknown in steps:
        now += seconds
        what = (
            Unknown(since=now, why="away")
            if is_unknown
            else Reading(at=now, queues={"jobs": QueueReading(waiting=waiting)})
        )
        found, memory = decide(pool, seen(what, wanted=wanted), memory, now)
        wishes.append((now, found.wish or 0))
        recent = max(wish for at, wish in wishes if at + 60.0 > now)
        assert found.replicas >= min(wanted, recent)
        assert len(memory.proposals) <= 14
        wanted = found.replicas
