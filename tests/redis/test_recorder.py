"""The recorder between the reconciler and the ledger: nothing waits for it, nothing is dropped unsaid, and what was
learned is there for the next leader."""

from __future__ import annotations

import asyncio
import json
import logging
from dataclasses import dataclass, field, replace

import pytest
from redis.asyncio import Redis as AsyncRedis
from tests.fakes.pools import pool_object
from tests.pure.recorded_pool import RecordedPool

from pool_contract import keys, ledger
from pool_contract.scripts import AsyncScripts, StaleEpochError
from pool_operator.backends.base import Problem
from pool_operator.engine.record import Call, Checkpoint, Gap, read_records
from pool_operator.engine.replay import Replayed, replay
from pool_operator.names import ConditionReason
from pool_operator.observe.connection import EndpointKey, Place
from pool_operator.observe.problems import EndpointError
from pool_operator.runtime import redis_recorder, tape
from pool_operator.runtime.clock import FakeClock, SystemClock
from pool_operator.runtime.decision_log import DecisionLog
from pool_operator.runtime.file_recorder import FileRecorder
from pool_operator.runtime.recorder import NoRecorder
from pool_operator.runtime.redis_recorder import RedisRecorder

POOL = pool_object("speech")


@dataclass
class Line:
    """What a recorder uses of an endpoint, over a real connection that a test can cut."""

    redis: AsyncRedis
    prefix: str = "rq"
    away: bool = False
    deaf: bool = False  # Redis takes the call, its answer is lost
    calls: list = field(default_factory=list)

    @property
    def key(self):
        return EndpointKey(place=Place(host="redis", port=6379, database=0, prefix=self.prefix))

    async def call(self, call):
        self.calls.append(call.script)
        trouble = EndpointError(Problem(reason=ConditionReason.QUEUE_UNREACHABLE, message="Redis is away"))
        if self.away:
            raise trouble
        found = await AsyncScripts(self.redis).run(call)
        if self.deaf and call.arguments.get("chunks"):
            raise trouble
        return found


@pytest.fixture
def client(server):
    with server.client() as client:
        yield client


def with_line(server, work):
    """Run `work(line)` over a fresh connection."""

    async def go():
        async with AsyncRedis.from_url(server.url) as redis:
            return await work(Line(redis))

    return asyncio.run(go())


def recorder(epoch=7):
    return RedisRecorder(epoch=lambda _uid: epoch, clock=SystemClock())


def tell(into, life, line, *, first=0):
    for step in life.steps[first:]:
        into.record(POOL, line, step)


def written(client, prefix="rq"):
    return list(read_records(ledger.read_stream(client, prefix, POOL.uid)))


def calls(entries):
    return [one for one in entries if isinstance(one, Call)]


def test_what_is_recorded_is_written_and_replayed_to_the_bit(server, client):
    async def work(line):
        it, life = recorder(), RecordedPool(1)
        for _ in range(30):
            before = len(life.steps)
            life.run(20)
            tell(it, life, line, first=before)
            await it.write()
        return life

    life = with_line(server, work)
    found = written(client)
    assert [call.observed for call in calls(found)] == [step.observed for step in life.steps]
    assert all(isinstance(one, Replayed) and one.equal for one in replay(found))
    about = next(one for one in found if isinstance(one, Checkpoint)).about
    assert about["pool"] == {"namespace": "test", "name": "speech", "uid": POOL.uid}
    assert about["asked"]["maxReplicas"] == POOL.spec.max_replicas
    assert "engine" in about["fingerprint"]


def test_recording_waits_for_nothing(server):
    async def work(line):
        it = recorder()
        tell(it, RecordedPool(1).run(50), line)
        assert line.calls == []

    with_line(server, work)


def test_a_new_leader_goes_on_with_what_was_learned(server):
    life = RecordedPool(2).run(400)

    async def work(line):
        old, new = recorder(7), recorder(8)
        tell(old, life, line)
        await old.write()
        found = await new.restore(POOL, line)
        assert found == life.memory
        going_on = RecordedPool(3, memory=found, start=life.now).run(50)
        tell(new, going_on, line)
        await new.write()
        assert await new.restore(POOL, line) == going_on.memory
        tell(old, life.run(10), line, first=400)
        with pytest.raises(StaleEpochError):
            await old.write()

    with_line(server, work)


def test_the_checkpoint_is_found_behind_many_chunks(server):
    life = RecordedPool(4).run(5)

    async def work(line):
        it = recorder()
        tell(it, life, line)
        await it.write()
        for _ in range(90):
            life.quietly(1, seconds=1.0)
            tell(it, life, line, first=len(life.steps) - 1)
            await it.write()
        assert await recorder(8).restore(POOL, line) == life.memory
        assert line.calls.count("ledger_tail") > 1

    with_line(server, work)


def test_nothing_recorded_is_nothing_learned(server):
    async def work(line):
        assert await recorder().restore(POOL, line) is None
        assert await recorder().restore(POOL, None) is None
        assert await NoRecorder().restore(POOL, line) is None
        line.away = True
        with pytest.raises(EndpointError):
            await recorder().restore(POOL, line)

    with_line(server, work)


