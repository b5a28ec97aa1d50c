"""From a job's enqueue to the accepted write of the Deployment's number, on a real API server, the pool at zero.

Beside it, in the same run and turn by turn, the floor: one process that hears the push and patches a Deployment's number
without any decision. Both end at the same point: when the API server has answered the write, by its audit log.
"""

from __future__ import annotations

import asyncio
import os
import random
import ssl
import time
from collections.abc import Callable
from typing import Any, Self

import aiohttp
from redis import Redis
from redis.asyncio import Redis as AsyncRedis
from rq import Queue
from rq.serializers import JSONSerializer
from tests.control_plane.plane import ControlPlane
from tests.servers import Server, redis_server

from benchmarks import cluster
from benchmarks.numbers import quantile, row, spread_ms
from pool_contract import keys

SAMPLES = int(os.environ.get("SAMPLES", "120"))
WARM_UP = 5
POOLS = 4
JOBS = 7
"""Enqueued in one transaction; the pool's maximum is higher, so that the full target is this number."""
POLL_SECONDS = 5.0
WITHOUT_PUSH_SECONDS = 1.0
"""What the operator polls with where Redis sends no events (observe/endpoint.py)."""
SEED = 7


def run() -> list[dict[str, object]]:
    with cluster.control_plane() as plane:
        with redis_server("valkey", "--notify-keyspace-events", "Kl") as server:
            pushed = _measure(plane, server, "pushed", samples=SAMPLES, with_floor=True)
        with redis_server("valkey") as server:
            polled = _measure(plane, server, "polled", samples=max(10, SAMPLES // 4), with_floor=False)
    floor, ours = pushed.floor, pushed.ours
    ratio = quantile(ours, 0.5) / quantile(floor, 0.5)
    p99, slowest = quantile(ours, 0.99) * 1000, max(polled.ours)
    first = sum(pushed.full), len(pushed.full)
    return [
        row("floor: push, PATCH, no decision", spread_ms(floor), samples_ms=_ms(floor)),
        row("ours: enqueue to accepted scale write", spread_ms(ours), samples_ms=_ms(ours)),
        row("p50 of ours / p50 of the floor", f"{ratio:.2f}", "<= 2", holds=ratio <= 2),
        row("p99 of ours", f"{p99:.1f} ms", "<= 100 ms", holds=p99 <= 100),
        row("full target in the first write", f"{first[0]} of {first[1]}", "all", holds=first[0] == first[1]),
        row("push off: enqueue to accepted scale write", spread_ms(polled.ours), samples_ms=_ms(polled.ours)),
        row(
            "push off: slowest",
            f"{slowest:.2f} s",
            f"<= {POLL_SECONDS:g} s, the poll period",
            holds=slowest <= POLL_SECONDS,
            period_without_push_seconds=WITHOUT_PUSH_SECONDS,
        ),
        row("load average while measuring", f"{os.getloadavg()[1]:.1f} on {os.cpu_count()} cores"),
    ]


class Samples:
    def __init__(self) -> None:
        self.floor: list[float] = []
        self.ours: list[float] = []
        self.full: list[bool] = []  # whether the first write asked for all that was needed


def _measure(plane: ControlPlane, server: Server, name: str, *, samples: int, with_floor: bool) -> Samples:
    """Several pools in turn: one comes back to zero while another is measured."""
    taken, gaps = Samples(), random.Random(SEED)
    names = [f"{name}-{number}" for number in range(POOLS)]
    with cluster.operator(plane, "--poll-seconds", str(POLL_SECONDS)), server.client() as client:
        cluster.apply(plane, *(cluster.pool(one, server.port, one) for one in names))
        audit = cluster.AuditLog(plane)

        def pause() -> None:
            """Apart from what the sample before has left to do, and in step with no poll."""
            time.sleep(gaps.uniform(0.5, 1.5))

        def ours(one: str) -> float:
            path = cluster.deployment_path(one)
            cluster.until(lambda: _at_rest(plane, path), f"the pool {one} is at zero")
            pause()
            generation = plane.get(path)["metadata"]["generation"]
            seconds = _sample(client, one, audit, lambda entry: _is_scale(entry, one))
            seen = plane.get(path)
            taken.full.append(seen["spec"]["replicas"] == JOBS and seen["metadata"]["generation"] == generation + 1)
            _empty(client, one)
            return seconds

        with _Floor(plane, server, f"{name}-floor") as floor:
            for number in range(WARM_UP + samples):
                if number == WARM_UP:
                    taken = Samples()
                if with_floor:
                    pause()
                    taken.floor.append(floor.sample(client, audit))
                taken.ours.append(ours(names[number % POOLS]))
        audit.close()
        plane.kubectl("delete", "pools", "--all", "--namespace", cluster.NAMESPACE, "--timeout=60s")
    return taken


def _sample(client: Redis, queue: str, audit: cluster.AuditLog, mine: Callable[[dict[str, Any]], bool]) -> float:
    """Seconds from just before the enqueue until the API server had answered the write."""
    audit.new()
    started = _enqueue(client, queue)
    found = cluster.until(lambda: [one for one in audit.new() if mine(one)], "a scale write", pause_seconds=0.01)
    return cluster.answered_at(found[0]) - started


def _enqueue(client: Redis, name: str) -> float:
    queue = Queue(name, connection=client, serializer=JSONSerializer)
    jobs = [Queue.prepare_data("benchmarks.jobs.noop") for _ in range(JOBS)]
    started = time.time()
    queue.enqueue_many(jobs)
    return started


def _empty(client: Redis, name: str) -> None:
    """With a push, which a DEL alone is not: the next sample need not wait for the poll."""
    pipeline = client.pipeline(transaction=True)
    pipeline.rpush(keys.queue("rq", name), "gone").delete(keys.queue("rq", name))
    pipeline.execute()


def _is_scale(entry: dict[str, Any], name: str) -> bool:
    it = entry.get("objectRef", {})
    accepted = entry["responseStatus"]["code"] == 200
    return accepted and (it.get("subresource"), it.get("name"), entry["verb"]) == ("scale", name, "patch")


def _at_rest(plane: ControlPlane, path: str) -> bool:
    try:
        seen = plane.get(path)
    except OSError:
        return False  # the Deployment is not made yet
    caught_up = seen["status"].get("observedGeneration") == seen["metadata"]["generation"]
    return caught_up and seen["spec"]["replicas"] == 0 and not seen["status"].get("replicas")


class _Floor:
    """Hears the push and patches, in this process, on one kept-alive connection each."""

    def __init__(self, plane: ControlPlane, server: Server, name: str) -> None:
        self._plane, self._server, self.name = plane, server, name
        self._loop = asyncio.new_event_loop()

    def __enter__(self) -> Self:
        body = {
            "metadata": {"name": self.name},
            "spec": {
                "replicas": 0,
                "selector": {"matchLabels": {"app": self.name}},
                "template": {
                    "metadata": {"labels": {"app": self.name}},
                    "spec": {"schedulerName": "nobody", "containers": [{"name": "worker", "image": "worker:1"}]},
                },
            },
        }
        self._plane.post(f"/apis/apps/v1/namespaces/{cluster.NAMESPACE}/deployments", body)
        self._loop.run_until_complete(self._open())
        return self

    async def _open(self) -> None:
        connector = aiohttp.TCPConnector(ssl=_tls(self._plane))
        self._http = aiohttp.ClientSession(connector=connector)
        self._redis = AsyncRedis(port=self._server.port)
        self._events = self._redis.pubsub()
        await self._events.psubscribe(f"__keyspace@0__:{keys.queue('rq', self.name)}")

    def __exit__(self, *exc: object) -> None:
        self._loop.run_until_complete(self._close())
        self._loop.close()

    async def _close(self) -> None:
        await self._http.close()
        await self._events.aclose()
        await self._redis.aclose()

    def sample(self, client: Redis, audit: cluster.AuditLog) -> float:
        path = cluster.deployment_path(self.name)
        audit.new()
        started = self._loop.run_until_complete(self._react(client, JOBS))
        found = cluster.until(
            lambda: [one for one in audit.new() if _is_scale(one, self.name)], "the floor's write", pause_seconds=0.01
        )
        client.delete(keys.queue("rq", self.name))
        self._loop.run_until_complete(self._write(0))
        cluster.until(lambda: _at_rest(self._plane, path), "the floor is at zero again")
        self._loop.run_until_complete(self._drop_events())
        return cluster.answered_at(found[0]) - started

    async def _react(self, client: Redis, replicas: int) -> float:
        started = _enqueue(client, self.name)
        while (await self._events.get_message(ignore_subscribe_messages=True, timeout=5.0)) is None:
            pass
        await self._write(replicas)
        return started

    async def _write(self, replicas: int) -> None:
        url = f"{self._plane.server}{cluster.deployment_path(self.name)}/scale"
        headers = {"Content-Type": "application/merge-patch+json"}
        async with self._http.patch(url, json={"spec": {"replicas": replicas}}, headers=headers) as response:
            assert response.status == 200, await response.text()
            await response.read()

    async def _drop_events(self) -> None:
        while await self._events.get_message(ignore_subscribe_messages=True, timeout=0.02) is not None:
            pass


def _tls(plane: ControlPlane) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(plane.pki.ca))
    context.load_cert_chain(plane.pki.folder / "admin.crt", plane.pki.folder / "admin.key")
    return context


def _ms(values: list[float]) -> list[float]:
    return [round(value * 1000, 2) for value in values]
