"""Runs everything that acts: workers over the keyed queue, endpoints, reports. Used by both backends.

Followers may call upsert, remove and wake at any time: nothing acts before `run`.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Iterable
from typing import Final

from pool_contract.scripts import StaleEpochError
from pool_operator.backends.base import (
    Backend,
    BackendError,
    ConflictError,
    PoolKey,
    PoolObject,
    Reporter,
    SecretReader,
)
from pool_operator.names import ConditionReason, PassError
from pool_operator.observe.seen import Failure
from pool_operator.runtime.clock import Clock
from pool_operator.runtime.endpoints import Endpoints
from pool_operator.runtime.keyed_queue import KeyedQueue
from pool_operator.runtime.reconciler import OnDecision, Outcome, Reconciler
from pool_operator.runtime.recorder import NoRecorder, Recorder
from pool_operator.runtime.reports import WRITERS, Reports
from pool_operator.runtime.store import Entry, Store
from pool_operator.settings import OperatorSettings
from pool_operator.telemetry.metrics import Metrics
from pool_operator.telemetry.pool_metrics import PASS_FAILED

log = logging.getLogger(__name__)
ATTACHERS: Final = 4
LOGIN_AGAIN_SECONDS: Final = 5.0
LAG_PERIOD_SECONDS: Final = 1.0
FOLLOWER_KEEPS_SECONDS: Final = 3600.0
"""How long a follower remembers a deleted pool, so as to end its work if it becomes the leader soon."""


class Controller:
    """Keeps all pools as they should be.

    Args:
        epoch: the leader's epoch for a pool UID, below 2**53.
        recorder: keeps the ledger, and what was learned over restarts; None: nothing does.
    """

    def __init__(
        self,
        *,
        backend: Backend,
        reporter: Reporter,
        secrets: SecretReader,
        epoch: Callable[[str], int],
        settings: OperatorSettings,
        clock: Clock,
        metrics: Metrics,
        recorder: Recorder | None = None,
    ) -> None:
        self.on_decision: list[OnDecision] = []
        """Hooks: called after each pass of a pool with (pool, decision, observed, applied); must not block."""
        self._settings = settings
        self._clock = clock
        self._metrics = metrics
        self._recorder = recorder or NoRecorder()
        self._store = Store()
        self._queue: KeyedQueue[str] = KeyedQueue(clock)
        self._attaching: KeyedQueue[str] = KeyedQueue(clock)
        self._reports = Reports(reporter, clock)
        self._endpoints = Endpoints(
            store=self._store, secrets=secrets, settings=settings, clock=clock, metrics=metrics, changed=self._changed
        )
        self._reconciler = Reconciler(
            store=self._store,
            backend=backend,
            reports=self._reports,
            epoch=epoch,
            clock=clock,
            metrics=metrics,
            recorder=self._recorder,
            on_decision=self.on_decision,
        )
        self._acts = False

    # --- from the sources; these never block ----------------------------------------------------------------------

    def upsert(self, pool: PoolObject) -> None:
        """A source saw or changed a pool."""
        known = self._store.get(pool.uid)
        if known is not None and known.pool == pool:
            return
        # an own status write comes back as a change: it is kept, but wakes nobody
        quiet = known is not None and _asks_the_same(known.pool, pool)
        _, affected = self._store.put(pool)
        self._metrics.pools(len(self._store))
        if quiet:
            return
        self._attaching.add(pool.uid)
        for uid in (pool.uid, *affected):
            self._queue.add(uid)

    def remove(self, uid: str) -> None:
        """The pool is gone at its source: drain it, keep house until its last claim ended, then forget it."""
        entry, affected = self._store.deleted(uid)
        if entry is None:
            return
        entry.deleted_at = self._clock.monotonic()
        self._reports.forget(uid)
        for one in (uid, *affected):
            self._queue.add(one)
        if not self._acts:
            self._forget_deleted()

    def _forget_deleted(self) -> None:
        """A follower retires nothing: the leader has ended what was deleted long ago.

        If not, house is kept for it all the same once we lead: housekeeping finds its settings in Redis.
        """
        before = self._clock.monotonic() - FOLLOWER_KEEPS_SECONDS
        for entry in self._store:
            if entry.deleted and entry.deleted_at <= before:
                self._forget(entry)

    def wake(self, key: PoolKey) -> None:
        """Something about this pool's replicas changed."""
        for entry in self._store.named(key):
            self._queue.add(entry.pool.uid)

    def _changed(self, uids: Iterable[str], grown: bool) -> None:  # noqa: FBT001 - a callback
        for uid in uids:
            entry = self._store.get(uid)
            if entry is not None:
                self._queue.add(uid, urgent=grown)
                if _login_failed(entry):
                    self._attaching.add_after(uid, LOGIN_AGAIN_SECONDS)

    # --- the work -------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Act until cancelled. Whatever dies ends everything: a restart is cheap, a half-dead operator is not.

        Raises:
            StaleEpochError: a newer leader acts; the process must stop.
        """
        self._acts = True
        self._metrics.leader(leads=True)
        try:
            # ended from the inside out: who acts, then the ledger, which tells the rest, then the connections under both
            async with asyncio.TaskGroup() as connections, asyncio.TaskGroup() as ledger, asyncio.TaskGroup() as tasks:
                ledger.create_task(self._recorder.run(), name="ledger")
                tasks.create_task(self._watch_the_loop(), name="loop lag")
                for number in range(WRITERS):
                    tasks.create_task(self._reports.write_forever(), name=f"report {number}")
                for number in range(ATTACHERS):
                    tasks.create_task(self._attach_forever(connections), name=f"attach {number}")
                for number in range(self._settings.workers):
                    tasks.create_task(self._work_forever(), name=f"reconcile {number}")
        except* StaleEpochError as group:
            stale = _first(group)
            log.critical("a newer leader acts for our pools, this process stops: %s", stale)
            raise stale from None
        finally:
            self._metrics.leader(leads=False)

    async def _watch_the_loop(self) -> None:
        while True:
            planned = self._clock.monotonic() + LAG_PERIOD_SECONDS
            await self._clock.sleep(LAG_PERIOD_SECONDS)
            self._metrics.loop_lag(max(0.0, self._clock.monotonic() - planned))

    async def _attach_forever(self, tasks: asyncio.TaskGroup) -> None:
        while True:
            uid = await self._attaching.get()
            entry = self._store.get(uid)
            try:
                if entry is not None:
                    await self._endpoints.attach(entry, tasks)
                    self._attaching.succeeded(uid)
                    if _has_secret(entry):  # a Secret is not watched: it is read again now and then
                        self._attaching.add_after(uid, LOGIN_AGAIN_SECONDS if _login_failed(entry) else self._resync())
            except Exception:
                # supervision point: one pool's Secret harms no other pool
                seconds = self._attaching.retry(uid)
                log.exception("pool=%s its Redis could not be prepared, again in %.1f s", _name(entry), seconds)
            finally:
                self._attaching.done(uid)

    async def _work_forever(self) -> None:
        while True:
            uid = await self._queue.get()
            entry = self._store.get(uid)
            started = self._clock.monotonic()
            result = "success"
            try:
                if entry is not None:
                    self._after(entry, await self._reconciler.reconcile(entry))
            except ConflictError:
                result = "requeue"
                self._queue.retry(uid)
            except StaleEpochError:
                raise
            except Exception as error:
                # supervision point: one pool's trouble harms no other pool
                result = "error"
                self._failed(entry, error)
                seconds = self._queue.retry(uid)
                log.exception("pool=%s this pass failed, again in %.1f s", _name(entry), seconds)
            finally:
                self._queue.done(uid)
                self._metrics.reconciled(result, self._clock.monotonic() - started)

    def _failed(self, entry: Entry | None, error: Exception) -> None:
        self._metrics.reconcile_failed(error.error if isinstance(error, BackendError) else PassError.UNEXPECTED)
        if entry is not None:
            self._metrics.error(entry.pool.key.namespace, entry.pool.key.name, PASS_FAILED)

    def _after(self, entry: Entry, outcome: Outcome) -> None:
        uid = entry.pool.uid
        self._queue.succeeded(uid)
        if outcome.retired:
            self._endpoints.release(entry)
            self._forget(entry)
            return
        for concerned in outcome.concerns:
            self._queue.add(concerned)
        self._queue.add_after(uid, self._resync())
        if outcome.again_seconds is not None:
            self._queue.add_after(uid, outcome.again_seconds)

    def _forget(self, entry: Entry) -> None:
        uid, key = entry.pool.uid, entry.pool.key
        self._store.forget(uid)
        self._queue.forget(uid)
        self._attaching.forget(uid)
        self._recorder.forget(uid)
        self._metrics.pools(len(self._store))
        if not self._store.named(key):  # a successor of the same name keeps the series
            self._metrics.forget(key.namespace, key.name)

    def _resync(self) -> float:
        return self._settings.resync_seconds * random.uniform(0.8, 1.0)  # noqa: S311 - spreads the load


def _asks_the_same(old: PoolObject, new: PoolObject) -> bool:
    return (old.generation, old.spec, old.problem, old.deleting) == (
        new.generation,
        new.spec,
        new.problem,
        new.deleting,
    )


def _login_failed(entry: Entry) -> bool:
    """The Secret may have changed: worth another look before its time."""
    if entry.endpoint_problem is not None:
        return _has_secret(entry)
    latest = entry.endpoint.latest(entry.pool.uid) if entry.endpoint else None
    return (
        isinstance(latest, Failure)
        and latest.problem.reason is ConditionReason.AUTHENTICATION_FAILED
        and _has_secret(entry)
    )


def _has_secret(entry: Entry) -> bool:
    redis = entry.spec.redis if entry.spec else None
    return redis is not None and redis.credentials_secret_ref is not None


def _name(entry: Entry | None) -> str:
    return str(entry.pool.key) if entry else "?"


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
