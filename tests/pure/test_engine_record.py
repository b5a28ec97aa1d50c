"""Records of the ledger: what goes in comes out, to the bit, and deciding again gives the same."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.pure.engine_builders import NOW, reading, replica, seen, spec, starting, unknown
from tests.pure.recorded_pool import ABOUT, SPEC, RecordedPool

from pool_contract.messages import RunOutcome
from pool_operator.engine.change import change, patch
from pool_operator.engine.checkpoint import UnreadableError, from_data, memory_text, read_memory, to_data, to_text
from pool_operator.engine.record import Call, Checkpoint, Gap, Recording, Step, check_sum, read_records
from pool_operator.engine.replay import Drifted, Replayed, remembered, replay
from pool_operator.engine.state import Memory
from pool_operator.engine.types import Decision, Ended, Observed, Primary, QueueReading, Reading, Run, Unknown
from pool_operator.names import Limit, Reason

# --- values -----------------------------------------------------------------------------------------------------------

texts = st.text(max_size=8)
times = st.floats(0, 2e9)
counts = st.integers(0, 1000)
QUEUES = st.sampled_from([("jobs",), ("jobs", "more"), ("more", "jobs")])
queue_readings = st.builds(
    QueueReading,
    waiting=counts,
    running=counts,
    oldest_wait_seconds=st.none() | times,
    next_due_at=st.none() | times,
    upcoming=st.lists(times, max_size=3).map(tuple),
    hinted=counts,
    hinted_seconds=times,
)


@st.composite
def readings(draw):
    names = draw(QUEUES)
    queues = {name: draw(queue_readings) for name in names}
    return Reading(at=draw(times), queues=queues, allowance_used=draw(times))


replicas = st.builds(
    replica,
    st.sampled_from([f"r{number}" for number in range(8)]),
    st.none() | st.integers(0, 4),
    created_at=times,
    ready_at=st.none() | times,
    drained=st.booleans(),
    outdated=st.booleans(),
    runs=st.lists(st.builds(Run, times, times), max_size=3).map(tuple),
)
ends = st.builds(
    Ended, st.tuples(counts, counts), times, times, st.sampled_from(RunOutcome), texts, times, counts, counts, counts
)
snapshots = st.builds(
    Observed,
    reading=readings() | st.builds(Unknown, since=times, why=texts),
    replicas=st.lists(replicas, unique_by=lambda one: one.id, max_size=8).map(tuple),
    wanted=counts,
    lowering_blocked=texts,
    capacity_short=texts,
    ended=st.lists(ends, max_size=6).map(tuple),
    out_of_memory_at=st.none() | times,
    primary=st.none() | st.builds(Primary, limited_by=st.none() | st.sampled_from(Limit), slots=counts, at=times),
)


def through_json(data):
    return json.loads(to_text(data))


# --- changes of a snapshot --------------------------------------------------------------------------------------------


@given(snapshots, snapshots)
def test_a_change_gives_the_snapshot_after(before, after):
    found = patch(before, through_json(change(before, after)))
    assert found == after
    assert list(found.replicas) == list(after.replicas)
    assert isinstance(after.reading, Unknown) or list(found.reading.queues) == list(after.reading.queues)


@given(snapshots)
def test_nothing_new_is_nothing_written(snapshot):
    assert change(snapshot, replace(snapshot)) == {}


def test_time_alone_is_a_few_bytes():
    before, after = (
        seen(reading(5, at=NOW + age, oldest_wait_seconds=age), *map(replica, "abc")) for age in (1.0, 2.0)
    )
    assert change(replace(before, replicas=after.replicas), after) == {"reading": {"at": NOW + 2, "waits": [2.0]}}


def test_a_replica_that_goes_and_one_that_comes_cost_one():
    a, b, c, d = (replica(name) for name in "abcd")
    found = change(seen(unknown(), a, b, c), seen(unknown(), a, c, d))
    assert found["replicas"]["order"][:2] == [[0, 1], [2, 1]]
    assert found["replicas"]["order"][2]["id"] == "d"
    assert "changed" not in found["replicas"]


def test_a_thousand_replicas_of_which_one_works_on_are_not_written_again():
    many = [replica(f"r{number}", 1) for number in range(1000)]
    after = [*many[:500], replace(many[500], claims=0), *many[501:]]
    found = change(seen(unknown(), *many), seen(unknown(), *after))
    assert [place for place, _ in found["replicas"]["changed"]] == [500]
    assert len(to_text(found)) < 300


@pytest.mark.parametrize(
    "broken",
    [
        {"reading": {"waits": [1.0]}},
        {"replicas": {"changed": [[7, {}]]}},
        {"replicas": {"order": [3]}},
        {"ended": {"drop": "x", "add": []}},
        {"wanted": "many"},
    ],
)
def test_a_broken_change_is_told(broken):
    with pytest.raises(UnreadableError):
        patch(seen(unknown(), replica()), broken)


# --- memory -----------------------------------------------------------------------------------------------------------


floats = st.floats(allow_nan=False)


@given(
    st.builds(
        Memory,
        at=st.none() | floats,
        cursor=st.tuples(counts, counts),
        proposals=st.lists(st.tuples(floats, counts), max_size=3).map(tuple),
        met_since=st.lists(st.none() | floats, max_size=3).map(tuple),
    )
)
def test_a_memory_comes_back_to_the_bit(memory):
    found = read_memory(memory_text(memory))
    assert found == memory
    assert memory_text(found) == memory_text(memory)


def test_a_lived_memory_comes_back_to_the_bit():
    memory = RecordedPool(3).run(300).memory
    assert read_memory(memory_text(memory)) == memory


@pytest.mark.parametrize("value", [math.inf, -math.inf, 5e-324, 0.1 + 0.2])
def test_odd_floats_stay(value):
    assert read_memory(memory_text(Memory(at=value))).at == value


@pytest.mark.parametrize(
    "text",
    [
        "",
        "nothing",
        "[]",
        '{"format": 0, "memory": {}}',
        '{"memory": {}}',
        '{"format": 1, "memory": {"cursor": "x"}}',
        '{"format": 1}',
        "[" * 100_000,
        b"\xff",
    ],
)
def test_what_is_no_memory_is_none(text):
    assert read_memory(text) is None


# --- records ----------------------------------------------------------------------------------------------------------


def entries(pool):
    return list(read_records(pool.flush()))


@pytest.mark.parametrize(("seed", "decisions"), [(1, 2000), (2, 500)])
def test_a_life_of_random_events_is_replayed_to_the_bit(seed, decisions):
    pool = RecordedPool(seed).run(decisions)
    calls = [one for one in entries(pool) if isinstance(one, Call)]
    assert [call.observed for call in calls] == [step.observed for step in pool.steps]
    replayed = list(replay(read_records(pool.records)))
    assert not [one for one in replayed if isinstance(one, Drifted)]
    assert len(replayed) == decisions
    assert all(one.equal for one in replayed)
    assert [one.decision for one in replayed] == [step.decision for step in pool.steps]
    assert [one.memory for one in replayed] == [step.after for step in pool.steps]
    kinds = {(step.decision.reason, step.decision.replicas) for step in pool.steps}
    assert len(kinds) > 15  # it was a life


@settings(max_examples=20)
@given(st.integers(0, 10**6), st.integers(0, 200))
def test_what_was_learned_is_remembered_from_any_end(seed, decisions):
    pool = RecordedPool(seed).run(decisions)
    assert remembered(read_records(pool.flush())) == (pool.memory if decisions else None)


def test_a_replay_from_any_checkpoint_gives_the_same():
    pool = RecordedPool(5).run(800)
    records = pool.flush()
    places = [place for place, record in enumerate(records) if record["kind"] == "checkpoint"]
    assert len(places) > 3
    for place in places[:: len(places) // 4]:
        replayed = list(replay(read_records(records[place:])))
        assert all(one.equal for one in replayed)
        assert replayed[-1].memory == pool.memory


def test_another_engine_is_noticed():
    pool = RecordedPool(2).run(100)
    pool.flush()
    for record in pool.records:
        if record["kind"] == "checkpoint":
            record["spec"]["max_replicas"] = 1
    assert not all(one.equal for one in replay(read_records(pool.records)) if isinstance(one, Replayed))


def test_a_quiet_stretch_is_its_first_reading_and_the_times_of_the_calls():
    pool = RecordedPool(1)
    pool.recording.take(_step(pool, NOW))
    for second in range(1, 100):
        pool.recording.take(_step(pool, NOW + second))
    records = pool.flush()
    assert [record["kind"] for record in records] == ["checkpoint", "step", "calls"]
    assert len(records[2]["rows"]) == 99
    assert [call.observed.reading.at for call in read_records(records) if isinstance(call, Call)] == [
        NOW + second for second in range(100)
    ]


FROZEN = Memory()


def _step(pool, at):
    observed = seen(reading(5, at=at, oldest_wait_seconds=at - NOW), QUIET)
    decision = Decision(at=at, replicas=1, slots=1, reason=Reason.WORK_FITS, message=f"at {at}")
    return Step(spec=SPEC, observed=observed, before=FROZEN, decision=decision, after=FROZEN)


QUIET = starting("a")


def test_only_what_changes_something_is_written_out():
    decisions = [one.decision for one in entries(RecordedPool(1).run(500)) if isinstance(one, Call)]
    written = [one for one in decisions if one is not None]
    assert 0 < len(written) < 400
    assert all(one.inputs for one in written)


def test_a_changed_spec_and_a_broken_chain_begin_anew():
    recording = Recording(ABOUT)
    pool = RecordedPool(1)
    one = _step(pool, NOW)
    recording.take(one)
    recording.take(replace(one, spec=spec(max_replicas=3)))
    recording.take(replace(one, spec=spec(max_replicas=3), before=Memory(at=1.0)))
    whys = [entry.why for entry in read_records(recording.drain()) if isinstance(entry, Checkpoint)]
    assert whys == ["start", "spec", "start"]


def test_checkpoints_come_every_few_minutes_or_hundred_calls():
    for quiet in (0.0, 0.5):
        pool = RecordedPool(7).run(600, quiet=quiet, odd=0.0)
        found = entries(pool)
        places = [place for place, one in enumerate(found) if isinstance(one, Checkpoint)]
        for before, after in pairwise(places):
            calls = after - before - 1
            assert calls <= 100
            assert calls == 100 or found[after].at - found[before].at >= 300
            assert found[after - 1].at - found[before].at < 300 or calls == 100


def test_a_pool_at_rest_has_one_each_hour():
    found = [one for one in entries(RecordedPool(7).quietly(600, seconds=60.0)) if isinstance(one, Checkpoint)]
    assert {after.at - before.at for before, after in pairwise(found)} == {3600.0}
    assert len(found) == 10


def test_a_gap_is_told_and_nothing_is_replayed_over_it():
    pool = RecordedPool(4).run(200)
    pool.flush()
    pool.recording.lost(since=pool.now, until=pool.now + 60, steps=12, why="Redis was away")
    pool.run(100)
    found = entries(pool)
    gaps = [one for one in found if isinstance(one, Gap)]
    assert [(one.steps, one.why) for one in gaps] == [(12, "Redis was away")]
    assert isinstance(found[found.index(gaps[0]) + 1], Checkpoint)
    assert all(one.equal for one in replay(found))
    assert remembered(found) == pool.memory


def test_a_ledger_without_its_oldest_records_is_read_from_the_first_checkpoint():
    records = RecordedPool(6).run(800).flush()
    found = list(read_records(records[2:]))
    assert isinstance(found[0], Checkpoint)
    assert all(one.equal for one in replay(found))


@pytest.mark.parametrize(
    "records",
    [
        [{}],
        [{"kind": "checkpoint", "format": 99, "at": 1.0, "why": "start", "spec": {}, "memory": {}}],
        [7],
        [{"kind": "gap"}],
    ],
)
def test_broken_records_are_told(records):
    with pytest.raises(UnreadableError):
        list(read_records(records))


def test_every_bit_of_a_decision_counts():
    one = Decision(at=NOW, replicas=1, slots=1, reason=Reason.IDLE, message="x", inputs={"age": 1.5})
    assert check_sum(one) == check_sum(from_data(Decision, through_json(to_data(Decision, one))))
    assert check_sum(one) != check_sum(replace(one, inputs={"age": 1.5000000000000002}))
