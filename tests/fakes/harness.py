"""A whole controller in this event loop: real Redis, fake replicas, fake reporter."""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from contextlib import asynccontextmanager

from redis.asyncio import Redis
from tests.fakes.backend import FakeBackend, FakeReporter, FakeSecrets
from tests.fakes.pools import pool_object

from pool_contract import keys
from pool_operator.backends.base import Credentials
from pool_operator.runtime.clock import SystemClock
from pool_operator.runtime.controller import Controller
from pool_operator.settings import OperatorSettings
from pool_operator.telemetry.metrics import Metrics

PATIENCE_SECONDS = 20.0


class AheadClock(SystemClock):
    """The machine's clock, put ahead by a test; Redis' clock stays."""

    def __init__(self, ahead_seconds=0.0):
        self.ahead_seconds = ahead_seconds

    def unix(self):
        return super().unix() + self.ahead_seconds


class Running:
    """What a test needs of a running controller."""

    def __init__(self, port, backend, *, secrets=None, epoch=7, clock=None, recorder=None, **settings):
        self.port = port
        self.backend = backend
        self.reporter = FakeReporter()
        self.secrets = secrets or FakeSecrets()
        self.metrics = Metrics()
        self.epoch = epoch
        self.clock = clock or AheadClock()
        self.decisions = []
        defaults = {"poll_seconds": 0.25, "housekeeping_seconds": 0.25, "resync_seconds": 5}
        self.controller = Controller(
            backend=backend,
            reporter=self.reporter,
            secrets=self.secrets,
            epoch=lambda _uid: self.epoch,
            settings=OperatorSettings(**(defaults | settings)),
            clock=self.clock,
            metrics=self.metrics,
            recorder=recorder(self) if recorder else None,
        )
        backend.unix = self.clock.unix
        backend.wake = self.controller.wake
        self.controller.on_decision.append(
            lambda pool, decision, observed, applied: self.decisions.append((pool.key.name, decision, observed))
        )
        self.task: asyncio.Task | None = None

    def pool(self, name="pool", **changes):
        redis = {"host": "127.0.0.1", "port": self.port} | changes.pop("redis", {})
        return pool_object(name, redis=redis, **changes)

    def start(self):
        self.task = asyncio.create_task(self.controller.run())

    async def stop(self):
        if self.task is not None:
            self.task.cancel()
            await asyncio.gather(self.task, return_exceptions=True)

    async def until(self, condition, what, *, seconds=PATIENCE_SECONDS):
        end = time.monotonic() + seconds
        while True:
            if self.task is not None and self.task.done() and self.task.exception():
                raise self.task.exception()
            if found := condition():
                return found
            assert time.monotonic() < end, f"never: {what}; {self.last()}"
            await asyncio.sleep(0.01)

    async def until_async(self, question, what, *, seconds=PATIENCE_SECONDS):
        """As `until`, for a question that must be awaited."""
        end = time.monotonic() + seconds
        while not (found := await question()):
            assert time.monotonic() < end, f"never: {what}; {self.last()}"
            await asyncio.sleep(0.02)
        return found

    async def steadily(self, condition, what, *, seconds):
        """The condition holds all the time."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            assert condition(), f"not steadily: {what}; {self.last()}"
            await asyncio.sleep(0.01)

    def last(self, name=None):
        found = [one for one in self.decisions if name in {None, one[0]}]
        return found[-1][1] if found else None

    def count(self, pool):
        return len(self.backend.replicas.get(pool.uid, {}))

    def metric(self, name, **labels):
        """The value of a series of the pool `pool`; None while it is not told."""
        labels = {"pool_namespace": "test", "pool": "pool"} | labels
        return self.metrics.registry.get_sample_value(f"processingpool_{name}", labels)

    async def condition(self, name, kind, expected, *, words=""):
        """Wait for (status, reason) of a condition; returns its message."""

        def there():
            found = self.reporter.condition(name, kind)
            return found if found and found[:2] == expected and words in found[2] else None

        found = await self.until(there, f"{kind} {expected}, is {self.reporter.condition(name, kind)}")
        return found[2]


@asynccontextmanager
async def running(port, *, start=True, backend_options=None, url=None, **options):
    """Start a controller over the Redis on this port of the loopback; everything of it ends with the block."""
    async with FakeBackend(url or f"redis://127.0.0.1:{port}", **(backend_options or {})) as backend:
        it = Running(port, backend, **options)
        if start:
            it.start()
        try:
            yield it
        finally:
            await it.stop()


async def enqueue(redis: Redis, number=1, *, queue="default", prefix="rq"):
    """Jobs as RQ leaves them, all in one transaction; their payload is never read."""
    ids = [uuid.uuid4().hex for _ in range(number)]
    now = time.strftime("%Y-%m-%dT%H:%M:%S.000000Z", time.gmtime())
    pipeline = redis.pipeline(transaction=True)
    for job in ids:
        pipeline.hset(keys.job(prefix, job), mapping=job_hash(queue, now, "queued"))
    pipeline.sadd(keys.queues(prefix), keys.queue(prefix, queue))
    pipeline.rpush(keys.queue(prefix, queue), *ids)
    await pipeline.execute()
    return ids


async def schedule(redis: Redis, at, *, queue="default", prefix="rq"):
    """One job for later, as RQ leaves it."""
    job = uuid.uuid4().hex
    now = time.strftime("%Y-%m-%dT%H:%M:%S.000000Z", time.gmtime())
    pipeline = redis.pipeline(transaction=True)
    pipeline.hset(keys.job(prefix, job), mapping=job_hash(queue, now, "scheduled"))
    pipeline.sadd(keys.queues(prefix), keys.queue(prefix, queue))
    pipeline.zadd(keys.scheduled(prefix, queue), {job: int(at)})
    await pipeline.execute()
    return job


def job_hash(queue, now, status):
    return {
        "status": status,
        "origin": queue,
        "created_at": now,
        "enqueued_at": now,
        "data": json.dumps(["nowhere.nothing", None, [], {}]),
        "timeout": "180",
    }


def secret(password, *, username=None):
    return Credentials(username=username, password=password)
