"""Fixtures that every suite may use."""

from __future__ import annotations

import signal
import threading

import pytest
from hypothesis import HealthCheck, settings
from tests.servers import binaries, redis_server

# a busy machine is no failure: nothing here is timed
settings.register_profile("product", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("product")

# a shell that starts tests in the background lets them ignore Ctrl-C, and every process that they start with them
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN and threading.current_thread() is threading.main_thread():
    signal.signal(signal.SIGINT, signal.default_int_handler)


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
