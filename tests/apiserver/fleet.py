"""Workers for pods that run nothing: each ready pod of a namespace gets one, which claims real jobs by the contract.

A worker ends with its pod, as SIGKILL would end it. `hits` counts pods that were told to end while their worker held a
job: what must never happen by scaling.
"""

from __future__ import annotations

import asyncio
import json
import random
import threading
from contextlib import contextmanager

import aiohttp
from tests.fakes.backend import FakeBackend, FakeReplica
from tests.fakes.pools import pool_object

from pool_operator.backends.kubernetes.objects import pod as pod_fact


class Fleet(FakeBackend):
    """The workers; `removed`, `removed_while_others_worked` and `hits` count pods."""

    def __init__(self, url, *, job_seconds, seed=1):
        super().__init__(url, start_seconds=0)
        self.span = job_seconds
        self.random = random.Random(seed)
        self.pods = {}
        self.removed = 0
        self.removed_while_others_worked = 0
        self.hits = []

    @property
    def working(self):
        return sum(bool(one.running) for one in tuple(self.pods.values()))

    async def _work(self, one, incarnation):
        self.job_seconds = self.random.uniform(*self.span)
        await super()._work(one, incarnation)

    def see(self, event, queues):
        pod = pod_fact(event["object"])
        if event["type"] == "DELETED" or pod.id.deletion_at is not None:
            self._gone(pod.id.uid)
        elif pod.ready and pod.id.uid not in self.pods:
            one = FakeReplica(id=pod.id.uid, pool_uid=pod.id.pool_uid, queues=queues, created_at=pod.created_at)
            self.pods[one.id] = one
            one.task = asyncio.create_task(self._live(pool_object(uid=one.pool_uid), one))

    def _gone(self, uid):
        one = self.pods.pop(uid, None)
        if one is None:
            return
        self.removed += 1
        self.removed_while_others_worked += self.working > 0
        if one.running:
            self.hits.append(uid)
        one.task.cancel()

    async def follow(self, plane, namespace, queues):
        """Watch the namespace's pods until cancelled."""
        url = f"{plane.server}/api/v1/namespaces/{namespace}/pods"
        timeout = aiohttp.ClientTimeout(total=None)
        async with aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=plane.tls()), timeout=timeout, read_bufsize=2**20
        ) as session:
            try:
                async with session.get(url, params={"watch": "1"}) as response:
                    async for line in response.content:
                        self.see(json.loads(line), queues)
            finally:
                for one in self.pods.values():
                    one.task.cancel()


@contextmanager
def fleet(plane, namespace, url, *, queues=("default",), job_seconds=(0.1, 0.4)):
    """A fleet in a thread of its own for the length of the block."""
    it = Fleet(url, job_seconds=job_seconds)
    started, loop = threading.Event(), asyncio.new_event_loop()
    tasks = []

    async def play():
        async with it:
            tasks.append(asyncio.create_task(it.follow(plane, namespace, queues)))
            started.set()
            await asyncio.gather(*tasks, return_exceptions=True)

    thread = threading.Thread(target=lambda: loop.run_until_complete(play()), name="fleet")
    thread.start()
    started.wait()
    try:
        yield it
    finally:
        loop.call_soon_threadsafe(tasks[0].cancel)
        thread.join(20)
        loop.close()
