"""Servers for the tests of this suite that need more than one, or one that comes and goes."""

from __future__ import annotations

import pytest
from tests.servers import binaries, redis_server
from tests.servers import free_port as a_free_port


@pytest.fixture
def second_server():
    """A second server beside `server`."""
    with redis_server("valkey") as it:
        yield it


@pytest.fixture(params=sorted(binaries(), reverse=True))
def restartable(request):
    """A server that keeps its data over a stop and a start."""
    with redis_server(request.param, "--appendonly", "yes", "--appendfsync", "always") as it:
        yield it


@pytest.fixture
def free_port():
    """A port of the loopback that nobody listens on."""
    return a_free_port()
