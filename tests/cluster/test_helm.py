"""The chart on a real cluster: it installs, the pool scales, and uninstalling keeps the pools."""

from __future__ import annotations

import json
import subprocess

import pytest
from tests.apiserver.chart import CHART, OPERATOR, helm
from tests.cluster.installation import NAMESPACE, Installation, install_by_manifests, uninstall_manifests


@pytest.fixture
def by_helm(cluster, operator):
    """The operator by Helm in the place of the one by manifests, in a namespace of its own making."""
    operator.save_logs()
    uninstall_manifests(cluster)
    _helm(
        cluster, "install", OPERATOR, str(CHART), "--create-namespace", "--wait", "--timeout=120s", "--set=replicas=1"
    )
    it = Installation(cluster)
    it.wait()
    yield it
    it.save_logs()
    _helm(cluster, "uninstall", OPERATOR, "--wait")
    kinds = json.loads(cluster.plane.kubectl("get", "crd", "-o", "json"))["items"]
    assert [one["metadata"]["name"] for one in kinds] == ["processingpools.processingpool.dev"], "pools are kept"
    cluster.plane.kubectl("delete", "crd", "processingpools.processingpool.dev")
    install_by_manifests(cluster)


def test_an_installation_by_helm_scales_from_zero_and_back(by_helm, site):
    site.apply(site.pool(maxReplicas=2))
    ids = [site.enqueue("workload.nap", seconds=1) for _ in range(4)]
    site.until_finished(ids)
    site.until_empty()
    assert site.runs.once(ids)


def _helm(cluster, *arguments):
    command = [helm(), *arguments, "--namespace", NAMESPACE, "--kubeconfig", str(cluster.plane.kubeconfig)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
