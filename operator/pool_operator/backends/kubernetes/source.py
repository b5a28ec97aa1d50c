"""kopf as watch source: events go into the caches and wake the controller, nothing else.

No daemons, timers, finalizers or annotations: nothing is ever written by kopf. kopf does not report objects that were
deleted in a gap of the watch; resync.py finds them. kopf ends (and with it the process) on errors it cannot get over:
a restart is cheap and changes nothing.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Final

import kopf

from pool_operator.backends.base import PoolKey
from pool_operator.backends.kubernetes import objects, paths
from pool_operator.backends.kubernetes.cache import ClusterCache
from pool_operator.names import GROUP, PLURAL, VERSION

MOST_GONE: Final = 10_000
"""Deleted pools remembered, so that a late event brings none back; UIDs never come again."""
Raw = Any  # kopf hands over a read-only view of the raw object


class Intake:
    """Where objects enter, from the watch and from the LIST alike.

    Args:
        cache: keeps the facts of Deployments, ReplicaSets and Pods.
        on_pool: told of each pool as seen (raw object).
        on_pool_gone: told of each deleted pool.
        heard: told the resource of each event of the watch, for metrics.
    """

    def __init__(
        self,
        cache: ClusterCache,
        *,
        on_pool: Callable[[Raw], None],
        on_pool_gone: Callable[[PoolKey, str], None],
        heard: Callable[[str], None] = lambda _resource: None,
    ) -> None:
        self.cache = cache
        self.heard = heard
        self._on_pool = on_pool
        self._on_pool_gone = on_pool_gone
        self.pools: dict[str, tuple[PoolKey, int]] = {}  # UID -> key, resourceVersion
        self._gone: dict[str, None] = {}

    def pool(self, raw: Raw, *, deleted: bool = False) -> None:
        uid, version = raw["metadata"]["uid"], objects.version(raw)
        key = PoolKey(namespace=raw["metadata"]["namespace"], name=raw["metadata"]["name"])
        if deleted:
            self.pool_gone(uid, key)
        elif uid not in self._gone and self.pools.get(uid, (key, -1))[1] < version:
            self.pools[uid] = (key, version)
            self._on_pool(raw)

    def pool_gone(self, uid: str, key: PoolKey) -> None:
        if uid in self._gone:
            return
        self._gone[uid] = None
        if len(self._gone) > MOST_GONE:
            del self._gone[next(iter(self._gone))]
        self.pools.pop(uid, None)
        self._on_pool_gone(key, uid)

    def deployment(self, raw: Raw, *, deleted: bool = False) -> None:
        if deleted:
            self.cache.drop_deployment(raw["metadata"]["uid"])
        else:
            self.cache.put_deployment(objects.deployment(raw))

    def replica_set(self, raw: Raw, *, deleted: bool = False) -> None:
        if deleted:
            self.cache.drop_set(raw["metadata"]["uid"])
        else:
            self.cache.put_set(objects.replica_set(raw))

    def pod(self, raw: Raw, *, deleted: bool = False) -> None:
        self.cache.put_pod(objects.pod(raw))  # also when deleted: the last state tells why it ended
        if deleted:
            self.cache.drop_pod(raw["metadata"]["uid"])


def build_registry(intake: Intake) -> kopf.OperatorRegistry:
    """A private registry: no import side effects, and several operators may run in one test process."""
    registry = kopf.OperatorRegistry()

    def on(take: Callable[..., None], *resource: str) -> None:
        async def handle(event: Any, **_: Any) -> None:
            intake.heard(resource[-1])
            take(event["object"], deleted=event["type"] == "DELETED")

        kopf.on.event(*resource, registry=registry, id=resource[-1])(handle)

    on(intake.pool, GROUP, VERSION, PLURAL)
    on(intake.deployment, "apps", "v1", "deployments")
    on(intake.replica_set, "apps", "v1", "replicasets")
    on(intake.pod, "", "v1", "pods")

    @kopf.on.login(registry=registry)
    def login(**arguments: Any) -> Any:
        return (
            _by_address(kopf.login_with_service_account(**arguments))
            or kopf.login_with_kubeconfig(**arguments)
            or kopf.login_via_client(**arguments)
        )

    return registry


def _by_address(info: kopf.ConnectionInfo | None) -> kopf.ConnectionInfo | None:
    """The API server's address as the pod is told it, as all clients do; kopf's is a name that only cluster DNS knows."""
    host, port = (os.environ.get(f"KUBERNETES_SERVICE_{part}", "") for part in ("HOST", "PORT"))
    if info is None or not host or not port:
        return info
    return replace(info, server=f"https://{f'[{host}]' if ':' in host else host}:{port}")


def build_settings() -> kopf.OperatorSettings:
    settings = kopf.OperatorSettings()
    settings.posting.enabled = False  # we post our own Events
    settings.scanning.disabled = True  # no watch on CRDs and namespaces, so no rights for them
    settings.networking.request_timeout = 15
    settings.networking.connect_timeout = 5
    settings.watching.connect_timeout = 5
    settings.watching.server_timeout = 300
    settings.watching.chunk_size = 500
    for resource in (("apps", "v1", "deployments"), ("apps", "v1", "replicasets"), ("", "v1", "pods")):
        settings.watching.label_selectors[resource] = paths.OURS
    settings.queueing.idle_timeout = 1.0
    settings.process.ultimate_exiting_timeout = 20
    return settings


async def watch(
    intake: Intake, *, namespaces: Sequence[str], stop: asyncio.Event, ready: asyncio.Event | None = None
) -> None:
    """Watch until `stop`; `ready` is set once kopf has started. Start every other task first: kopf cancels at its end what was started after it."""
    logging.getLogger("kopf").setLevel(logging.WARNING)
    await kopf.operator(
        registry=build_registry(intake),
        settings=build_settings(),
        standalone=True,
        clusterwide=not namespaces,
        namespaces=list(namespaces),
        stop_flag=stop,
        ready_flag=ready,
    )
