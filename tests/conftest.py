"""Fixtures that every suite may use."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, settings
from tests.servers import binaries, redis_server

# a busy machine is no failure: nothing here is timed
settings.register_profile("product", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("product")


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
