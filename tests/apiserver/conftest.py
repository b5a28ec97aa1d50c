"""One control plane for the session, one namespace for each test."""

from __future__ import annotations

import os
import uuid
from pathlib import Path

import pytest
from tests.apiserver.fleet import fleet
from tests.apiserver.operator_process import installation
from tests.control_plane.binaries import MissingBinariesError, require
from tests.control_plane.plane import ControlPlane
from tests.servers import redis_server

ROOT = Path(__file__).resolve().parents[2]
CRD = ROOT / "crds" / "processingpools.yaml"
_logs: list[Path] = []


@pytest.fixture(scope="session")
def control_plane(tmp_path_factory):
    """etcd, API server, controllers, scheduler and two KWOK nodes of 4 GPUs each, with our resource installed."""
    try:
        require()
    except MissingBinariesError as error:
        if os.environ.get("CI") == "true":
            pytest.fail(str(error))
        pytest.skip(str(error))
    folder = tmp_path_factory.mktemp("control-plane")
    _logs.append(folder)
    with ControlPlane(folder) as plane, pytest.MonkeyPatch.context() as patch:
        patch.setenv("KUBECONFIG", str(plane.kubeconfig))
        plane.kubectl("apply", "--server-side", "-f", str(CRD))
        plane.kubectl("wait", "--for=condition=Established", "-f", str(CRD), "--timeout=30s")
        yield plane


@pytest.fixture
def kubectl(control_plane):
    """`kubectl(*arguments, stdin=None, check=True)` as the administrator; returns its standard output."""
    return control_plane.kubectl


@pytest.fixture
def namespace(control_plane):
    """A fresh namespace; it goes in the background after the test, its pools and their GPUs at once."""
    name = f"test-{uuid.uuid4().hex[:8]}"
    control_plane.post("/api/v1/namespaces", {"metadata": {"name": name}})
    yield name
    control_plane.kubectl("delete", "namespace", name, "--wait=false")


@pytest.fixture(scope="session")
def redis_process():
    """A Redis with keyspace events for the session, and a client of it."""
    with redis_server("valkey", "--notify-keyspace-events", "Kl") as server, server.client() as client:
        yield server, client


@pytest.fixture
def queue(redis_process):
    """A client of an empty Redis with keyspace events; its `.port` is the port."""
    server, client = redis_process
    client.flushall()
    client.port = server.port
    return client


@pytest.fixture
def it(namespace, kubectl, tmp_path):
    """The operator's rights in the test's namespace; the test starts operators and acts as a user."""
    with installation(namespace, kubectl, tmp_path) as made:
        yield made


@pytest.fixture
def workers(control_plane, namespace, queue):
    """A worker for each ready pod of the test's namespace."""
    with fleet(control_plane, namespace, f"redis://127.0.0.1:{queue.port}") as made:
        yield made


def pytest_terminal_summary(terminalreporter):
    if _logs and (terminalreporter.stats.get("failed") or terminalreporter.stats.get("error")):
        terminalreporter.write_line(f"logs of the control plane: {_logs[0]}")
