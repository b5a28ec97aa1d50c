"""Composition root for a cluster: builds every part with explicit arguments and runs them together.

Followers keep warm caches: the watch always runs, only the leader's controller acts. Whatever ends unasked ends the
process: a restart is cheap, a half-dead operator is not.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import time
from collections.abc import Coroutine
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from pool_operator.api.models import ProcessingPoolSpec
from pool_operator.backends.base import Applied, PoolKey, PoolObject, Problem
from pool_operator.backends.kubernetes.api import KubeApi
from pool_operator.backends.kubernetes.backend import KubernetesBackend
from pool_operator.backends.kubernetes.cache import ClusterCache
from pool_operator.backends.kubernetes.lease import EPOCHS_PER_LEASE, Elector, Timing
from pool_operator.backends.kubernetes.pools import check_host, parse_pool
from pool_operator.backends.kubernetes.refusals import Allowed
from pool_operator.backends.kubernetes.reporter import KubernetesReporter
from pool_operator.backends.kubernetes.resync import Resync
from pool_operator.backends.kubernetes.secrets import KubernetesSecrets
from pool_operator.backends.kubernetes.source import Intake, watch
from pool_operator.backends.kubernetes.writer import Writer
from pool_operator.engine.types import Decision, Observed
from pool_operator.runtime.clock import SystemClock
from pool_operator.runtime.controller import Controller
from pool_operator.runtime.decision_log import DecisionLog
from pool_operator.runtime.recorder import Recorder
from pool_operator.runtime.redis_recorder import RedisRecorder
from pool_operator.settings import OperatorSettings
from pool_operator.telemetry.health import HealthServer, stuck
from pool_operator.telemetry.metrics import Metrics

log = logging.getLogger(__name__)
SERVICE_ACCOUNT_NAMESPACE: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
LAST_WORDS_SECONDS: Final = 8.0
BEAT_SECONDS: Final = 1.0


class Alone:
    """No election: tests, and installations that promise a single process."""

    leading = True

    def __init__(self, *, started_at: float) -> None:
        self.epoch = int(started_at) * EPOCHS_PER_LEASE
        self.identity = f"alone_{os.getpid()}"


async def run_cluster(settings: OperatorSettings) -> None:
    """Run until SIGTERM or SIGINT (returns), or until a part fails (raises; the process must end).

    Raises:
        LeaseLostError: another process may lead from now on.
        kubernetes.aio's ConfigException: neither in a pod nor with a kubeconfig.
    """
    operator = await Operator.build(settings)
    try:
        await operator.run()
    finally:
        await operator.close()


class Operator:
    """All parts, and the order in which they start and end."""

    def __init__(
        self, settings: OperatorSettings, api: KubeApi, leadership: Alone | Elector, lease_api: KubeApi
    ) -> None:
        self._settings = settings
        self._api = api
        self._lease_api = lease_api
        self._leadership = leadership
        self._clock = SystemClock()
        self._metrics = Metrics()
        api.told = lease_api.told = self._metrics.kube_request
        leading = self._leads
        self._reporter = KubernetesReporter(api, instance=leadership.identity, leading=leading)
        self._cache = ClusterCache(wake=self._wake, monotonic=time.monotonic)
        self._intake = Intake(
            self._cache,
            on_pool=self._on_pool,
            on_pool_gone=self._on_pool_gone,
            heard=lambda resource: self._metrics.watched(resource, self._clock.unix()),
        )
        self._resync = Resync(api, self._intake, namespaces=settings.namespaces)
        self._secrets = KubernetesSecrets(api)
        self._controller = Controller(
            backend=KubernetesBackend(
                cache=self._cache, writer=Writer(api, leading=leading), allowed=_allowed(settings)
            ),
            reporter=self._reporter,
            secrets=self._secrets,
            epoch=lambda _pool_uid: leadership.epoch,
            settings=settings,
            clock=self._clock,
            metrics=self._metrics,
            recorder=self._recorder(),
        )

        self._controller.on_decision.append(_log_change)
        self._beat = self._clock.monotonic()
        self._health = HealthServer(
            host=settings.health_host,
            port=settings.health_port,
            metrics=self._metrics,
            # a beat of our own: the controller's comes only from a leader, and followers are well too
            alive=stuck(lambda: self._clock.monotonic() - self._beat),
            ready=lambda: "" if self._cache.synced else "the caches are not complete yet",
        )

    def _recorder(self) -> Recorder:
        recorder = RedisRecorder(epoch=lambda _pool_uid: self._leadership.epoch, clock=self._clock)
        return DecisionLog(recorder) if self._settings.decision_log else recorder

    @classmethod
    async def build(cls, settings: OperatorSettings) -> Operator:
        api, lease_api = await KubeApi.connect(), await KubeApi.connect()
        if not settings.leader_election:
            return cls(settings, api, Alone(started_at=time.time()), lease_api)
        timing = Timing(
            duration=settings.lease_duration_seconds,
            deadline=settings.renew_deadline_seconds,
            period=settings.retry_period_seconds,
        )
        # its own connections: sixteen hung calls of the backend must not keep the Lease from being renewed
        elector = Elector(lease_api, namespace=_lease_namespace(settings), name=settings.lease_name, timing=timing)
        return cls(settings, api, elector, lease_api)

    def _leads(self) -> bool:
        return self._leadership.leading

    def _wake(self, key: PoolKey) -> None:
        self._controller.wake(key)

    def _on_pool(self, raw: Any) -> None:
        self._controller.upsert(parse_pool(raw, check=self._check))

    def _on_pool_gone(self, key: PoolKey, uid: str) -> None:
        log.debug("pool=%s is gone at its source", key)
        self._reporter.forget(uid)
        self._controller.remove(uid)

    def _check(self, spec: ProcessingPoolSpec) -> Problem | None:
        return check_host(spec, self._settings)

    async def run(self) -> None:
        """Until a signal, or until a part ends; what ended unasked is raised."""
        await self._health.start()
        watch_stop, watch_ready = asyncio.Event(), asyncio.Event()
        # everything of ours before kopf: at its end kopf cancels the tasks that were started after it
        parts = [
            self._start(_signalled(watch_ready), "signal"),
            self._start(self._health.run(), "health"),
            self._start(self._beat_forever(), "beat"),
            self._start(self._act(), "leader"),
            self._start(self._resync.run(), "resync"),
        ]
        watching = watch(self._intake, namespaces=self._settings.namespaces, stop=watch_stop, ready=watch_ready)
        parts.append(self._start(watching, "watch"))
        done, _ = await asyncio.wait(parts, return_when=asyncio.FIRST_COMPLETED)
        for part in parts[:-1]:
            part.cancel()  # the controller first: nothing acts while the rest says goodbye
        await asyncio.gather(*parts[:-1], return_exceptions=True)
        if isinstance(self._leadership, Elector):
            await self._leadership.release()
        watch_stop.set()
        await asyncio.wait(parts[-1:], timeout=LAST_WORDS_SECONDS)
        for part in done:
            part.result()
            # kopf returns quietly only after a signal that came before its handlers were replaced by ours
            if part.get_name() not in {"signal", "watch"}:
                raise RuntimeError(f"the part '{part.get_name()}' ended unasked")

    async def _beat_forever(self) -> None:
        while True:
            self._beat = self._clock.monotonic()
            self._secrets.forget_unasked()
            await self._clock.sleep(BEAT_SECONDS)

    @staticmethod
    def _start(work: Coroutine[Any, Any, Any], name: str) -> asyncio.Task[Any]:
        return asyncio.create_task(work, name=name)

    async def _act(self) -> None:
        """See everything, become the leader, act until the Lease is lost."""
        await self._resync.first()
        if not isinstance(self._leadership, Elector):
            await self._controller.run()
            return
        await self._leadership.acquire()
        work = asyncio.create_task(self._controller.run(), name="controller")
        held = asyncio.create_task(self._leadership.hold(), name="lease")
        try:
            done, _ = await asyncio.wait({work, held}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            # dead work must not keep the Lease, and a lost Lease must end the work
            work.cancel()
            held.cancel()
            with suppress(asyncio.CancelledError):
                await asyncio.gather(work, held, return_exceptions=True)
        for task in done:
            task.result()
        raise RuntimeError("the controller ended unasked")

    async def close(self) -> None:
        await self._api.close()
        await self._lease_api.close()


async def _signalled(watch_ready: asyncio.Event) -> None:
    """Wait for SIGTERM or SIGINT. kopf takes the handlers over when it starts: we take them back when it is ready."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    waits = [asyncio.create_task(stop.wait()), asyncio.create_task(watch_ready.wait())]
    await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    await stop.wait()


def _log_change(pool: PoolObject, decision: Decision, observed: Observed, applied: Applied) -> None:
    if applied.changed and applied.wanted != observed.wanted:
        log.info(
            "pool=%s replicas %d -> %d: %s: %s",
            pool.key,
            observed.wanted,
            applied.wanted,
            decision.reason,
            decision.message,
        )


def _allowed(settings: OperatorSettings) -> Allowed:
    return Allowed(service_accounts=settings.allow_service_accounts, host_access=settings.allow_host_access)


def _lease_namespace(settings: OperatorSettings) -> str:
    """The setting, else the pod's own namespace, else `default` (a developer's kubeconfig)."""
    if settings.lease_namespace:
        return settings.lease_namespace
    try:
        return SERVICE_ACCOUNT_NAMESPACE.read_text(encoding="utf-8").strip()
    except OSError:
        return "default"
