"""What the operator asks of an API server in trouble, and how often it writes: against a server that only counts."""

from __future__ import annotations

import asyncio

import pytest
from tests.pure.kubernetes_builders import pool

from pool_operator.backends.base import Credentials, Event, Problem
from pool_operator.backends.kubernetes.api import ApiError, ApiUnavailableError
from pool_operator.backends.kubernetes.cache import ClusterCache
from pool_operator.backends.kubernetes.reporter import EVENT_EVERY_SECONDS, EVENTS_AT_ONCE, KubernetesReporter
from pool_operator.backends.kubernetes.secrets import FORGET_SECONDS, KEEP_SECONDS, KubernetesSecrets
from pool_operator.backends.kubernetes.source import Intake

TROUBLE = [
    ApiError(429, "TooManyRequests", "too many requests"),
    ApiError(500, "InternalError", "etcdserver: request timed out"),
    ApiError(503, "ServiceUnavailable", "apiserver not ready"),
    ApiUnavailableError("GET: no answer"),
]


class Server:
    """Answers with one Secret, or with the trouble it is given; counts Events."""

    def __init__(self):
        self.trouble = None
        self.events = []

    async def get(self, path):
        if self.trouble is not None:
            raise self.trouble
        return {"data": {"password": "aHVzaA=="}}

    async def call(self, method, path, *, body):
        self.events.append(body["note"])


@pytest.mark.parametrize("trouble", TROUBLE, ids=lambda error: str(error)[:3])
def test_credentials_stay_while_the_api_server_is_in_trouble(trouble):
    async def scenario():
        server, now = Server(), [0.0]
        secrets = KubernetesSecrets(server, monotonic=lambda: now[0])
        good = await secrets.credentials("media", "redis")
        assert isinstance(good, Credentials)
        now[0] += KEEP_SECONDS
        server.trouble = trouble
        assert await secrets.credentials("media", "redis") == good
        assert isinstance(await secrets.credentials("media", "never-read"), Problem)
        server.trouble = ApiError(404, "NotFound", "gone")
        assert isinstance(await secrets.credentials("media", "redis"), Problem)

    asyncio.run(scenario())


def test_no_credentials_stay_that_no_pool_asks_for():
    async def scenario():
        server, now = Server(), [0.0]
        secrets = KubernetesSecrets(server, monotonic=lambda: now[0])
        await secrets.credentials("media", "gone")
        good = await secrets.credentials("media", "kept")
        server.trouble = TROUBLE[0]
        for _ in range(3):
            now[0] += FORGET_SECONDS / 2
            assert await secrets.credentials("media", "kept") == good
            secrets.forget_unasked()
        assert isinstance(await secrets.credentials("media", "gone"), Problem)
        now[0] += 2 * FORGET_SECONDS
        secrets.forget_unasked()
        assert (secrets._kept, secrets._asked) == ({}, {})

    asyncio.run(scenario())


def test_of_very_many_deleted_pools_the_oldest_are_forgotten_and_no_late_event_brings_a_young_one_back(monkeypatch):
    monkeypatch.setattr("pool_operator.backends.kubernetes.source.MOST_GONE", 3)
    seen, gone = [], []
    intake = Intake(
        ClusterCache(wake=lambda _key: None, monotonic=lambda: 0.0),
        on_pool=lambda raw: seen.append(raw["metadata"]["uid"]),
        on_pool_gone=lambda _key, uid: gone.append(uid),
    )
    for number in range(5):
        raw = {"metadata": {"uid": f"u{number}", "namespace": "media", "name": "pool", "resourceVersion": "1"}}
        intake.pool(raw)
        intake.pool(raw, deleted=True)
        intake.pool(raw, deleted=True)
        intake.pool(raw)
    assert seen == gone == ["u0", "u1", "u2", "u3", "u4"]
    assert list(intake._gone) == ["u2", "u3", "u4"]
    assert intake.pools == {}


def test_a_pool_that_changes_all_the_time_posts_few_events():
    async def scenario():
        server, now = Server(), [0.0]
        reporter = KubernetesReporter(server, instance="test", leading=lambda: True, monotonic=lambda: now[0])
        for number in range(1000):  # ten seconds
            event = Event(type="Normal", reason="WorkWaiting", message=f"{number} jobs wait")
            await reporter.report(pool(), {}, [event])
            now[0] += 0.01
        assert len(server.events) == EVENTS_AT_ONCE
        now[0] += EVENT_EVERY_SECONDS
        await reporter.report(pool(), {}, [Event(type="Normal", reason="Idle", message="no job")])
        assert server.events[-1] == "no job"

    asyncio.run(scenario())
