"""The fake backend keeps the contract that the real ones keep."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager

from tests.fakes.backend import FakeBackend
from tests.fakes.pools import pool_object
from tests.pure.backend_contract import BackendContract


class Harness:
    def __init__(self, backend):
        self.backend = backend
        self.pool = pool_object(max_replicas=4)

    async def until(self, condition, what):
        for _ in range(500):
            view = self.backend.view(self.pool)
            if condition(view):
                return view
            await asyncio.sleep(0.01)
        raise AssertionError(f"never: {what}")

    async def gone(self):
        return None


class TestFakeBackend(BackendContract):
    @asynccontextmanager
    async def harness(self):
        async with FakeBackend() as backend:
            yield Harness(backend)