@pytest.mark.parametrize(
    "change",
    [
        {"format": 0},
        {"memory": {"cursor": "x"}},
        {"spec": {}},
    ],
)
def test_an_unreadable_checkpoint_is_told_and_everything_is_learned_anew(server, caplog, change):
    records = json.loads(json.dumps(RecordedPool(1).run(20).flush()))
    records[0] |= change

    async def work(line):
        call = ledger.append("rq", pool=POOL.uid, epoch=1, chunks=ledger.pack(records), after=None)
        await line.call(call)
        return await recorder().restore(POOL, line)

    assert with_line(server, work) is None
    assert "learned anew" in caplog.text


def test_while_redis_is_away_records_wait_and_come_later(server, client, caplog):
    life = RecordedPool(5)

    async def work(line):
        it = recorder()
        for away in (False, True, True, False):
            line.away = away
            first = len(life.steps)
            tell(it, life.run(30), line, first=first)
            await it.write()

    caplog.set_level(logging.INFO)
    with_line(server, work)
    found = written(client)
    assert len(calls(found)) == 120
    assert not [one for one in found if isinstance(one, Gap)]
    assert caplog.text.count("cannot be written: Redis is away") == 1
    assert caplog.text.count("is written again") == 1


def test_what_no_longer_fits_is_told_as_a_gap(server, client, monkeypatch):
    monkeypatch.setattr(redis_recorder, "MOST_WAITING_BYTES", 2500)
    life = RecordedPool(6)

    async def work(line):
        it = recorder()
        for away in (False, *[True] * 6, False):
            line.away = away
            first = len(life.steps)
            tell(it, life.run(40), line, first=first)
            await it.write()

    with_line(server, work)
    found = written(client)
    gaps = [one for one in found if isinstance(one, Gap)]
    assert len(gaps) == 1
    assert gaps[0].why == "Redis is away"
    assert gaps[0].steps + len(calls(found)) == len(life.steps)
    assert gaps[0].at in {step.decision.at for step in life.steps}
    assert all(one.equal for one in replay(found))


def test_more_steps_than_can_be_held_are_told_as_a_gap(server, client, monkeypatch):
    monkeypatch.setattr(tape, "MOST_STEPS", 50)
    life = RecordedPool(7).run(120)

    async def work(line):
        it = recorder()
        tell(it, life, line)
        await it.write()

    with_line(server, work)
    found = written(client)
    assert [one.steps for one in found if isinstance(one, Gap)] == [100]
    assert len(calls(found)) == 20


def test_an_answer_that_was_lost_does_not_write_twice(server, client):
    life = RecordedPool(8)

    async def work(line):
        it = recorder()
        for deaf in (True, True, False, True, False):
            line.deaf = deaf
            first = len(life.steps)
            tell(it, life.run(25), line, first=first)
            await it.write()

    with_line(server, work)
    found = written(client)
    assert len(calls(found)) == len(life.steps) == 125
    assert not [one for one in found if isinstance(one, Gap)]
    assert all(one.equal for one in replay(found))


def test_what_redis_forgot_is_told_as_a_gap(server, client):
    life = RecordedPool(9)

    async def work(line):
        it = recorder()
        for forgets in (False, True, False):
            first = len(life.steps)
            tell(it, life.run(25), line, first=first)
            if forgets:
                await line.redis.delete(keys.ledger("rq", POOL.uid))
            await it.write()

    with_line(server, work)
    found = written(client)
    assert [(one.steps, one.why) for one in found if isinstance(one, Gap)] == [
        (25, "Redis lost what was written before")
    ]
    assert len(calls(found)) == 25
    assert all(one.equal for one in replay(found))


def test_records_that_cannot_be_made_are_a_gap_and_harm_no_other_pool(server, client, monkeypatch, caplog):
    life, other = RecordedPool(13), pool_object("other")
    pack, packs = ledger.pack, []

    def once_in_vain(records):
        packs.append(records)
        if len(packs) == 1:
            raise ValueError("a number that is none")
        return pack(records)

    monkeypatch.setattr(ledger, "pack", once_in_vain)

    async def work(line):
        it = recorder()
        for _ in range(2):
            first = len(life.steps)
            tell(it, life.run(25), line, first=first)
            await it.write()
        for step in life.steps:
            it.record(other, line, step)
        await it.write()

    with_line(server, work)
    found = written(client)
    assert [one.steps for one in found if isinstance(one, Gap)] == [25]
    assert len(calls(found)) == 25
    assert all(one.equal for one in replay(found))
    assert client.exists(keys.ledger("rq", other.uid))
    assert caplog.text.count("goes on behind a gap") == 1


def test_a_pool_that_moves_begins_anew_where_it_goes(server, client):
    life = RecordedPool(10)

    async def work(line):
        it, there = recorder(), Line(line.redis, prefix="other")
        tell(it, life.run(25), line)
        await it.write()
        tell(it, life.run(25), there, first=25)
        await it.write()

    with_line(server, work)
    assert len(calls(written(client))) == len(calls(written(client, "other"))) == 25


