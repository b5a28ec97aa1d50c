"""One cluster with one operator for the session; a namespace, a Redis database and a media folder for each test."""

from __future__ import annotations

import itertools
import os
from pathlib import Path

import pytest
from tests.cluster.installation import install_by_manifests
from tests.cluster.site import Site
from tests.node.cluster import Cluster, build_images
from tests.node.host import obstacle

SECONDS_PER_TEST = 300
_databases = itertools.count(1)
_logs: list[Path] = []


def pytest_collection_modifyitems(items):
    """Building images and starting the cluster is not the first test's time."""
    for item in items:
        if Path(__file__).parent in item.path.parents and item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(SECONDS_PER_TEST, func_only=True))


@pytest.fixture(scope="session")
def cluster(tmp_path_factory):
    """A control plane, a node and a Redis; the product's own images are on the node."""
    if reason := obstacle():
        if os.environ.get("CI") == "true":
            pytest.fail(f"tests/cluster cannot run: {reason}")
        pytest.skip(f"tests/cluster cannot run: {reason}")
    images = build_images()
    folder = tmp_path_factory.mktemp("cluster")
    _logs.append(folder)
    with Cluster(folder, images) as it:
        yield it


@pytest.fixture(scope="session")
def operator(cluster):
    """The operator as pods, installed by manifests/install.yaml as it stands."""
    it = install_by_manifests(cluster)
    yield it
    it.save_logs()


@pytest.fixture
def site(cluster, operator):
    """Where one test's pool lives."""
    with Site.made(cluster, database=next(_databases)) as it:
        yield it


def pytest_terminal_summary(terminalreporter):
    if _logs and (terminalreporter.stats.get("failed") or terminalreporter.stats.get("error")):
        terminalreporter.write_line(f"logs of the cluster: {_logs[0]}")
