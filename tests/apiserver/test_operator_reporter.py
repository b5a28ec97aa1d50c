"""Status, Events and Secrets on a real API server: written on change only, readable with kubectl."""

from __future__ import annotations

import asyncio
import base64

from tests.apiserver.backend_harness import harness
from tests.apiserver.test_operator_backend import POOL, create

from pool_operator.backends.base import Event, Problem
from pool_operator.backends.kubernetes import paths
from pool_operator.backends.kubernetes.reporter import LEAST_INTERVAL_SECONDS, KubernetesReporter
from pool_operator.backends.kubernetes.secrets import KubernetesSecrets
from pool_operator.names import ConditionReason


def status(replicas, *, ready="True", message="all is well", at="2027-01-15T08:00:00Z"):
    return {
        "replicas": replicas,
        "decision": {"reason": "WorkFits", "message": message, "at": at},
        "conditions": [{"type": "Ready", "status": ready, "reason": "Ok", "message": message, "observedGeneration": 1}],
    }


async def stored(h):
    return await h.api.get(f"{paths.pools(h.namespace)}/{POOL}")


def run(namespace, scenario):
    async def play():
        async with harness(namespace) as h:
            await create(h)
            reporter = KubernetesReporter(h.api, instance="test", leading=lambda: h.leading)
            await scenario(h, reporter)

    asyncio.run(play())


async def written(h, replicas):
    await h.until(lambda: h.pools[POOL].status.get("replicas") == replicas, what=f"status with {replicas} replicas")


def test_an_unchanged_status_is_not_written_again_not_even_after_a_restart(namespace):
    async def scenario(h, reporter):
        await reporter.report(h.pools[POOL], status(2), [])
        await written(h, 2)
        before = (await stored(h))["metadata"]["resourceVersion"]
        await asyncio.sleep(LEAST_INTERVAL_SECONDS)
        await reporter.report(h.pools[POOL], status(2, at="2027-01-15T09:00:00Z"), [])
        restarted = KubernetesReporter(h.api, instance="test-2", leading=lambda: True)
        await restarted.report(h.pools[POOL], status(2, at="2027-01-15T10:00:00Z"), [])
        assert (await stored(h))["metadata"]["resourceVersion"] == before

    run(namespace, scenario)


def test_changes_within_a_second_are_written_as_one_and_the_last_wins(namespace):
    async def scenario(h, reporter):
        for replicas in range(1, 6):
            await reporter.report(h.pools[POOL], status(replicas), [])
        seen = (await stored(h))["status"]["replicas"]
        assert seen == 1
        await written(h, 5)

    run(namespace, scenario)


def test_a_conditions_time_moves_only_with_its_status(namespace):
    async def scenario(h, reporter):
        await reporter.report(h.pools[POOL], status(1), [])
        await written(h, 1)
        first = (await stored(h))["status"]["conditions"][0]
        await asyncio.sleep(LEAST_INTERVAL_SECONDS + 0.1)
        await reporter.report(h.pools[POOL], status(2, message="still well"), [])
        await written(h, 2)
        second = (await stored(h))["status"]["conditions"][0]
        assert second["message"] == "still well"
        assert second["lastTransitionTime"] == first["lastTransitionTime"]
        await asyncio.sleep(LEAST_INTERVAL_SECONDS + 0.1)
        await reporter.report(h.pools[POOL], status(3, ready="False"), [])
        await written(h, 3)
        assert (await stored(h))["status"]["conditions"][0]["lastTransitionTime"] > first["lastTransitionTime"]

    run(namespace, scenario)


def test_who_does_not_lead_writes_nothing(namespace):
    async def scenario(h, reporter):
        h.leading = False
        event = Event(type="Normal", reason="WorkWaiting", message="0 -> 3")
        await reporter.report(h.pools[POOL], status(7), [event])
        assert "replicas" not in ((await stored(h)).get("status") or {})
        events = (await h.api.get(paths.events(h.namespace)))["items"]
        assert [one for one in events if one["regarding"].get("name") == POOL] == []

    run(namespace, scenario)


def test_an_event_is_posted_once_and_kubectl_describe_shows_it(namespace, kubectl):
    async def scenario(h, reporter):
        event = Event(type="Normal", reason="WorkWaiting", message="replicas 0 -> 3: 3 jobs wait " + "ü" * 2000)
        await reporter.report(h.pools[POOL], status(3), [event])
        await reporter.report(h.pools[POOL], status(3), [event])

    run(namespace, scenario)
    described = kubectl("describe", "processingpool", POOL, "--namespace", namespace)
    assert described.count("replicas 0 -> 3: 3 jobs wait") == 1
    assert "processingpool.dev/operator" in described


def test_a_secret_is_read_by_name_and_what_is_wrong_with_it_is_said(namespace):
    async def scenario(h, _):
        def encoded(text):
            return base64.b64encode(text).decode()

        async def read(name):  # a fresh reader: the real one keeps its answer for some seconds
            return await KubernetesSecrets(h.api).credentials(namespace, name)

        missing = await read("redis")
        assert isinstance(missing, Problem)
        assert missing.reason is ConditionReason.SECRET_NOT_FOUND
        assert "there is no Secret 'redis'" in missing.message
        path = f"/api/v1/namespaces/{namespace}/secrets"
        data = {"username": encoded(b"user\n"), "password": encoded(b"p w\n"), "ca.crt": encoded(b"PEM")}
        await h.api.call("POST", path, body={"metadata": {"name": "redis"}, "data": data})
        found = await read("redis")
        assert (found.username, found.password, found.ca_pem) == ("user", "p w", "PEM")
        assert "p w" not in repr(found)
        binary = {"metadata": {"name": "binary"}, "data": {"password": encoded(b"\xff\xfe")}}
        await h.api.call("POST", path, body=binary)
        assert "must be text" in (await read("binary")).message

    run(namespace, scenario)
