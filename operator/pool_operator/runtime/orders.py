"""What the leader writes for the workers of a pool: settings, the grant, drain orders. Scripts only, fenced by the epoch.

Before: the reconciler's decision. After: the claim script and the workers, which keep to what stands here.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final, TypeVar

from pool_contract import scripts
from pool_contract.messages import DrainOrder, PoolSettings
from pool_contract.scripts import Call
from pool_operator.engine.types import Decision, Reading
from pool_operator.names import Mode
from pool_operator.observe.problems import EndpointError
from pool_operator.runtime.clock import Clock
from pool_operator.runtime.scene import Scene
from pool_operator.runtime.spending import job_cost
from pool_operator.runtime.store import Entry

log = logging.getLogger(__name__)
T = TypeVar("T")
GRANT_SECONDS: Final = 60.0
"""How long claims may go on under a hard budget without a word of the leader's: longer than a leader change takes."""
GRANT_AGAIN_SECONDS: Final = 20.0


class Orders:
    """Each method writes what changed, and nothing else. What Redis did not take is a problem of the pool's status.

    Args:
        epoch: the leader's epoch for a pool UID.
    """

    def __init__(self, *, epoch: Callable[[str], int], clock: Clock) -> None:
        self._epoch = epoch
        self._clock = clock

    async def publish(self, entry: Entry, scene: Scene, decision: Decision) -> None:
        """Live settings for the workers, when they changed (or Redis forgot them): before the first replica comes."""
        settings = _settings(scene, decision, deleted=entry.ending)
        if settings is None or scene.asked_monotonic is None:
            return
        if settings != entry.settings or not scene.known.published:
            call = scripts.publish_settings(
                _prefix(entry), pool=scene.pool.uid, epoch=self._epoch(scene.pool.uid), settings=settings
            )
            if await self._write(entry, call):
                entry.settings, entry.settings_at = settings, self._clock.monotonic()

    async def grant(self, entry: Entry, scene: Scene, decision: Decision) -> None:
        """What claims may take on under a hard budget. It ends by itself: a dead leader's word is worth no money.

        A pool that was active and is dry now has workers that keep to it: they are not to starve.
        """
        reading = scene.observed.reading
        if decision.granted is None or not isinstance(reading, Reading):
            return
        if _is_dry(scene) and not scene.known.published:
            return
        now = self._clock.monotonic()
        fresh = now - entry.granted_at < GRANT_AGAIN_SECONDS and scene.known.published
        if fresh and decision.granted == entry.granted:
            return
        call = scripts.grant(
            _prefix(entry),
            pool=scene.pool.uid,
            epoch=self._epoch(scene.pool.uid),
            granted=decision.granted,
            used=reading.allowance_used,
            ttl_seconds=GRANT_SECONDS,
        )
        written: list[bool] = []
        if await self._write(entry, call, written.append) and written == [True]:
            entry.granted, entry.granted_at = decision.granted, now

    async def tell_deadlines(self, entry: Entry, scene: Scene) -> None:
        """The real end of replicas that are told to end: it may be sooner than their grace period."""
        if _is_dry(scene) or scene.asked_monotonic is None:
            return
        deadlines = {
            replica: at for replica, at in scene.view.deadlines.items() if entry.deadlines_told.get(replica) != at
        }
        if deadlines and await self._order(entry, scene, "Terminating", deadlines) is not None:
            entry.deadlines_told = dict(scene.view.deadlines)

    async def unmark(self, entry: Entry, scene: Scene, decision: Decision) -> None:
        """Demand is back; or the pool stopped acting, and a mark of ours would keep a replica idle for ever."""
        if not decision.undrain or entry.endpoint is None or scene.asked_monotonic is None:
            return
        call = scripts.undrain(
            _prefix(entry), pool=scene.pool.uid, epoch=self._epoch(scene.pool.uid), replicas=decision.undrain
        )
        if await self._write(entry, call):
            entry.marks.changed(dict.fromkeys(decision.undrain, False), self._clock.monotonic())
            entry.endpoint.poke()

    async def mark(self, entry: Entry, scene: Scene, decision: Decision) -> frozenset[str]:
        """Mark the chosen; returns those that are marked and hold nothing."""
        if entry.endpoint is None or scene.asked_monotonic is None:
            return frozenset()
        chosen = {
            one.id: None for one in scene.observed.replicas if one.id in decision.drain and one.claims is not None
        }
        if not chosen:
            return frozenset()
        counts = await self._order(entry, scene, str(decision.reason), chosen)
        if counts is None:
            return frozenset()
        return frozenset(replica for replica, claims in counts.items() if claims == 0)

    async def retire(self, entry: Entry, scene: Scene) -> None:
        """The pool is gone: nothing of it stays in Redis but its epoch and its ledger, for a while."""
        if not _is_dry(scene):
            call = scripts.publish_settings(
                _prefix(entry), pool=scene.pool.uid, epoch=self._epoch(scene.pool.uid), settings=None
            )
            await self._write(entry, call)

    async def _order(
        self, entry: Entry, scene: Scene, reason: str, release_at: dict[str, float] | dict[str, None]
    ) -> dict[str, int] | None:
        """Mark replicas; their claims under the mark, or None if Redis did not take it."""
        now, epoch = self._clock.unix(), self._epoch(scene.pool.uid)
        orders = {
            # the order of a replica that is told to end keeps its deadline
            replica: DrainOrder(reason=reason, at=now, epoch=epoch, release_at=at or entry.deadlines_told.get(replica))
            for replica, at in release_at.items()
        }
        counts: list[dict[str, int]] = []
        call = scripts.drain(_prefix(entry), pool=scene.pool.uid, epoch=epoch, orders=orders)
        if not await self._write(entry, call, counts.append):
            return None
        new = {one.id for one in scene.observed.replicas if not one.drained} & orders.keys()
        if new:
            entry.marks.changed(dict.fromkeys(new, True), self._clock.monotonic())
            if entry.endpoint is not None:
                entry.endpoint.poke()
        return counts[0]

    async def _write(self, entry: Entry, call: Call[T], take: Callable[[T], None] = lambda _: None) -> bool:
        """Run a script that writes; False if Redis did not take it."""
        if entry.endpoint is None:
            return False
        try:
            take(await entry.endpoint.call(call))
        except EndpointError as error:
            if error.problem != entry.write_problem:  # tried again each second: told once
                log.warning("pool=%s Redis did not take '%s': %s", entry.pool.key, call.script, error)
            entry.write_problem = error.problem
            return False
        entry.write_problem = None
        return True


def _settings(scene: Scene, decision: Decision, *, deleted: bool) -> PoolSettings | None:
    """What workers of this pool read; None while there is nothing valid to say."""
    if scene.crd is None or scene.spec is None or _is_dry(scene):
        return None
    return PoolSettings(
        namespace=scene.pool.key.namespace,
        name=scene.pool.key.name,
        queues=tuple(queue.name for queue in scene.crd.queues),
        slots=decision.slots,
        job_timeout_seconds=scene.crd.jobs.timeout_seconds,
        max_retries=scene.crd.jobs.max_retries,
        max_losses=scene.crd.jobs.max_losses,
        deleted=deleted,
        rate_per_minute=None if scene.spec.rate_per_minute is None else int(scene.spec.rate_per_minute),
        max_concurrent=scene.spec.max_concurrent,
        commitment=job_cost(scene.spec) if scene.spec.budget and scene.spec.budget.hard else 0.0,
    )


def _is_dry(scene: Scene) -> bool:
    return scene.crd is None or scene.crd.mode is Mode.DRY_RUN


def _prefix(entry: Entry) -> str:
    return entry.endpoint.prefix if entry.endpoint else ""
