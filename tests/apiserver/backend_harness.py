"""The Kubernetes backend in this process, on a real API server: source, caches, writer; the test plays the reconciler."""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager

from pool_operator.backends.base import ConflictError, Target
from pool_operator.backends.kubernetes.api import KubeApi
from pool_operator.backends.kubernetes.backend import KubernetesBackend
from pool_operator.backends.kubernetes.cache import ClusterCache
from pool_operator.backends.kubernetes.pools import parse_pool
from pool_operator.backends.kubernetes.resync import Resync
from pool_operator.backends.kubernetes.source import Intake, watch
from pool_operator.backends.kubernetes.writer import Writer

PATIENCE_SECONDS = 60.0


class Harness:
    """What a test needs: the pool as last seen, the backend, and waiting for things."""

    def __init__(self, api: KubeApi, namespace: str) -> None:
        self.api = api
        self.namespace = namespace
        self.pools = {}
        self.gone = []
        self.leading = True
        self._changed = asyncio.Event()
        self.cache = ClusterCache(wake=lambda _: self._changed.set(), monotonic=time.monotonic)
        self.intake = Intake(self.cache, on_pool=self._on_pool, on_pool_gone=lambda key, uid: self.gone.append(uid))
        self.writer = Writer(api, leading=lambda: self.leading)
        self.backend = KubernetesBackend(cache=self.cache, writer=self.writer)

    def _on_pool(self, raw):
        pool = parse_pool(raw, check=lambda _: None)
        if pool.key.namespace != self.namespace:
            return  # a cluster-wide watch also shows what other tests leave behind
        self.pools[pool.key.name] = pool
        self._changed.set()

    def view(self, name):
        return self.backend.view(self.pools[name])

    async def until(self, condition, *, what):
        """Wait for a condition on the caches; looks again at each change and twice a second."""
        end = time.monotonic() + PATIENCE_SECONDS
        while not (found := condition()):
            assert time.monotonic() < end, f"not within {PATIENCE_SECONDS:g} s: {what}"
            self._changed.clear()
            try:
                await asyncio.wait_for(self._changed.wait(), 0.5)
            except TimeoutError:
                continue
        return found

    async def pool(self, name):
        await self.until(lambda: name in self.pools, what=f"pool {name} seen")
        return self.pools[name]

    async def step(self, name, replicas, *, drained=(), idle=()):
        """One apply that comes through; a conflict is answered with another look, as the reconciler does."""
        target = Target(
            replicas=replicas,
            slots=1,
            drained=frozenset(drained),
            leaving=frozenset(drained),
            idle=frozenset(idle),
        )
        for _ in range(50):
            try:
                return await self.backend.apply(self.pools[name], target)
            except ConflictError:
                await asyncio.sleep(0.1)
        raise AssertionError("only conflicts")

    async def drive(self, name, replicas, *, until, what, drained=(), idle=()):
        """Apply the same target again and again, as the controller would, until the caches show what is wanted."""
        end = time.monotonic() + PATIENCE_SECONDS
        while not until(self.view(name)):
            assert time.monotonic() < end, f"not within {PATIENCE_SECONDS:g} s: {what}"
            await self.step(name, replicas, drained=drained, idle=idle)
            self._changed.clear()
            try:
                await asyncio.wait_for(self._changed.wait(), 0.25)
            except TimeoutError:
                continue

    async def ready(self, name, count):
        def enough(view):
            return sum(one.phase == "Ready" for one in view.replicas) == count == len(view.replicas)

        await self.drive(name, count, until=enough, what=f"{count} replicas ready")
        return [one.id for one in self.view(name).replicas]

    def deployment(self, name):
        return self.cache.facts(self.pools[name].uid, name).deployment


@asynccontextmanager
async def harness(namespace, *, namespaces=None):
    api = await KubeApi.connect()
    it = Harness(api, namespace)
    resync = Resync(api, it.intake, namespaces=[namespace] if namespaces is None else namespaces)
    stop = asyncio.Event()
    await resync.first()
    watching = asyncio.create_task(
        watch(it.intake, namespaces=[namespace] if namespaces is None else namespaces, stop=stop)
    )
    try:
        yield it
    finally:
        stop.set()
        await asyncio.wait([watching], timeout=8)
        await api.close()
        await asyncio.sleep(0.2)  # TLS connections close in the background; the loop must still be there
