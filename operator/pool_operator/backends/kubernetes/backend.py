"""The Kubernetes backend: replicas are pods of one Deployment per pool.

`view` reads the caches. `apply` moves the cluster one step towards the target and keeps almost nothing: what it has
to know it reads from the caches again. A refused template and a foreign Deployment are remembered, so that an idle
operator asks nothing again and again.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from pool_operator.backends.base import Applied, BackendView, PoolObject, Problem, Target
from pool_operator.backends.kubernetes.api import ApiError
from pool_operator.backends.kubernetes.cache import ClusterCache
from pool_operator.backends.kubernetes.lowering import RETRY_SECONDS, plan_lowering, wanted_costs
from pool_operator.backends.kubernetes.manifest import is_current, stamp
from pool_operator.backends.kubernetes.objects import DeploymentFact
from pool_operator.backends.kubernetes.objects import deployment as deployment_fact
from pool_operator.backends.kubernetes.refusals import Allowed, refusal, servers_refusal
from pool_operator.backends.kubernetes.view import Facts, build_view
from pool_operator.backends.kubernetes.writer import Writer
from pool_operator.names import ConditionReason

log = logging.getLogger(__name__)
CONDEMNED_SECONDS = 2.0
"""How long after a lower number a drained pod counts as going: the watches of pods and ReplicaSets are two streams."""
JUDGE_AGAIN_SECONDS = 60.0
"""A refusal may end without the pool's doing: a policy changes, a quota grows, a foreign Deployment goes."""


@dataclass(slots=True)
class _Refusal:
    """What the API server said of a template, of which one, and until when (monotonic) we believe it."""

    stamp: str
    problem: Problem
    until: float


