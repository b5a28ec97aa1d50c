"""The five steps for one pool. Whatever wakes it, it looks at everything afresh."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from pool_operator.backends.base import Applied, Backend, PoolObject, Target
from pool_operator.engine.decide import decide
from pool_operator.engine.types import Decision, Observed
from pool_operator.names import Mode, Reason
from pool_operator.observe.problems import EndpointError
from pool_operator.runtime.clock import Clock
from pool_operator.runtime.conditions import Facts
from pool_operator.runtime.measure import measure
from pool_operator.runtime.orders import GRANT_AGAIN_SECONDS, Orders
from pool_operator.runtime.recorder import Recorder, Step
from pool_operator.runtime.reports import Reports
from pool_operator.runtime.scene import Scene, look, offer
from pool_operator.runtime.spending import start_cost
from pool_operator.runtime.status import QUEUE_INTERVAL_SECONDS, build_status, events_of
from pool_operator.runtime.store import Entry, Store
from pool_operator.telemetry.metrics import Metrics

log = logging.getLogger(__name__)
OnDecision = Callable[[PoolObject, Decision, Observed, Applied], None]
SOONEST_SECONDS: Final = 0.01
PASSED_SECONDS: Final = 1.0
"""A moment that has passed already is no reason to spin."""
WRITE_AGAIN_SECONDS: Final = 1.0
UNREACHABLE_END_SECONDS: Final = 600.0
LEARNED_WAIT_SECONDS: Final = 60.0
"""A ledger that cannot be read for so long (forbidden, a key of another type) does not keep a pool from being served."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """When to look again even if nothing happens, and whether the pool is done for good."""

    again_seconds: float | None = None
    retired: bool = False
    concerns: tuple[str, ...] = ()  # UIDs of pools that should look at what this one has decided


class Reconciler:
    """Built once; its state is in the store's entries.

    Args:
        epoch: the leader's epoch for a pool UID.
        recorder: the ledger; asked once for what the last leader had learned.
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
        recorder: Recorder,
        on_decision: list[OnDecision],
    ) -> None:
        self._store = store
        self._backend = backend
        self._reports = reports
        self._clock = clock
        self._metrics = metrics
        self._recorder = recorder
        self._orders = Orders(epoch=epoch, clock=clock)
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

        if not await self._remember(entry, scene):
            return Outcome(again_seconds=WRITE_AGAIN_SECONDS)

        # 2 decide: pure
        decision = self._decide(entry, scene)
        acts = decision.acts and scene.spec is not None
        rising = decision.replicas > scene.view.wanted
        await self._orders.publish(entry, scene, decision)
        await self._orders.grant(entry, scene, decision)

        # 3 drain: mark the chosen and count their claims in one step, or un-mark; going up does not wait for it
        applied = Applied(wanted=scene.view.wanted)
        if acts and rising:
            applied = await self._backend.apply(scene.pool, _target(scene, decision, frozenset()))
        await self._orders.tell_deadlines(entry, scene)
        await self._orders.unmark(entry, scene, decision)
        drained = await self._orders.mark(entry, scene, decision) if acts else frozenset()

        # 4 apply: up at once (above), down only by replicas proved empty under their mark
        if acts and not rising:
            applied = await self._backend.apply(scene.pool, _target(scene, decision, drained))

        # 5 report: handed over, not waited for
        return self._report(entry, scene, decision, applied, drained)

    # --- 2 ------------------------------------------------------------------------------------------------------

    async def _remember(self, entry: Entry, scene: Scene) -> bool:
        """Take over, once, what the last leader had learned; False: Redis can be read but cannot tell it yet.

        After LEARNED_WAIT_SECONDS it is learned anew; the money is in the status too.
        While nothing can be read, nothing is lowered and nothing is recorded, so that nothing of it is overwritten.
        """
        if scene.asked_monotonic is None:
            entry.forgetful_since = None  # away, which is no answer
        if entry.remembered or entry.ending or scene.asked_monotonic is None:
            return True
        try:
            memory = await self._recorder.restore(scene.pool, entry.endpoint)
        except EndpointError as error:
            now = self._clock.monotonic()
            if entry.forgetful_since is None:
                log.info("pool=%s what was learned cannot be read yet: %s", entry.pool.key, error)
                entry.forgetful_since = now
            if now - entry.forgetful_since < LEARNED_WAIT_SECONDS:
                return False
            log.warning("pool=%s what was learned cannot be read, it is learned anew: %s", entry.pool.key, error)
            memory = None
        entry.recall(memory)
        if entry.endpoint is not None:  # runs that ended after what was learned last are read again
            entry.endpoint.attach(entry.pool.uid, entry.queues, entry.memory.cursor)
        return True

    def _decide(self, entry: Entry, scene: Scene) -> Decision:
        now = self._clock.unix()
        if scene.spec is not None:
            before = entry.memory
            decision, entry.memory = decide(scene.spec, scene.observed, before, now)
            if entry.remembered:
                step = Step(
                    spec=scene.spec, observed=scene.observed, before=before, decision=decision, after=entry.memory
                )
                self._recorder.record(scene.pool, entry.endpoint, step)
            return decision
        assert scene.pool_problem is not None or entry.ending
        message = scene.pool_problem.message if scene.pool_problem else "the pool is deleted"
        return Decision(
            at=now,
            replicas=scene.view.wanted,
            slots=entry.decision.slots if entry.decision else 1,
            reason=Reason.DELETED if entry.ending else Reason.INVALID,
            message=message,
            acts=False,
        )

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
            budget=scene.spec.budget if scene.spec else None,
            spend=entry.memory.spend,
            job_cost=start_cost(scene.spec) if scene.spec else 0.0,
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
            wait = decision.wake_at - self._clock.unix()
            waits.append(wait if wait > 0 else PASSED_SECONDS)
        if decision.granted is not None:
            waits.append(GRANT_AGAIN_SECONDS)
        if entry.write_problem is not None:
            waits.append(WRITE_AGAIN_SECONDS)
        again = min((max(SOONEST_SECONDS, one) for one in waits if one is not None), default=None)
        return Outcome(again_seconds=again, concerns=self._concerns(entry, scene, decision))

    def _concerns(self, entry: Entry, scene: Scene, decision: Decision) -> tuple[str, ...]:
        """Pools that overflow for this one are told when it can do more or less than before."""
        before, entry.offered = entry.offered, offer(decision, scene.observed)
        if before is not None and (before.limited_by, before.slots) == (entry.offered.limited_by, entry.offered.slots):
            return ()
        return tuple(one.pool.uid for one in self._store.overflowing(entry))

    # --- the end ------------------------------------------------------------------------------------------------

    def _over(self, scene: Scene) -> bool:
        """No replica is left and no claim; or Redis has been away for so long that nobody can tell."""
        if scene.view.replicas:
            return False
        if scene.queue_failing_since is not None:
            return self._clock.unix() - scene.queue_failing_since > UNREACHABLE_END_SECONDS
        return scene.claims == 0

    async def _retire(self, entry: Entry, scene: Scene) -> Outcome:
        await self._orders.retire(entry, scene)
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
