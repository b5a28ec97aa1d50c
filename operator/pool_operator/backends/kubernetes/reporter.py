"""Status and Events: what users see of a decision.

A status is written only if its comparable part changed, and at most once a second per pool; in between the newest one
waits. Events are told once, and few of them a minute. At rest nothing is written.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from pool_operator.backends.base import Event, PoolObject
from pool_operator.backends.kubernetes import paths
from pool_operator.backends.kubernetes.api import ApiError, ApiUnavailableError, Content, KubeApi
from pool_operator.names import FIELD_MANAGER, GROUP, KIND, VERSION, Condition

log = logging.getLogger(__name__)
LEAST_INTERVAL_SECONDS: Final = 1.0
SAME_EVENT_SECONDS: Final = 600.0
EVENTS_AT_ONCE: Final = 20
EVENT_EVERY_SECONDS: Final = 30.0
"""A pool whose short jobs come and go changes its replicas many times a second: after EVENTS_AT_ONCE this seldom."""
LONGEST_NOTE_BYTES: Final = 1024
LOGGED: Final = (Condition.READY, Condition.CAPACITY_AVAILABLE)
"""Conditions whose changes the log tells too; Ready speaks for the template and the queues."""
Json = dict[str, Any]


@dataclass(slots=True)
class _State:
    """What was last written for one pool, and what waits to be."""

    written: Json | None = None  # comparable part
    written_at: float = float("-inf")
    waiting: tuple[PoolObject, Mapping[str, object]] | None = None
    timer: asyncio.Task[None] | None = None
    events: dict[str, float] = field(default_factory=dict)  # digest -> monotonic time of posting
    event_credit: float = EVENTS_AT_ONCE
    credit_at: float = float("-inf")  # monotonic

    def may_post(self, now: float) -> bool:
        """Take one from the credit that grows by one each EVENT_EVERY_SECONDS."""
        self.event_credit = min(EVENTS_AT_ONCE, self.event_credit + (now - self.credit_at) / EVENT_EVERY_SECONDS)
        self.credit_at = now
        if self.event_credit < 1:
            return False
        self.event_credit -= 1
        return True


class KubernetesReporter:
    """Implements backends.base.Reporter.

    Args:
        api: the API server.
        instance: names this process in Events.
        leading: whether this process may act now.
    """

    def __init__(
        self,
        api: KubeApi,
        *,
        instance: str,
        leading: Callable[[], bool],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._api = api
        self._instance = instance[:128]
        self._leading = leading
        self._monotonic = monotonic
        self._states: dict[str, _State] = {}

    async def report(self, pool: PoolObject, status: Mapping[str, object], events: Sequence[Event]) -> None:
        """Write the status if its comparable part changed; post the events. Failures are logged and tried again."""
        state = self._states.setdefault(pool.uid, _State())
        for event in events:
            await self._post(pool, event, state)
        known = state.written if state.written is not None else comparable(pool.status)
        if comparable(status) == known:
            state.waiting = None
            return
        wait = state.written_at + LEAST_INTERVAL_SECONDS - self._monotonic()
        if wait <= 0:
            await self._write(pool, status, state)
            return
        state.waiting = (pool, status)
        if state.timer is None or state.timer.done():
            state.timer = asyncio.create_task(self._later(state, wait))

    def forget(self, pool_uid: str) -> None:
        state = self._states.pop(pool_uid, None)
        if state is not None and state.timer is not None:
            state.timer.cancel()

    async def _later(self, state: _State, seconds: float) -> None:
        await asyncio.sleep(seconds)
        if state.waiting is not None:
            (pool, status), state.waiting = state.waiting, None
            await self._write(pool, status, state)

    async def _write(self, pool: PoolObject, status: Mapping[str, object], state: _State) -> None:
        if not self._leading():
            return
        state.written_at = self._monotonic()
        body = {
            "apiVersion": f"{GROUP}/{VERSION}",
            "kind": KIND,
            "metadata": {"name": pool.key.name, "namespace": pool.key.namespace, "uid": pool.uid},
            "status": with_transitions(status, pool.status),
        }
        query = {"fieldManager": FIELD_MANAGER, "force": "true"}
        try:
            await self._api.call(
                "PATCH",
                paths.pool_status(pool.key.namespace, pool.key.name),
                query=query,
                body=body,
                content=Content.APPLY,
            )
        except (ApiError, ApiUnavailableError) as error:
            state.written = None
            if not (isinstance(error, ApiError) and error.status in {404, 409}):  # gone, or made anew
                log.warning("pool=%s its status could not be written: %s", pool.key, error)
            return
        before = comparable(pool.status) if state.written is None else state.written
        state.written = comparable(status)
        _log_changes(pool, before, state.written)

    async def _post(self, pool: PoolObject, event: Event, state: _State) -> None:
        digest = hashlib.sha256(f"{event.type}|{event.reason}|{event.message}".encode()).hexdigest()[:16]
        now = self._monotonic()
        if now - state.events.get(digest, float("-inf")) < SAME_EVENT_SECONDS or not self._leading():
            return
        if not state.may_post(now):
            return  # metrics count each change, the status has the newest
        state.events = {key: at for key, at in state.events.items() if now - at < SAME_EVENT_SECONDS} | {digest: now}
        body = event_body(pool, event, instance=self._instance, at=datetime.now(UTC))
        try:
            await self._api.call("POST", paths.events(pool.key.namespace), body=body)
        except (ApiError, ApiUnavailableError) as error:
            log.warning("pool=%s an event could not be posted: %s", pool.key, error)


def _log_changes(pool: PoolObject, before: Json, now: Json) -> None:
    """One line for each logged condition whose status or reason is another one than before."""
    for kind in LOGGED:
        old, new = (one["conditions"].get(kind, {}) for one in (before, now))
        if not new or (old.get("status"), old.get("reason")) == (new.get("status"), new.get("reason")):
            continue
        if new["status"] == "True":
            if not old and kind is not Condition.READY:
                continue  # a new pool: nothing came to an end
            log.info("pool=%s %s: %s", pool.key, kind, new["message"])
        else:
            log.warning("pool=%s not %s: %s: %s", pool.key, kind, new["reason"], new["message"])


def event_body(pool: PoolObject, event: Event, *, instance: str, at: datetime) -> Json:
    """An events.k8s.io/v1 Event about the pool."""
    return {
        "apiVersion": "events.k8s.io/v1",
        "kind": "Event",
        "metadata": {"generateName": f"{pool.key.name}-", "namespace": pool.key.namespace},
        "eventTime": at.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        "reportingController": f"{GROUP}/operator",
        "reportingInstance": instance,
        "action": event.action,
        "reason": event.reason,
        "type": event.type,
        "note": _cut(event.message),
        "regarding": {
            "apiVersion": f"{GROUP}/{VERSION}",
            "kind": KIND,
            "name": pool.key.name,
            "namespace": pool.key.namespace,
            "uid": pool.uid,
        },
    }


def _cut(note: str) -> str:
    """At most LONGEST_NOTE_BYTES in UTF-8: the server counts bytes and refuses the whole Event."""
    if len(note.encode()) <= LONGEST_NOTE_BYTES:
        return note
    return note.encode()[: LONGEST_NOTE_BYTES - 3].decode(errors="ignore") + "…"


def comparable(status: Mapping[str, object]) -> Json:
    """The status without what changes by itself: times."""
    kept: Json = {key: value for key, value in status.items() if key not in {"conditions", "decision"}}
    if isinstance(decision := status.get("decision"), Mapping):
        kept["decision"] = {key: value for key, value in decision.items() if key != "at"}
    kept["conditions"] = {
        str(condition["type"]): {key: value for key, value in condition.items() if key != "lastTransitionTime"}
        for condition in _conditions(status)
    }
    return kept


def with_transitions(status: Mapping[str, object], stored: Mapping[str, object]) -> Json:
    """The status with each condition's lastTransitionTime: it moves only when the condition's status does."""
    before = {condition["type"]: condition for condition in _conditions(stored)}
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    conditions = []
    for condition in _conditions(status):
        old = before.get(condition["type"], {})
        same = old.get("status") == condition["status"] and old.get("lastTransitionTime")
        at = old["lastTransitionTime"] if same else condition.get("lastTransitionTime") or now
        conditions.append({**condition, "lastTransitionTime": at})
    return {**status, "conditions": conditions} if conditions else dict(status)


def _conditions(status: Mapping[str, object]) -> list[Json]:
    found = status.get("conditions")
    return [dict(entry) for entry in found if isinstance(entry, Mapping)] if isinstance(found, Sequence) else []
