"""Leader election by a Lease: at most one process acts, and every act carries the leader's epoch.

Written by us because the elector in `kubernetes.aio` dies on a missing Lease, does not bound a hung call and keeps the
Lease when its work is dead. Another holder counts as expired only when its record has not changed for
leaseDurationSeconds on OUR monotonic clock: wall clocks of two machines are never compared. A leader that could not
renew for `renew_deadline` has lost, whatever the server says, and its process ends.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from pool_operator.backends.kubernetes import paths
from pool_operator.backends.kubernetes.api import ApiError, ApiUnavailableError, KubeApi

log = logging.getLogger(__name__)
EPOCHS_PER_LEASE: Final = 10**6
Json = dict[str, Any]


class LeaseLostError(Exception):
    """The Lease could not be renewed in time: somebody else may lead from now on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """Seconds. `duration` > `deadline` > `period`, else two could lead."""

    duration: int = 15
    deadline: float = 10.0
    period: float = 2.0


@dataclass(slots=True)
class _Seen:
    """Another's record, and since when (our monotonic clock) it has not changed."""

    record: tuple[object, ...] = ()
    since: float = 0.0


class Elector:
    """One candidate. `acquire()` returns when we lead; `hold()` renews until the Lease is lost."""

    def __init__(
        self,
        api: KubeApi,
        *,
        namespace: str,
        name: str,
        timing: Timing,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._api = api
        self._namespace = namespace
        self._name = name
        self._timing = timing
        self._monotonic = monotonic
        self._seen = _Seen()
        self._held: Json | None = None  # the Lease as we last wrote it
        self._renewed_at = 0.0  # monotonic, taken before the call that succeeded
        self.identity = f"{socket.gethostname()}_{os.getpid()}_{uuid.uuid4().hex[:12]}"

    @property
    def epoch(self) -> int:
        """Grows with each change of the holder, also when the Lease was deleted and made anew; below 2**53."""
        if self._held is None:
            return 0
        created = datetime.fromisoformat(self._held["metadata"]["creationTimestamp"])
        return int(created.timestamp()) * EPOCHS_PER_LEASE + int(self._held["spec"].get("leaseTransitions") or 0)

    @property
    def leading(self) -> bool:
        """Whether we may still act: we hold the Lease and the deadline has not passed."""
        return self._held is not None and self._monotonic() - self._renewed_at < self._timing.deadline

    async def acquire(self) -> None:
        """Wait until we are the holder; errors of the API server only cost a period."""
        while True:
            try:
                if await self._attempt(self._timing.deadline):
                    log.info("leading as %s, epoch %d", self.identity, self.epoch)
                    return
            except (ApiError, ApiUnavailableError) as error:
                log.warning("the Lease %s/%s cannot be taken: %s", self._namespace, self._name, error)
            await asyncio.sleep(self._timing.period)

    async def hold(self) -> None:
        """Renew until it fails.

        Raises:
            LeaseLostError: another holds it, or no renewal came through before the deadline.
        """
        while True:
            await asyncio.sleep(self._timing.period)
            left = self._renewed_at + self._timing.deadline - self._monotonic()
            if left <= 0:
                raise LeaseLostError(f"no renewal for {self._timing.deadline:g} s: another process may lead now")
            try:
                if not await self._attempt(left):
                    raise LeaseLostError("another process holds the Lease")
            except (ApiError, ApiUnavailableError) as error:
                log.warning("the Lease could not be renewed: %s", error)

    async def release(self) -> None:
        """Clear the holder, so that another need not wait for the expiry; best effort."""
        if self._held is None:
            return
        held, self._held = self._held, None
        held["spec"] |= {"holderIdentity": "", "leaseDurationSeconds": 1, "renewTime": _now()}
        try:
            await self._put(held, seconds=2.0)
        except (ApiError, ApiUnavailableError) as error:
            if isinstance(error, ApiError) and error.status == 409:
                return  # another process holds it already
            log.warning("the Lease could not be released: %s", error)

    async def _attempt(self, seconds: float) -> bool:
        """One try to take or renew; True if we hold it afterwards. All calls together take at most `seconds`."""
        started = self._monotonic()
        try:
            async with asyncio.timeout(seconds):
                written = await self._take()
        except TimeoutError as error:
            raise ApiUnavailableError(f"no answer within {seconds:.1f} s") from error
        if written is None:
            self._held = None
            return False
        self._held, self._renewed_at = written, started
        return True

    async def _take(self) -> Json | None:
        try:
            found = await self._api.get(paths.lease(self._namespace, self._name))
        except ApiError as error:
            if error.status != 404:
                raise
            return await self._create()
        spec = found.setdefault("spec", {})
        holder = spec.get("holderIdentity") or ""
        if holder not in {"", self.identity} and not self._expired(spec):
            return None
        if holder != self.identity:
            spec["leaseTransitions"] = int(spec.get("leaseTransitions") or 0) + 1
            spec["acquireTime"] = _now()
        spec |= {
            "holderIdentity": self.identity,
            "leaseDurationSeconds": self._timing.duration,
            "renewTime": _now(),
        }
        return await self._put_or_lose(found)

    def _expired(self, spec: Json) -> bool:
        record = (spec.get("holderIdentity"), spec.get("renewTime"), spec.get("leaseTransitions"))
        if record != self._seen.record:
            self._seen = _Seen(record=record, since=self._monotonic())
            return False
        return self._monotonic() - self._seen.since >= float(spec.get("leaseDurationSeconds") or self._timing.duration)

    async def _put_or_lose(self, lease: Json) -> Json | None:
        try:
            return await self._put(lease)
        except ApiError as error:
            if error.status == 409:
                return None  # another candidate was faster: its resourceVersion won
            raise

    async def _put(self, lease: Json, *, seconds: float = 10.0) -> Json:
        return await self._api.call("PUT", paths.lease(self._namespace, self._name), body=lease, seconds=seconds)

    async def _create(self) -> Json | None:
        now = _now()
        body = {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {"name": self._name, "namespace": self._namespace},
            "spec": {
                "holderIdentity": self.identity,
                "leaseDurationSeconds": self._timing.duration,
                "acquireTime": now,
                "renewTime": now,
                "leaseTransitions": 0,
            },
        }
        try:
            return await self._api.call("POST", paths.leases(self._namespace), body=body)
        except ApiError as error:
            if error.status == 409:
                return None
            raise


def _now() -> str:
    """MicroTime, UTC."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
