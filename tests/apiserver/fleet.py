"""Workers for pods that run nothing: each ready pod of a namespace gets one, which claims real jobs by the contract.

A worker ends with its pod, as SIGKILL would end it. `hits` counts pods that were told to end while their worker held a
job: what must never happen by scaling.
"""

from __future__ import annotations

import asyncio
import json
import random
import subprocess
import threading
import time
import uuid
from contextlib import contextmanager, suppress

from redis.exceptions import RedisError
from tests.control_plane.process import end_with_parent
from tests.fakes.backend import FakeBackend, FakeReplica

from pool_contract import scripts
from pool_contract.scripts import AsyncScripts
from pool_operator.backends.kubernetes.objects import pod as pod_fact

LOOK_SECONDS = 0.1
REPORT_SECONDS = 2.0


class Fleet(FakeBackend):
    """The workers; `removed`, `removed_while_others_worked` and `hits` count pods, `done` jobs."""

    def __init__(self, url, queues):
        super().__init__(url)
        self.queues = queues
        self.random = random.Random(1)
        self.draw = lambda dice: dice.uniform(0.1, 0.4)  # how long the next job takes; change it at any time
        self.pods = {}
        self.tasks = []
        self.removed = 0
        self.removed_while_others_worked = 0
        self.hits = []

    def see(self, event):
        """A watch event of a pod."""
        pod = pod_fact(event["object"])
        if event["type"] == "DELETED" or pod.id.deletion_at is not None:
            self._gone(pod.id.uid)
        elif pod.ready and pod.id.uid not in self.pods:
            one = FakeReplica(id=pod.id.uid, pool_uid=pod.id.pool_uid, queues=self.queues, created_at=pod.created_at)
            self.pods[one.id] = one
            one.task = asyncio.create_task(self._live(None, one))
            self.tasks.append(one.task)

    def _gone(self, uid):
        one = self.pods.pop(uid, None)
        if one is None:
            return
        self.removed += 1
        self.removed_while_others_worked += any(other.running for other in self.pods.values())
        if one.running:
            self.hits.append(uid)
        one.task.cancel()

    async def _live(self, pool, one):
        incarnation, registered, reported = uuid.uuid4().hex, False, 0.0
        while True:
            with suppress(RedisError, OSError):
                if not registered:
                    await self._register(one, incarnation)
                    registered, one.ready_at = True, time.time()
                if time.monotonic() - reported > REPORT_SECONDS:
                    await self._report(one, incarnation)
                    reported = time.monotonic()
                if await self._work(one, incarnation):
                    continue
            await asyncio.sleep(LOOK_SECONDS)

    async def _work(self, one, incarnation):
        """One job, if there is one."""
        call = scripts.claim(
            self.prefix,
            pool=one.pool_uid,
            replica=one.id,
            incarnation=incarnation,
            worker=one.id,
            queues=one.queues,
            execution_id=uuid.uuid4().hex,
        )
        claimed = (await AsyncScripts(self.redis).run(call)).claimed
        if claimed is None:
            return False
        one.running[claimed.job_id] = claimed
        seconds = self.draw(self.random)
        await asyncio.sleep(seconds)
        await self._finish(one, claimed, seconds)
        return True

    async def play(self, stopped):
        async with self:
            await stopped.wait()
            for task in self.tasks:
                task.cancel()
            await asyncio.gather(*self.tasks, return_exceptions=True)


@contextmanager
def fleet(plane, namespace, url, *, queues=("default",)):
    """A fleet in a thread of its own for the length of the block."""
    it, loop, stopped = Fleet(url, queues), asyncio.new_event_loop(), asyncio.Event()
    working = threading.Thread(target=lambda: loop.run_until_complete(it.play(stopped)), name="fleet")
    working.start()
    watch = subprocess.Popen(
        [*plane.kubectl_command(), "get", "--raw", f"/api/v1/namespaces/{namespace}/pods?watch=1"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        preexec_fn=end_with_parent,
    )

    def follow():
        for line in watch.stdout:
            loop.call_soon_threadsafe(it.see, json.loads(line))

    watching = threading.Thread(target=follow, name="fleet watch")
    watching.start()
    try:
        yield it
    finally:
        watch.kill()
        watch.wait()
        watching.join()
        watch.stdout.close()
        loop.call_soon_threadsafe(stopped.set)
        working.join()
        loop.close()