def test_a_quiet_pool_is_written_seldom_and_a_change_soon(server):
    async def work(line):
        clock = FakeClock()
        it, life = RedisRecorder(epoch=lambda _uid: 7, clock=clock), RecordedPool(11, arrivals_per_second=0)
        life.quietly(1)
        tell(it, life, line)
        await it.write(due_by=clock.monotonic() + 1.0)
        assert line.calls.count("ledger_append") == 2  # where it ends, and the first records
        life.quietly(3, seconds=1.0)
        tell(it, life, line, first=1)
        await it.write(due_by=clock.monotonic() + 29.0)
        assert line.calls.count("ledger_append") == 2
        await it.write(due_by=clock.monotonic() + 30.0)
        assert line.calls.count("ledger_append") == 3
        await it.write()
        assert line.calls.count("ledger_append") == 3  # nothing is left

    with_line(server, work)


def test_the_last_words_are_written_when_it_is_told_to_end(server, client):
    life = RecordedPool(12).run(30)

    async def work(line):
        it = recorder()
        task = asyncio.create_task(it.run())
        tell(it, life, line)
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    with_line(server, work)
    assert len(calls(written(client))) == 30


def test_a_retired_pool_is_written_and_forgotten(server, client):
    life = RecordedPool(13).run(30)

    async def work(line):
        it = recorder()
        tell(it, life, line)
        it.forget(POOL.uid)
        await it.write()
        assert not it._tapes
        assert not it._behind
        it.forget("unknown")

    with_line(server, work)
    assert len(calls(written(client))) == 30


# --- files ------------------------------------------------------------------------------------------------------------


def test_a_run_on_this_machine_keeps_the_same_records(tmp_path):
    async def work():
        it, life = FileRecorder(tmp_path, clock=SystemClock()), RecordedPool(1)
        assert await it.restore(POOL, None) is None
        for _ in range(10):
            first = len(life.steps)
            tell(it, life.run(40), None, first=first)
            await it.write()
        assert await FileRecorder(tmp_path, clock=SystemClock()).restore(POOL, None) == life.memory
        return life

    life = asyncio.run(work())
    found = list(read_records(ledger.read_files(tmp_path)))
    assert [call.observed for call in calls(found)] == [step.observed for step in life.steps]
    assert all(one.equal for one in replay(found))


def test_a_new_file_begins_with_a_checkpoint(tmp_path, monkeypatch):
    async def work():
        it, life = FileRecorder(tmp_path, clock=SystemClock()), RecordedPool(2)
        it._files = ledger.LedgerFiles(tmp_path, max_bytes=20_000)
        for _ in range(30):
            first = len(life.steps)
            tell(it, life.run(20), None, first=first)
            await it.write()

    asyncio.run(work())
    for name in ledger.FILES:
        records = list(ledger.read_file(tmp_path / name))
        assert records[0]["kind"] == "checkpoint"
        assert all(one.equal for one in replay(read_records(records)))


def test_a_disk_that_takes_nothing_stops_nobody(tmp_path, caplog):
    async def work():
        it, life = FileRecorder(tmp_path / "gone", clock=SystemClock()), RecordedPool(3).run(20)
        tell(it, life, None)
        await it.write()
        (tmp_path / "gone").mkdir()
        tell(it, life.run(20), None, first=20)
        await it.write()

    asyncio.run(work())
    assert "cannot be written" in caplog.text
    found = list(read_records(ledger.read_files(tmp_path / "gone")))
    assert [one.steps for one in found if isinstance(one, Gap)] == [20]
    assert len(calls(found)) == 20


# --- the log ----------------------------------------------------------------------------------------------------------


def test_decisions_that_change_something_are_lines_of_json(caplog):
    life = RecordedPool(1).run(200)

    async def work():
        it = DecisionLog(NoRecorder())
        tell(it, life, None)
        assert await it.restore(POOL, None) is None
        it.forget(POOL.uid)
        await it.run()

    with caplog.at_level(logging.INFO, logger="pool_operator.decisions"):
        asyncio.run(work())
    lines = [json.loads(record.message) for record in caplog.records if record.name == "pool_operator.decisions"]
    assert 2 < len(lines) < 200
    assert lines[0]["pool"] == "test/speech"
    assert {line["replicas"] for line in lines} == {step.decision.replicas for step in life.steps}


def test_no_secret_of_a_template_is_told():
    spec = POOL.spec
    container = {
        "name": "worker",
        "image": "x",
        "resources": {"limits": {"memory": "8Gi"}},
        "env": [{"name": "PASSWORD", "value": "hunter2"}, {"name": "PROCESSINGPOOL_MODEL", "value": "tiny.en"}],
    }
    pool = replace(POOL, spec=spec.model_copy(update={"template": {"spec": {"containers": [container]}}}))
    told = json.dumps(tape.about(pool))
    assert "hunter2" not in told
    assert "redis" not in tape.about(pool)["asked"]
    assert "tiny.en" in told
    assert "8Gi" in told