@dataclass(slots=True)
class KubernetesBackend:
    """Implements backends.base.Backend.

    Args:
        cache: filled by the source.
        writer: fenced writes.
        allowed: what templates may ask for here.
        unix: wall clock, for ages of objects.
    """

    cache: ClusterCache
    writer: Writer
    allowed: Allowed = field(default_factory=Allowed)
    unix: Callable[[], float] = time.time
    _refused: dict[str, _Refusal] = field(default_factory=dict)  # pool UID -> refusal
    _lowered: dict[str, float] = field(default_factory=dict)  # pool UID -> monotonic time of our last lower number

    def view(self, pool: PoolObject) -> BackendView:
        """Snapshot out of the caches; never touches the network."""
        refusal = self._refused.get(pool.uid)
        problem = refusal.problem if refusal and pool.spec and refusal.stamp == stamp(pool) else None
        return build_view(self._facts(pool), synced=self.cache.synced, now=self.unix(), template_problem=problem)

    def _facts(self, pool: PoolObject) -> Facts:
        facts = self.cache.facts(pool.uid, pool.key.name)
        lately = self.cache.monotonic() - self._lowered.get(pool.uid, float("-inf")) < CONDEMNED_SECONDS
        return replace(facts, lowered_lately=lately)

    async def apply(self, pool: PoolObject, target: Target) -> Applied:
        """One step: create, or raise, then template, then costs, then lower.

        Raises ConflictError when an object moved since it was seen, NotLeadingError when we may not act.
        """
        facts = self._facts(pool)
        if pool.deleting or pool.spec is None:
            return Applied(wanted=facts.deployment.wanted if facts.deployment else 0)
        if facts.deployment is None:
            return await self._create(pool, target)
        if facts.deployment.id.deletion_at is not None:
            return Applied(wanted=facts.deployment.wanted, wait_seconds=RETRY_SECONDS)
        deployment = facts.deployment
        raised = target.replicas > deployment.wanted
        if not deployment.replicas_handed_over:
            # the hand-over that follows creation met a conflict, or a crash; or somebody scaled by hand. Without an
            # owner of its own the field would be reset by the next apply of the template
            replicas = max(target.replicas, deployment.wanted)
            deployment = self._kept(await self.writer.hand_over(pool, deployment, replicas))
        elif raised:
            deployment = await self._set_replicas(pool, deployment, target.replicas)
        templated = await self._template(pool, deployment)
        if templated is not None:
            return Applied(changed=True, wanted=templated.wanted, wait_seconds=RETRY_SECONDS)
        problem = self._problem(pool)
        if raised:
            return Applied(changed=True, wanted=deployment.wanted, problem=problem)
        return await self._lower(pool, replace(facts, deployment=deployment), target, problem)

    def _problem(self, pool: PoolObject) -> Problem | None:
        refusal = self._refused.get(pool.uid)
        return refusal.problem if refusal else None

    async def _set_replicas(self, pool: PoolObject, seen: DeploymentFact, replicas: int) -> DeploymentFact:
        return self._kept(await self.writer.set_replicas(pool, seen, replicas))

    def _kept(self, written: DeploymentFact) -> DeploymentFact:
        self.cache.deployments.put(written)  # our own answer is as good as the watch's, and earlier
        return written

    async def _create(self, pool: PoolObject, target: Target) -> Applied:
        if (problem := self._believed(pool)) is not None:
            return Applied(problem=problem, wait_seconds=JUDGE_AGAIN_SECONDS)
        # the watch may be behind: an apply that creates would set the replicas of a Deployment that is there
        if (found := await self.writer.found(pool)) is not None:
            return await self._occupied(pool, deployment_fact(found))
        if (problem := await self._judge(pool)) is not None:
            return Applied(problem=problem, wait_seconds=JUDGE_AGAIN_SECONDS)
        created = self._kept(await self.writer.create(pool, target.replicas))
        wait = None if created.replicas_handed_over else RETRY_SECONDS / 5
        return Applied(changed=True, wanted=created.wanted, wait_seconds=wait)

    async def _occupied(self, pool: PoolObject, found: DeploymentFact) -> Applied:
        if found.id.owner_uid == pool.uid:
            if not found.ours and found.id.deletion_at is None:
                # somebody changed our labels: no watch shows it to us before they are back
                await self.writer.set_template(pool, found)
            return Applied(wait_seconds=RETRY_SECONDS)  # the watch will show it
        message = (
            f"a Deployment named '{pool.key.name}' that does not belong to this pool is in namespace "
            f"'{pool.key.namespace}': rename the pool or delete that Deployment"
        )
        problem = Problem(reason=ConditionReason.FAILED_CREATE, message=message)
        return Applied(problem=self._refuse(pool, problem), wait_seconds=JUDGE_AGAIN_SECONDS)

    def _refuse(self, pool: PoolObject, problem: Problem) -> Problem:
        self._refused[pool.uid] = _Refusal(stamp(pool), problem, self.cache.monotonic() + JUDGE_AGAIN_SECONDS)
        return problem

    def _believed(self, pool: PoolObject) -> Problem | None:
        refusal = self._refused.get(pool.uid)
        if refusal is None or refusal.stamp != stamp(pool) or self.cache.monotonic() >= refusal.until:
            return None
        return refusal.problem

    async def _judge(self, pool: PoolObject) -> Problem | None:
        """Our own rules, then a server-side dry run, once per template; a refusal is remembered until that changes."""
        if pool.spec is not None and (sentence := refusal(pool.spec, self.allowed)):
            return self._refuse(pool, Problem(reason=ConditionReason.TEMPLATE_REFUSED, message=sentence))
        try:
            await self.writer.dry_run(pool)
        except ApiError as error:
            if not (sentence := servers_refusal(error)):
                raise
            return self._refuse(pool, Problem(reason=ConditionReason.TEMPLATE_REFUSED, message=sentence))
        except (AttributeError, TypeError, ValueError, KeyError) as error:
            # the schema keeps the template as it is: a list where an object belongs is only found here
            log.debug("pool=%s rendering failed", pool.key, exc_info=True)
            message = f"spec.template: is not shaped like a pod template: {type(error).__name__}: {error}"
            return self._refuse(pool, Problem(reason=ConditionReason.TEMPLATE_REFUSED, message=message))
        self._refused.pop(pool.uid, None)
        return None

    async def _template(self, pool: PoolObject, deployment: DeploymentFact) -> DeploymentFact | None:
        """Bring the template up to the pool's spec; None if there was nothing to do, or it was refused."""
        if is_current(deployment.stamp, pool):
            self._refused.pop(pool.uid, None)
            return None
        if self._believed(pool) is not None or await self._judge(pool) is not None:
            return None
        return self._kept(await self.writer.set_template(pool, deployment))

    async def _lower(self, pool: PoolObject, facts: Facts, target: Target, problem: Problem | None) -> Applied:
        deployment = facts.deployment
        assert deployment is not None
        if costs := wanted_costs(facts, target):
            taken = await self.writer.set_costs({pod.id.uid: pod for pod in facts.active}, costs)
            wait = RETRY_SECONDS if taken else RETRY_SECONDS / 5
            return Applied(changed=True, wanted=deployment.wanted, wait_seconds=wait, problem=problem)
        plan = plan_lowering(
            facts,
            target,
            cost_seen_at=self.cache.cost_seen_at(),
            monotonic=self.cache.monotonic(),
            now=self.unix(),
        )
        if plan.replicas is None:
            log.debug("pool=%s lowering waits: %s", pool.key, plan.why)
            return Applied(wanted=deployment.wanted, wait_seconds=plan.wait_seconds, problem=problem)
        self._lowered[pool.uid] = self.cache.monotonic()  # before the call: its answer may be late, or lost
        lowered = await self._set_replicas(pool, deployment, plan.replicas)
        log.debug("pool=%s replicas %d -> %d: %s", pool.key, deployment.wanted, lowered.wanted, plan.why)
        return Applied(changed=True, wanted=lowered.wanted, wait_seconds=CONDEMNED_SECONDS, problem=problem)

    async def retire(self, pool: PoolObject) -> None:
        """Forget a deleted pool; its Deployment goes with it, by its owner reference."""
        self._refused.pop(pool.uid, None)
        self._lowered.pop(pool.uid, None)
        self.cache.retire(pool.uid)
