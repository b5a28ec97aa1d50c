"""An endpoint on a real server hands on what ended, what runs and what comes."""

from __future__ import annotations

import asyncio
import json
import time

import pytest
from tests.redis.contract_harness import POOL, PREFIX, Office

from pool_contract import keys, scripts
from pool_contract.messages import JobReport, PoolSettings, ReplicaReport
from pool_operator.backends.base import Credentials
from pool_operator.engine.types import Reading, Replica, ReplicaPhase, Run
from pool_operator.observe.connection import EndpointKey, Place
from pool_operator.observe.endpoint import Endpoint
from pool_operator.observe.readings import pool_reading, seen_replicas
from pool_operator.observe.seen import Seen
from pool_operator.runtime.clock import SystemClock

RUNS = keys.runs(PREFIX, POOL)
QUEUES = ("default",)


@pytest.fixture
def office(server):
    office = Office(server)
    office.register("r1")
    yield office
    office.redis.close()


class Watch:
    """An endpoint at work, and what it told."""

    def __init__(self, server, cursor=(0, 0)):
        self.told = []
        self.endpoint = Endpoint(
            EndpointKey(place=Place(host="127.0.0.1", port=server.port, database=0, prefix=PREFIX)),
            Credentials(),
            poll_seconds=0.02,
            stale_seconds=30.0,
            clock=SystemClock(),
            changed=lambda uids, _grown: self.told.extend(uids),
        )
        self.endpoint.attach(POOL, QUEUES, cursor)

    def runs(self, cursor=(0, 0)):
        return self.endpoint.ended_runs(POOL, cursor)

    async def until(self, condition, what):
        end = time.monotonic() + 60
        while not (value := condition()):
            assert time.monotonic() < end, f"never: {what}"
            await asyncio.sleep(0.005)
        return value

    async def seen(self, after=0.0):
        """A reading that was asked for after now."""
        now = time.monotonic()
        found = lambda: (it := self.endpoint.latest(POOL)) and isinstance(it, Seen) and it.asked_monotonic > now and it  # noqa: E731
        return await self.until(found, "a new reading")


def play(scenario, server, **options):
    async def main():
        watch = Watch(server, **options)
        async with asyncio.TaskGroup() as tasks:
            task = tasks.create_task(watch.endpoint.run())
            await scenario(watch)
            task.cancel()

    asyncio.run(main())


def add(office, number, count=1):
    pipeline = office.redis.pipeline(transaction=False)
    for index in range(count):
        record = {"job": f"j{number + index}", "queue": "default", "replica": "r1", "outcome": "Finished"}
        pipeline.xadd(RUNS, {"run": json.dumps(record | {"seconds": number + index})})
    return [tuple(map(int, one.decode().split("-"))) for one in pipeline.execute()]


def test_runs_come_once_and_a_run_that_ended_is_a_change(office, server):
    add(office, 0, 3)

    async def scenario(watch):
        first = await watch.until(watch.runs, "the last runs")
        assert [one.seconds for one in first] == [0, 1, 2]
        assert first[-1].at == pytest.approx(time.time(), abs=30)
        cursor = first[-1].id
        await watch.seen()
        assert watch.runs(cursor) == ()
        watch.told.clear()
        (new,) = add(office, 3)
        await watch.until(lambda: watch.told, "a change")
        assert [one.id for one in watch.runs(cursor)] == [new]

    play(scenario, server)


def test_a_restored_cursor_gets_all_that_came_since_also_more_than_one_reading_holds(office, server):
    cursor, *_ = add(office, 0, 3 * scripts.RUNS_AT_MOST)

    async def scenario(watch):
        await watch.until(lambda: len(watch.runs(cursor)) == 3 * scripts.RUNS_AT_MOST - 1, "all of them")
        assert [one.seconds for one in watch.runs(cursor)] == list(range(1, 3 * scripts.RUNS_AT_MOST))

    play(scenario, server, cursor=cursor)


def test_a_memory_restored_after_reading_began_gets_all_that_came_since(office, server):
    cursor, *_ = add(office, 0, 2 * scripts.RUNS_AT_MOST)

    async def scenario(watch):
        await watch.until(lambda: len(watch.runs()) == scripts.RUNS_AT_MOST, "the last ones")
        watch.endpoint.attach(POOL, QUEUES, cursor)
        await watch.until(lambda: len(watch.runs(cursor)) == 2 * scripts.RUNS_AT_MOST - 1, "all since the cursor")

    play(scenario, server)


def test_what_somebody_else_wrote_there_breaks_no_reading(office, server):
    office.redis.xadd(RUNS, {"run": b"\xff", "more": "fields"})
    office.redis.hset(keys.size_hint(PREFIX), mapping={"junk": "nan"})
    office.redis.hset(keys.limits(PREFIX, POOL), "used", "much")

    async def scenario(watch):
        seen = await watch.seen()
        assert pool_reading(seen, POOL, QUEUES).allowance_used == 0.0
        add(office, 1)
        await watch.until(watch.runs, "the run behind it")
        office.redis.delete(RUNS)
        office.redis.set(RUNS, "text")
        await watch.seen()
        assert [one.seconds for one in watch.runs()] == [1]

    play(scenario, server)


def test_a_reading_tells_money_hints_coming_jobs_and_since_when_jobs_run(office, server):
    settings = PoolSettings(namespace="n", name="p", queues=QUEUES, commitment=0.5)
    office.run(scripts.publish_settings(PREFIX, pool=POOL, epoch=1, settings=settings))
    office.run(scripts.grant(PREFIX, pool=POOL, epoch=1, granted=5.0, used=0.0, ttl_seconds=600))
    jobs = [office.enqueue() for _ in range(3)]
    office.redis.hset(keys.size_hint(PREFIX), mapping=dict.fromkeys(jobs[:2], 60))
    claim = office.claim("r1")
    said = JobReport(
        job_id=claim.job_id, queue="default", started_at=1.0, claimed_at=claim.claimed_at, hint_seconds=60.0
    )
    report = ReplicaReport(
        replica="r1", pool=POOL, incarnation="i-r1", phase="Ready", at=1.0, started_at=1.0, slots=2, jobs=(said,)
    )
    office.run(scripts.report(PREFIX, report=report))
    due = office.redis.zscore(keys.scheduled(PREFIX, "default"), office.schedule(500))
    pod = Replica(id="r1", phase=ReplicaPhase.READY, created_at=0.0)

    def told(seen):
        reading = pool_reading(seen, POOL, QUEUES)
        assert isinstance(reading, Reading)
        (replica,) = seen_replicas(
            [pod], seen.state.pools[POOL], slots=1, suspects=frozenset(), marks={}, skew_seconds=seen.skew_seconds
        )
        return reading, replica

    async def scenario(watch):
        seen = await watch.seen()
        reading, replica = told(seen)
        queue = reading.queues["default"]
        assert reading.allowance_used == 0.5
        assert (queue.hinted, queue.hinted_seconds) == (1, 60.0)
        assert queue.upcoming == (due + seen.skew_seconds,)
        assert replica.runs == (Run(claim.claimed_at + seen.skew_seconds, 60.0),)

    play(scenario, server)
