"""The five steps for one pool. Whatever wakes it, it looks at everything afresh."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeVar

from pool_contract import scripts
from pool_contract.messages import DrainOrder, PoolSettings
from pool_contract.scripts import Call
from pool_operator.backends.base import Applied, Backend, PoolObject, Target
from pool_operator.engine.decide import decide
from pool_operator.engine.state import Memory
from pool_operator.engine.types import Decision, Observed
from pool_operator.names import Mode, Reason
from pool_operator.observe.problems import EndpointError
from pool_operator.runtime.clock import Clock
from pool_operator.runtime.measure import measure
from pool_operator.runtime.reports import Reports
from pool_operator.runtime.scene import Scene, look
from pool_operator.runtime.status import QUEUE_INTERVAL_SECONDS, Facts, build_status, events_of
from pool_operator.runtime.store import Entry, Store
from pool_operator.telemetry.metrics import Metrics

log = logging.getLogger(__name__)
T = TypeVar("T")
OnDecision = Callable[[PoolObject, Decision, Observed, Applied], None]
WRITE_AGAIN_SECONDS: Final = 1.0
UNREACHABLE_END_SECONDS: Final = 600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """When to look again even if nothing happens, and whether the pool is done for good."""

    again_seconds: float | None = None
    retired: bool = False


class Reconciler:
    """Built once; its state is in the store's entries.

    Args:
        epoch: the leader's epoch for a pool UID.
        on_decision: called after each pass with what was decided, seen and done; must not block.
    """

    def __init__(
        self,
        *,
        store: Store,
        backend: Backend,
        reports: Reports,
        epoch: Callable[[str], int],
        clock: Clock,
        metrics: Metrics,
        on_decision: list[OnDecision],
    ) -> None:
        self._store = store
        self._backend = backend
        self._reports = reports
        self._epoch = epoch
        self._clock = clock
        self._metrics = metrics
        self._on_decision = on_decision

    async def reconcile(self, entry: Entry) -> Outcome:
        """One pass.

        Raises:
            ConflictError: the world moved; observe again.
            StaleEpochError: a newer leader acts; this process must stop.
        """
        # 1 observe: out of the caches, no network; nothing before everything has been seen once
        scene = look(entry, self._store, self._backend.view(entry.pool), self._clock.unix())
        if scene is None:
            return Outcome()
        entry.excuse(scene.view.excused_replicas)
        if entry.ending and self._over(scene):
            return await self._retire(entry, scene)

        # 2 decide: pure
        decision, entry.memory = self._decide(entry, scene)
        acts = decision.acts and scene.spec is not None
        rising = decision.replicas > scene.view.wanted
        await self._publish(entry, scene)

        # 3 drain: mark the chosen and count their claims in one step, or un-mark; going up does not wait for it
        applied = Applied(wanted=scene.view.wanted)
        if acts and rising:
            applied = await self._backend.apply(scene.pool, _target(scene, decision, frozenset()))
        await self._tell_deadlines(entry, scene)
        await self._unmark(entry, scene, decision)
        drained = await self._mark(entry, scene, decision) if acts else frozenset()

        # 4 apply: up at once (above), down only by replicas proved empty under their mark
        if acts and not rising:
            applied = await self._backend.apply(scene.pool, _target(scene, decision, drained))

        # 5 report: handed over, not waited for
        return self._report(entry, scene, decision, applied, drained)

    # --- 2 ------------------------------------------------------------------------------------------------------

    def _decide(self, entry: Entry, scene: Scene) -> tuple[Decision, Memory]:
        now = self._clock.unix()
        if scene.spec is not None:
            return decide(scene.spec, scene.observed, entry.memory, now)
        assert scene.pool_problem is not None or entry.ending
        message = scene.pool_problem.message if scene.pool_problem else "the pool is deleted"
        decision = Decision(
            at=now,
            replicas=scene.view.wanted,
            slots=entry.decision.slots if entry.decision else 1,
            reason=Reason.DELETED if entry.ending else Reason.INVALID,
            message=message,
            acts=False,
        )
        return decision, entry.memory

    # --- 3 ------------------------------------------------------------------------------------------------------

    async def _publish(self, entry: Entry, scene: Scene) -> None:
        """Live settings for the workers, when they changed (or Redis forgot them): before the first replica comes."""
        settings = _settings(scene, deleted=entry.ending)
        if settings is None or scene.asked_monotonic is None:
            return
        if settings != entry.settings or not scene.known.published:
            call = scripts.publish_settings(
                _prefix(entry), pool=scene.pool.uid, epoch=self._epoch(scene.pool.uid), settings=settings
            )
            if await self._write(entry, call):
                entry.settings, entry.settings_at = settings, self._clock.monotonic()

    async def _tell_deadlines(self, entry: Entry, scene: Scene) -> None:
        """The real end of replicas that are told to end: it may be sooner than their grace period."""
        if _is_dry(scene) or scene.asked_monotonic is None:
            return
        deadlines = {
            replica: at for replica, at in scene.view.deadlines.items() if entry.deadlines_told.get(replica) != at
        }
        if deadlines and await self._order(entry, scene, "Terminating", deadlines) is not None:
            entry.deadlines_told = dict(scene.view.deadlines)

    async def _unmark(self, entry: Entry, scene: Scene, decision: Decision) -> None:
        """Demand is back; or the pool stopped acting, and a mark of ours would keep a replica idle for ever."""
        if not decision.undrain or entry.endpoint is None or scene.asked_monotonic is None:
            return
        call = scripts.undrain(
            _prefix(entry), pool=scene.pool.uid, epoch=self._epoch(scene.pool.uid), replicas=decision.undrain
        )
        if await self._write(entry, call):
            entry.marks.changed(dict.fromkeys(decision.undrain, False), self._clock.monotonic())
            entry.endpoint.poke()

    async def _mark(self, entry: Entry, scene: Scene, decision: Decision) -> frozenset[str]:
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
        """Run a script that writes; False if Redis did not take it (then it is a problem of the pool's status)."""
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

    # --- 5 ------------------------------------------------------------------------------------------------------

    def _report(
        self, entry: Entry, scene: Scene, decision: Decision, applied: Applied, drained: frozenset[str]
    ) -> Outcome:
        now = self._clock.monotonic()
        facts = Facts(
            pool=scene.pool,
            decision=decision,
            observed=scene.observed,
            view=scene.view,
            pool_problem=scene.pool_problem,
            queue_problem=scene.queue_problem,
            apply_problem=applied.problem,
            mode=scene.crd.mode if scene.crd else Mode.ACTIVE,
            priced=scene.crd is not None and scene.crd.budget is not None,
        )
        rest = QUEUE_INTERVAL_SECONDS - (now - entry.status_at)
        status = build_status(facts, entry.status, keep_queue=rest > 0)
        if status != entry.status:
            entry.status, entry.status_at = status, now
            verdicts = {str(one["type"]): str(one["status"]) for one in status["conditions"]}
            self._metrics.conditions(scene.pool.key.namespace, scene.pool.key.name, verdicts)
        events = events_of(entry.decision, decision, wanted=scene.view.wanted)
        measure(self._metrics, self._clock, entry, scene, decision, applied, drained)
        entry.decision = decision
        if not entry.deleted:
            self._reports.put(scene.pool, status, events)
        for hook in self._on_decision:
            hook(scene.pool, decision, scene.observed, applied)
        waits = [applied.wait_seconds, rest if rest > 0 else None]
        if decision.wake_at is not None:
            waits.append(decision.wake_at - self._clock.unix())
        if entry.write_problem is not None:
            waits.append(WRITE_AGAIN_SECONDS)
        return Outcome(again_seconds=min((max(0.01, one) for one in waits if one is not None), default=None))

    # --- the end ------------------------------------------------------------------------------------------------

    def _over(self, scene: Scene) -> bool:
        """No replica is left and no claim; or Redis has been away for so long that nobody can tell."""
        if scene.view.replicas:
            return False
        if scene.queue_failing_since is not None:
            return self._clock.unix() - scene.queue_failing_since > UNREACHABLE_END_SECONDS
        return scene.claims == 0

    async def _retire(self, entry: Entry, scene: Scene) -> Outcome:
        if not _is_dry(scene):
            call = scripts.publish_settings(
                _prefix(entry), pool=scene.pool.uid, epoch=self._epoch(scene.pool.uid), settings=None
            )
            await self._write(entry, call)
        await self._backend.retire(scene.pool)
        log.info("pool=%s is gone: no replica and no claim is left", scene.pool.key)
        return Outcome(retired=True)


def _target(scene: Scene, decision: Decision, drained: frozenset[str]) -> Target:
    marked = {one.id for one in scene.observed.replicas if one.drained} - set(decision.undrain)
    return Target(
        replicas=decision.replicas,
        slots=decision.slots,
        drained=drained,
        leaving=frozenset(marked | set(decision.drain)),
        idle=frozenset(one.id for one in scene.observed.replicas if one.claims == 0),
    )


def _settings(scene: Scene, *, deleted: bool) -> PoolSettings | None:
    """What workers of this pool read; None while there is nothing valid to say."""
    if scene.crd is None or scene.spec is None or _is_dry(scene):
        return None
    return PoolSettings(
        namespace=scene.pool.key.namespace,
        name=scene.pool.key.name,
        queues=tuple(queue.name for queue in scene.crd.queues),
        slots=scene.spec.slots_per_replica,
        job_timeout_seconds=scene.crd.jobs.timeout_seconds,
        max_retries=scene.crd.jobs.max_retries,
        max_losses=scene.crd.jobs.max_losses,
        deleted=deleted,
    )


def _is_dry(scene: Scene) -> bool:
    return scene.crd is None or scene.crd.mode is Mode.DRY_RUN


def _prefix(entry: Entry) -> str:
    return entry.endpoint.prefix if entry.endpoint else ""
