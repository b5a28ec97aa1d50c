"""Writes to the API server, each fenced: we lead, and the object is the very version that was decided on.

Two field managers own a Deployment: FIELD_MANAGER the template, REPLICAS_FIELD_MANAGER `spec.replicas` alone, so that
neither apply resets the other's part. All template writes are server-side applies: what is gone from the pool is gone
from the Deployment.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from pool_operator.backends.base import ConflictError, PoolObject
from pool_operator.backends.kubernetes import paths
from pool_operator.backends.kubernetes.api import ApiError, Content, KubeApi
from pool_operator.backends.kubernetes.manifest import identity, render
from pool_operator.backends.kubernetes.objects import DeploymentFact, PodFact, deployment, version
from pool_operator.names import DELETION_COST, FIELD_MANAGER, REPLICAS_FIELD_MANAGER

Json = dict[str, Any]


class NotLeadingError(ConflictError):
    """This process may not act (any more): the Lease is another's, or could not be renewed in time.

    Passes in flight just stop, as at any conflict: the process ends by the lost Lease itself.
    """


class Writer:
    """All writes of the backend.

    Args:
        api: the API server.
        leading: whether this process may act now; asked before each write.
    """

    def __init__(self, api: KubeApi, *, leading: Callable[[], bool]) -> None:
        self._api = api
        self._leading = leading

    async def found(self, pool: PoolObject) -> Json | None:
        """The Deployment of the pool's name as the server has it now; None if there is none."""
        try:
            return await self._api.get(paths.deployment(pool.key.namespace, pool.key.name))
        except ApiError as error:
            if error.status == 404:
                return None
            raise

    async def dry_run(self, pool: PoolObject) -> None:
        """Let the API server judge the rendered Deployment; raises its ApiError (4xx) if it refuses."""
        await self._apply(pool, render(pool), FIELD_MANAGER, dry_run=True)

    async def create(self, pool: PoolObject, replicas: int) -> DeploymentFact:
        """Create with `replicas` (0: creating a pool starts no pod), then hand that field to its own manager.

        An apply rather than a POST: a POST co-owns every field for ever, and a removed variable would stay.
        The hand-over may meet the Deployment controller's first status; the backend's next pass repeats it.
        """
        body = render(pool)
        body["spec"]["replicas"] = replicas
        # no version fences what is not there yet. Not forced: if another leader was faster and has handed the number
        # over, a late write of ours is refused instead of setting the replicas of a Deployment that works already
        created = deployment(await self._apply(pool, body, FIELD_MANAGER, force=False))
        try:
            return await self.hand_over(pool, created, replicas)
        except ConflictError:
            return created

    async def hand_over(self, pool: PoolObject, seen: DeploymentFact, replicas: int) -> DeploymentFact:
        """Apply `spec.replicas` alone, under its own manager. Raises ConflictError if the Deployment is not `seen`."""
        body = identity(pool)
        body["metadata"] |= _precondition(seen)
        body["spec"] = {"replicas": replicas}
        return deployment(await self._apply(pool, body, REPLICAS_FIELD_MANAGER))

    async def set_replicas(self, pool: PoolObject, seen: DeploymentFact, replicas: int) -> DeploymentFact:
        """Patch the number by `/scale`, which costs the server half of an apply (5 against 8.5 ms at the median).

        Raises ConflictError if the Deployment is not the version `seen`.
        """
        body = {"metadata": _precondition(seen), "spec": {"replicas": replicas}}
        path = paths.scale(pool.key.namespace, pool.key.name)
        answer = await self._patch(path, body, Content.MERGE, {"fieldManager": REPLICAS_FIELD_MANAGER})
        return replace(
            seen,
            id=replace(seen.id, version=version(answer)),
            wanted=replicas,
            # a new number is a new generation, which no controller can have seen yet
            caught_up=seen.caught_up and replicas == seen.wanted,
        )

    async def set_template(self, pool: PoolObject, seen: DeploymentFact) -> DeploymentFact:
        """Apply everything but `spec.replicas`. Raises ConflictError if the Deployment is not the version `seen`."""
        body = render(pool)
        body["metadata"] |= _precondition(seen)
        return deployment(await self._apply(pool, body, FIELD_MANAGER))

    async def set_costs(self, pods: Mapping[str, PodFact], costs: Mapping[str, int | None]) -> bool:
        """Write deletion costs; True if all were taken. A pod that moved meanwhile is left for the next pass."""
        results = await asyncio.gather(*(self._set_cost(pods[uid], cost) for uid, cost in costs.items()))
        return all(results)

    async def _set_cost(self, pod: PodFact, cost: int | None) -> bool:
        body = {
            "metadata": {
                **_precondition(pod),
                "annotations": {DELETION_COST: None if cost is None else str(cost)},
            }
        }
        try:
            await self._patch(paths.pod(pod.id.namespace, pod.id.name), body, Content.MERGE, {})
        except ConflictError:
            return False
        return True

    async def _apply(
        self, pool: PoolObject, body: Json, manager: str, *, force: bool = True, dry_run: bool = False
    ) -> Json:
        query = {"fieldManager": manager, "force": str(force).lower()} | ({"dryRun": "All"} if dry_run else {})
        path = paths.deployment(pool.key.namespace, pool.key.name)
        return await self._patch(path, body, Content.APPLY, query)

    async def _patch(self, path: str, body: Json, content: Content, query: Mapping[str, str]) -> Json:
        if not self._leading():
            raise NotLeadingError("this process does not lead")
        try:
            return await self._api.call("PATCH", path, query=query, body=body, content=content)
        except ApiError as error:
            if error.status in {404, 409}:
                raise ConflictError(f"{path} moved since it was observed: {error.message}") from error
            raise


def _precondition(seen: DeploymentFact | PodFact) -> dict[str, str]:
    return {"uid": seen.id.uid, "resourceVersion": str(seen.id.version)}
