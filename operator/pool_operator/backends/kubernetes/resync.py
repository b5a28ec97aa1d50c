"""Our own LIST: the first makes the caches complete, the later ones find what a gap of the watch swallowed."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any, Final

from pool_operator.backends.kubernetes import paths
from pool_operator.backends.kubernetes.api import ApiError, ApiUnavailableError, KubeApi
from pool_operator.backends.kubernetes.source import Intake

log = logging.getLogger(__name__)
PERIOD_SECONDS: Final = 60.0
FIRST_RETRY_SECONDS: Final = 2.0
PAGE: Final = 500
Raw = dict[str, Any]


class Resync:
    """Lists all four kinds, in all watched namespaces.

    Args:
        api: the API server.
        intake: where the objects go.
        namespaces: empty: the whole cluster.
    """

    def __init__(self, api: KubeApi, intake: Intake, *, namespaces: Sequence[str]) -> None:
        self._api = api
        self._intake = intake
        self._namespaces = tuple(namespaces) or ("",)

    async def first(self) -> None:
        """List until it works once; only then may anything be decided."""
        while True:
            try:
                await self.once()
            except (ApiError, ApiUnavailableError) as error:
                log.warning("the first LIST failed, again in %g s: %s", FIRST_RETRY_SECONDS, error)
                await asyncio.sleep(FIRST_RETRY_SECONDS)
            else:
                return

    async def run(self) -> None:
        while True:
            await asyncio.sleep(PERIOD_SECONDS)
            try:
                await self.once()
            except (ApiError, ApiUnavailableError) as error:
                log.warning("a LIST failed, the next is in %g s: %s", PERIOD_SECONDS, error)

    async def once(self) -> None:
        """One LIST of each kind, replicas' objects before pools, so that no pool is judged without its own."""
        cache = self._intake.cache
        kinds: tuple[tuple[Callable[[str], str], Callable[[Raw], None], Any, Callable[[str], None]], ...] = (
            (paths.pods, self._intake.pod, cache.pods, cache.drop_pod),
            (paths.replica_sets, self._intake.replica_set, cache.sets, cache.drop_set),
            (paths.deployments, self._intake.deployment, cache.deployments, cache.drop_deployment),
        )
        for path, take, shelf, drop in kinds:
            listed, version = await self._list(path, take, selector=paths.OURS)
            for fact in shelf.missing_from(listed, version=version):
                log.info("%s was deleted in a gap of the watch", fact.id.name)
                drop(fact.id.uid)
        cache.synced = True
        listed, version = await self._list(paths.pools, self._intake.pool, selector="")
        for uid, (key, seen) in list(self._intake.pools.items()):
            if uid not in listed and seen <= version:
                self._intake.pool_gone(uid, key)
        cache.forget_old()

    async def _list(
        self, path: Callable[[str], str], take: Callable[[Raw], None], *, selector: str
    ) -> tuple[set[str], int]:
        """UIDs and the lowest version the lists were made at."""
        found: set[str] = set()
        lowest: int | None = None
        for namespace in self._namespaces:
            async for page in self._pages(path(namespace), selector):
                version = int(page["metadata"].get("resourceVersion") or 0)
                lowest = version if lowest is None else min(lowest, version)
                for raw in page["items"]:
                    found.add(raw["metadata"]["uid"])
                    take(raw)
        return found, lowest or 0

    async def _pages(self, path: str, selector: str) -> AsyncIterator[Raw]:
        query = {"limit": str(PAGE)} | ({"labelSelector": selector} if selector else {})
        while True:
            page = await self._api.get(path, query, seconds=30.0)
            yield page
            following = page["metadata"].get("continue")
            if not following:
                return
            query["continue"] = following
            await asyncio.sleep(0)
