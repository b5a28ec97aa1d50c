"""The control plane and the operator of tests/apiserver, and Redis servers that come back with their data."""

from __future__ import annotations

import pytest
from tests.apiserver.conftest import control_plane, it, kubectl, namespace  # noqa: F401 - fixtures
from tests.servers import redis_server

DURABLE = ("--appendonly", "yes", "--appendfsync", "always", "--notify-keyspace-events", "Kl")


@pytest.fixture
def durable():
    """A Redis that has on disk what it acknowledged, and pushes."""
    with redis_server("valkey", *DURABLE) as server:
        yield server
