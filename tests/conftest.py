"""Fixtures that every suite may use."""

from __future__ import annotations

import pytest
from tests.servers import binaries, redis_server


@pytest.fixture(params=sorted(binaries(), reverse=True))
def server(request):
    """A fresh Redis server for this test: the test runs once per kind of server on this machine."""
    with redis_server(request.param) as it:
        yield it


@pytest.fixture
def valkey():
    """A fresh bundled Valkey, for tests that need no second kind of server."""
    with redis_server("valkey") as it:
        yield it
