"""What RQ leaves to its workers, done by the operator, so that a pool at zero wakes up and no job is stranded.

One task per endpoint. Jobs move by scripts only: nothing is deserialised. After a gap (own start, outage, young server)
it only watches for two heartbeats before it takes leases back: an outage must not expire everybody's work.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from pool_contract import scripts
from pool_contract.scripts import HEARTBEAT_SECONDS
from pool_operator.observe.endpoint import Endpoint
from pool_operator.observe.problems import EndpointError
from pool_operator.observe.seen import Seen
from pool_operator.runtime.clock import Clock
from pool_operator.telemetry.metrics import Metrics

log = logging.getLogger(__name__)
QUARANTINE_SECONDS: Final = 2 * HEARTBEAT_SECONDS
BATCH: Final = 100
"""Queues per script call: Redis serves others in between."""
POOLS_BATCH: Final = 10
"""Pools per reclaim: it also looks at the claims of their replicas."""
SOONEST_SECONDS: Final = 0.02


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """A pool that house is kept for."""

    uid: str
    queues: tuple[str, ...]
    max_losses: int
    excused_replicas: tuple[str, ...] = ()


class Housekeeper:
    """Keeps house on one endpoint.

    Args:
        kept: the pools on it now, by UID; asked at each pass.
        known: whether a source or a deletion in progress knows this pool UID.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        *,
        kept: Callable[[], Iterable[Kept]],
        known: Callable[[str], bool],
        period_seconds: float,
        clock: Clock,
        metrics: Metrics,
        quarantine_seconds: float = QUARANTINE_SECONDS,
    ) -> None:
        self._endpoint = endpoint
        self._kept = kept
        self._known = known
        self._period_seconds = period_seconds
        self._clock = clock
        self._metrics = metrics
        self._quarantine_seconds = quarantine_seconds
        self._watching_since = clock.monotonic()
        self._last_good: float | None = None
        self._orphans: dict[str, Kept] = {}
        self._searched = False

    async def run(self) -> None:
        while True:
            seen = self._seen()
            if seen is not None:
                try:
                    await self._pass(seen)
                    self._last_good = self._clock.monotonic()
                except EndpointError as error:
                    log.info("endpoint=%s housekeeping waits: %s", self._endpoint.key, error)
            await self._clock.sleep(self._pause())

    def _seen(self) -> Seen | None:
        for uid in self._endpoint.attached:
            latest = self._endpoint.latest(uid)
            if isinstance(latest, Seen):
                return latest
        return None

    def _pause(self) -> float:
        """The period, or until the next scheduled job is due."""
        seen = self._seen()
        if seen is None:
            return min(self._period_seconds, 0.5)
        skew = seen.asked_unix - seen.state.at
        due = [one.next_due_at + skew for one in seen.state.queues.values() if one.next_due_at is not None]
        wait = min(due, default=float("inf")) - self._clock.unix()
        # a job that is due and was not moved by the last pass is not worth a hot loop
        return min(self._period_seconds, max(SOONEST_SECONDS, wait)) if wait > 0 else self._period_seconds

    def quarantined(self, seen: Seen) -> bool:
        """True while leases may have run out only because Redis, or we, were away."""
        now = self._clock.monotonic()
        if self._last_good is not None and now - self._last_good > max(HEARTBEAT_SECONDS, 2 * self._period_seconds):
            self._watching_since = now
            self._last_good = now
        young = seen.state.uptime_seconds < self._quarantine_seconds
        return young or now - self._watching_since < self._quarantine_seconds

    async def _pass(self, seen: Seen) -> None:
        if not self._searched:
            await self._find_orphans()
        kept = [*self._kept(), *self._orphans.values()]
        queues = tuple(dict.fromkeys(queue for one in kept for queue in one.queues))
        moved = 0
        if not self.quarantined(seen):
            moved += await self._reclaim(kept)
        for batch in _batches(queues):
            due = await self._endpoint.call(scripts.due(self._endpoint.prefix, queues=batch))
            ready = await self._endpoint.call(scripts.ready(self._endpoint.prefix, queues=batch))
            self._metrics.mended("due", due)
            self._metrics.mended("ready", ready)
            moved += due + ready
            swept = await self._endpoint.call(scripts.sweep(self._endpoint.prefix, queues=batch))
            mended = len(swept.intermediate) + swept.rate_limit_slots + swept.dependents
            self._metrics.mended("sweep", mended)
            moved += mended
        if moved:
            self._endpoint.poke()
        self._dismiss_orphans()

    async def _reclaim(self, kept: Sequence[Kept]) -> int:
        excused = tuple(dict.fromkeys(replica for one in kept for replica in one.excused_replicas))
        by_losses: dict[int, list[Kept]] = {}
        for one in kept:
            by_losses.setdefault(one.max_losses, []).append(one)
        moved = 0
        for max_losses, alike in by_losses.items():
            for start in range(0, len(alike), POOLS_BATCH):
                some = alike[start : start + POOLS_BATCH]
                call = scripts.reclaim(
                    self._endpoint.prefix,
                    queues=tuple(dict.fromkeys(queue for one in some for queue in one.queues)),
                    # a queue that a pool has no longer is found by the claims that its replicas hold
                    pools=[one.uid for one in some],
                    max_losses=max_losses,
                    excused_replicas=excused,
                )
                for back in await self._endpoint.call(call):
                    log.warning(
                        "endpoint=%s queue=%s job=%s taken back from replica %s, loss %d",
                        self._endpoint.key,
                        back.queue,
                        back.job_id,
                        back.replica,
                        back.losses,
                    )
                    moved += 1
        self._metrics.mended("reclaim", moved)
        return moved

    async def _find_orphans(self) -> None:
        """Pools deleted while no operator ran: their settings are still here, and perhaps their work."""
        for uid, settings in (await self._endpoint.published()).items():
            if not self._known(uid):
                self._orphans[uid] = Kept(uid=uid, queues=settings.queues, max_losses=settings.max_losses)
                self._endpoint.attach(uid, settings.queues)
                log.info(
                    "endpoint=%s pool=%s/%s is not known here: its claims are watched to their end",
                    self._endpoint.key,
                    settings.namespace,
                    settings.name,
                )
        self._searched = True

    def _dismiss_orphans(self) -> None:
        """An orphan without claims needs nobody. Its settings stay: another operator may serve it."""
        for uid in tuple(self._orphans):
            latest = self._endpoint.latest(uid)
            adopted = self._known(uid)
            if not adopted and not isinstance(latest, Seen):
                continue
            if adopted or (isinstance(latest, Seen) and not _claims(latest, uid)):
                del self._orphans[uid]
                if not adopted:
                    self._endpoint.detach(uid)


def _claims(seen: Seen, uid: str) -> int:
    pool = seen.state.pools.get(uid)
    return sum(one.claims for one in pool.replicas.values()) if pool else 0


def _batches(queues: tuple[str, ...]) -> Iterable[tuple[str, ...]]:
    return (queues[start : start + BATCH] for start in range(0, len(queues), BATCH))
