"""Which pool reads which endpoint: credentials in, connections shared, the last pool gone closes the connection."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from pool_operator.backends.base import Credentials, Problem, SecretReader
from pool_operator.names import ConditionReason
from pool_operator.observe.connection import EndpointKey, endpoint_key
from pool_operator.observe.endpoint import Endpoint
from pool_operator.runtime.clock import Clock
from pool_operator.runtime.housekeeping import Housekeeper, Kept
from pool_operator.runtime.store import Entry, Store
from pool_operator.settings import OperatorSettings
from pool_operator.telemetry.metrics import Metrics

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Open:
    endpoint: Endpoint
    tasks: tuple[asyncio.Task[None], ...]


class Endpoints:
    """All endpoints of this process.

    Args:
        changed: told pool UIDs whose reading changed, and whether more work waits.
    """

    def __init__(
        self,
        *,
        store: Store,
        secrets: SecretReader,
        settings: OperatorSettings,
        clock: Clock,
        metrics: Metrics,
        changed: Callable[[Iterable[str], bool], None],
    ) -> None:
        self._store = store
        self._secrets = secrets
        self._settings = settings
        self._clock = clock
        self._metrics = metrics
        self._changed = changed
        self._open: dict[EndpointKey, _Open] = {}

    async def attach(self, entry: Entry, tasks: asyncio.TaskGroup) -> None:
        """Connect the pool to where its spec and its Secret say now; nothing happens if that is where it is."""
        spec = entry.spec
        if spec is None:
            return
        if spec.redis is None:
            self._no_endpoint(
                entry,
                _problem(ConditionReason.SPEC_INVALID, "spec.redis is missing: name the Redis that holds the queues"),
            )
            return
        credentials: Credentials | Problem = Credentials()
        if spec.redis.credentials_secret_ref is not None:
            credentials = await self._secrets.credentials(
                entry.pool.key.namespace, spec.redis.credentials_secret_ref.name
            )
        if isinstance(credentials, Problem):
            # a deleted pool's Secret may go before its last claim ends: what it had is still good
            if not (entry.ending and entry.endpoint is not None):
                self._no_endpoint(entry, credentials)
            return
        self._move(entry, endpoint_key(spec.redis, credentials), credentials, tasks)

    def _move(self, entry: Entry, key: EndpointKey, credentials: Credentials, tasks: asyncio.TaskGroup) -> None:
        uid = entry.pool.uid
        if self._store.get(uid) is not entry:
            return  # retired while its Secret was read
        entry.endpoint_problem = None
        if entry.endpoint is not None and entry.endpoint.key != key:
            self.release(entry)
        if entry.endpoint is None:
            entry.endpoint = self._opened(key, credentials, tasks).endpoint
            entry.settings = None
        entry.endpoint.attach(uid, entry.queues, entry.memory.cursor)
        self._changed((uid,), False)

    def _no_endpoint(self, entry: Entry, problem: Problem) -> None:
        known = entry.endpoint_problem
        if known is None or known[1] != problem:
            entry.endpoint_problem = (known[0] if known else self._clock.unix(), problem)
            log.warning("pool=%s %s", entry.pool.key, problem.message)
        self.release(entry)
        self._changed((entry.pool.uid,), False)

    def release(self, entry: Entry) -> None:
        """Take the pool off its endpoint."""
        endpoint, entry.endpoint = entry.endpoint, None
        if endpoint is None:
            return
        endpoint.detach(entry.pool.uid)
        if not any(other.endpoint is endpoint for other in self._store):
            for task in self._open.pop(endpoint.key).tasks:
                task.cancel()

    def _opened(self, key: EndpointKey, credentials: Credentials, tasks: asyncio.TaskGroup) -> _Open:
        known = self._open.get(key)
        if known is not None:
            return known
        endpoint = Endpoint(
            key,
            credentials,
            poll_seconds=self._settings.poll_seconds,
            stale_seconds=self._settings.stale_seconds,
            clock=self._clock,
            changed=self._changed,
            count=self._metrics.redis_request,
        )
        keeper = Housekeeper(
            endpoint,
            kept=lambda: self._kept(endpoint),
            known=lambda uid: self._store.get(uid) is not None,
            period_seconds=self._settings.housekeeping_seconds,
            clock=self._clock,
            metrics=self._metrics,
        )
        opened = _Open(
            endpoint,
            (
                tasks.create_task(endpoint.run(), name=f"endpoint {key}"),
                tasks.create_task(keeper.run(), name=f"housekeeping {key}"),
            ),
        )
        self._open[key] = opened
        return opened

    def _kept(self, endpoint: Endpoint) -> list[Kept]:
        return [
            Kept(
                uid=entry.pool.uid,
                queues=entry.queues,
                max_losses=entry.spec.jobs.max_losses,
                excused_replicas=tuple(entry.excused),
            )
            for entry in self._store
            if entry.endpoint is endpoint and entry.spec is not None
        ]


def _problem(reason: ConditionReason, message: str) -> Problem:
    return Problem(reason=reason, message=message)
