"""What every backend promises the reconciler: one test, run on the fake, the local and the Kubernetes backend.

Sub-class `BackendContract`, give it a `harness()`, name the class `Test…`. A harness shows one pool; its replicas
start by themselves and hold no jobs unless a test of the backend's own makes them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from pool_operator.backends.base import Applied, Backend, BackendView, ConflictError, PoolObject, Target
from pool_operator.engine.types import ReplicaPhase


class BackendHarness(Protocol):
    backend: Backend
    pool: PoolObject  # maxReplicas at least 4, one slot, minReplicas 0

    async def until(self, condition: Callable[[BackendView], bool], what: str) -> BackendView:
        """Wait generously until the view meets the condition; fail naming `what`."""

    async def gone(self) -> None:
        """The pool is deleted at its source (nothing to do where removal is the backend's own work)."""


def target(replicas: int, *, drained=(), leaving=(), idle=()) -> Target:
    gone = frozenset(drained)
    return Target(
        replicas=replicas, slots=1, drained=gone, leaving=gone | frozenset(leaving), idle=gone | frozenset(idle)
    )


def ready(view: BackendView) -> list[str]:
    return [one.id for one in view.replicas if one.phase is ReplicaPhase.READY]


async def apply(it: BackendHarness, wish: Target) -> Applied:
    """As the controller does: a conflict means to observe again."""
    for _ in range(100):
        try:
            return await it.backend.apply(it.pool, wish)
        except ConflictError:
            await asyncio.sleep(0.1)
    raise AssertionError("only conflicts")


async def drive(
    it: BackendHarness, wish: Callable[[BackendView], Target], done: Callable[[BackendView], bool], what: str
) -> BackendView:
    """Apply again and again, as `wait_seconds` asks for, until the view meets the condition."""
    for _ in range(600):
        view = it.backend.view(it.pool)
        if done(view):
            return view
        applied = await apply(it, wish(view))
        await asyncio.sleep(min(applied.wait_seconds or 0.05, 0.2))
    raise AssertionError(f"never: {what}; the view is {it.backend.view(it.pool)}")


class BackendContract:
    """Tests; `harness` comes from the sub-class."""

    def harness(self) -> AbstractAsyncContextManager[BackendHarness]:
        raise NotImplementedError

    def test_a_new_pool_has_no_replica_and_wants_none(self):
        async def scenario():
            async with self.harness() as it:
                view = await it.until(lambda view: view.synced, "synced")
                assert view.replicas == ()
                assert view.wanted == 0
                await apply(it, target(0))
                assert it.backend.view(it.pool).replicas == ()

        asyncio.run(scenario())

    def test_up_goes_to_the_target_at_once(self):
        async def scenario():
            async with self.harness() as it:
                await it.until(lambda view: view.synced, "synced")
                applied = await apply(it, target(3))
                assert applied.changed
                assert applied.wanted == 3
                view = await it.until(lambda view: len(ready(view)) == 3, "three ready")
                assert view.wanted == 3
                assert view.exists
                assert len({one.id for one in view.replicas}) == 3
                again = await apply(it, target(3))
                assert again.wanted == 3
                assert len(it.backend.view(it.pool).replicas) == 3

        asyncio.run(scenario())

    def test_nothing_undrained_is_ever_removed(self):
        async def scenario():
            async with self.harness() as it:
                await it.until(lambda view: view.synced, "synced")
                await apply(it, target(2))
                before = set(ready(await it.until(lambda view: len(ready(view)) == 2, "two ready")))
                for _ in range(5):
                    await apply(it, target(0, leaving=before))
                    await asyncio.sleep(0.1)
                view = it.backend.view(it.pool)
                assert set(ready(view)) == before
                assert view.wanted == 2

        asyncio.run(scenario())

    def test_down_removes_exactly_the_drained(self):
        async def scenario():
            async with self.harness() as it:
                await it.until(lambda view: view.synced, "synced")
                await apply(it, target(3))
                ids = sorted(ready(await it.until(lambda view: len(ready(view)) == 3, "three ready")))
                chosen = ids[:2]
                view = await drive(
                    it,
                    lambda _: target(1, drained=chosen),
                    lambda view: view.wanted == 1 and [one.id for one in view.replicas] == ids[2:],
                    "one replica left",
                )
                assert ready(view) == ids[2:]

        asyncio.run(scenario())

    def test_no_more_are_removed_than_the_target_says(self):
        async def scenario():
            async with self.harness() as it:
                await it.until(lambda view: view.synced, "synced")
                await apply(it, target(3))
                ids = sorted(ready(await it.until(lambda view: len(ready(view)) == 3, "three ready")))
                view = await drive(
                    it,
                    lambda _: target(2, drained=ids),
                    lambda view: len(view.replicas) == 2,
                    "two replicas left",
                )
                await apply(it, target(2, drained=ids))
                assert it.backend.view(it.pool).wanted == 2
                assert {one.id for one in view.replicas} <= set(ids)

        asyncio.run(scenario())

    def test_replicas_that_come_again_have_new_ids(self):
        async def scenario():
            async with self.harness() as it:
                await it.until(lambda view: view.synced, "synced")
                await apply(it, target(1))
                first = ready(await it.until(lambda view: len(ready(view)) == 1, "one ready"))
                await drive(it, lambda _: target(0, drained=first), lambda view: not view.replicas, "none left")
                await drive(it, lambda _: target(1), lambda view: len(ready(view)) == 1, "one again")
                assert ready(it.backend.view(it.pool)) != first

        asyncio.run(scenario())
