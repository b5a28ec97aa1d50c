"""One control plane for the session, one namespace for each test."""

from __future__ import annotations

import os
import uuid
from pathlib import Path

import pytest
from tests.control_plane.binaries import MissingBinariesError, require
from tests.control_plane.plane import ControlPlane

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


def pytest_terminal_summary(terminalreporter):
    if _logs and (terminalreporter.stats.get("failed") or terminalreporter.stats.get("error")):
        terminalreporter.write_line(f"logs of the control plane: {_logs[0]}")
