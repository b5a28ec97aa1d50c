"""The Kubernetes backend keeps what every backend promises; real controllers, KWOK nodes."""

from __future__ import annotations

from contextlib import asynccontextmanager

import pytest
from tests.apiserver.backend_harness import harness
from tests.apiserver.test_operator_backend import POOL, create
from tests.pure.backend_contract import BackendContract

from pool_operator.backends.kubernetes import paths


class _OnePool:
    """A pool on the API server, in the shape that the contract asks for."""

    def __init__(self, h):
        self._h = h
        self.backend = h.backend

    @property
    def pool(self):
        return self._h.pools[POOL]

    async def until(self, condition, what):
        await self._h.until(lambda: condition(self._h.view(POOL)), what=what)
        return self._h.view(POOL)

    async def gone(self):
        await self._h.api.call("DELETE", f"{paths.pools(self._h.namespace)}/{POOL}")


class TestKubernetesBackend(BackendContract):
    @pytest.fixture(autouse=True)
    def _namespace(self, namespace):
        self.namespace = namespace

    @asynccontextmanager
    async def harness(self):
        async with harness(self.namespace) as h:
            await create(h)
            yield _OnePool(h)
