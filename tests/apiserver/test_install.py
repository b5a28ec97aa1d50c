"""The two ways of installing, for the whole cluster and for one namespace, done for real and undone again.

KWOK starts the operator's pods without running them; the operator itself runs here as a process, with the token of the
installed ServiceAccount and the arguments and environment of the installed Deployment.
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest
import yaml
from tests.apiserver.chart import CHART, OPERATOR, ROOT, run_helm
from tests.apiserver.conftest import CRD
from tests.apiserver.operator_process import COMMAND, Installation, enqueue, pool_body, stop, until
from tests.control_plane.process import end_with_parent

SERVED = "media"  # the namespace that manifests/install-namespaced.yaml names


@pytest.fixture
def clean(kubectl):
    """Nothing of ours in the cluster before, everything that other tests need after."""
    kubectl("delete", "crd", "processingpools.processingpool.dev", "--ignore-not-found")
    kubectl("delete", "namespace", OPERATOR, SERVED, "--ignore-not-found")
    kubectl("delete", "clusterrole,clusterrolebinding", "-l", "app.kubernetes.io/part-of=processing-pool")
    kubectl("create", "namespace", SERVED)
    yield
    kubectl("delete", "namespace", OPERATOR, SERVED, "--ignore-not-found", "--wait=false")
    kubectl("apply", "--server-side", "--force-conflicts", "-f", str(CRD))
    kubectl("wait", "--for=condition=Established", "-f", str(CRD), "--timeout=30s")


class ByManifests:
    def __init__(self, kubectl, file):
        self._kubectl, self._path = kubectl, str(ROOT / "manifests" / file)

    def install(self):
        self._kubectl("apply", "--server-side", "-f", self._path)

    def uninstall(self):
        self._kubectl("delete", "-f", self._path)

    def after(self):
        assert "processingpools" not in self._kubectl("get", "crd", "-o", "name")


class ByHelm:
    def __init__(self, kubectl, *values):
        self._kubectl, self._values = kubectl, values

    def install(self):
        where = ("--namespace", OPERATOR, "--create-namespace")
        done = run_helm("install", OPERATOR, str(CHART), *where, *self._values)
        assert done.returncode == 0, done.stderr
        assert "kubectl get processingpools" in done.stdout

    def uninstall(self):
        done = run_helm("uninstall", OPERATOR, "--namespace", OPERATOR)
        assert done.returncode == 0, done.stderr

    def after(self):
        """The chart keeps the resource, and with it the pools."""
        assert "processingpools" in self._kubectl("get", "crd", "-o", "name")


WAYS = {
    "manifests": lambda kubectl: ByManifests(kubectl, "install.yaml"),
    "manifests-namespaced": lambda kubectl: ByManifests(kubectl, "install-namespaced.yaml"),
    "helm": ByHelm,
    "helm-namespaced": lambda kubectl: ByHelm(kubectl, "--set", f"operator.namespaces={{{SERVED}}}"),
}


@pytest.mark.parametrize("way", WAYS)
def test_it_installs_serves_a_pool_and_goes_again(clean, control_plane, kubectl, queue, tmp_path, way):
    it = WAYS[way](kubectl)
    it.install()
    kubectl("rollout", "status", f"deployment/{OPERATOR}", "--namespace", OPERATOR, "--timeout=60s")
    user = Installation(SERVED, None, tmp_path, kubectl)
    operator = as_installed(kubectl, control_plane, tmp_path)
    try:
        user.apply(pool_body(queue.port))
        user.wait_ready("speech")
        enqueue(queue, 3)
        until(lambda: len(user.pods()) == 3, what="three replicas")
        user.kubectl("delete", "processingpool", "speech", "--timeout=30s")
        until(lambda: not user.items("pods"), what="none left")
    finally:
        status = stop(operator)
        print((tmp_path / "operator.log").read_text(encoding="utf-8"))
    assert status == 0
    it.uninstall()
    until(lambda: OPERATOR not in kubectl("get", "deployment", "-A", "-o", "name"), what="the operator gone")
    assert OPERATOR not in kubectl("get", "clusterrole,clusterrolebinding", "-o", "name")
    it.after()


def as_installed(kubectl, control_plane, folder):
    """The operator's container as a process of this machine; only its kubeconfig and health port are ours."""
    deployment = json.loads(kubectl("get", "deployment", OPERATOR, "--namespace", OPERATOR, "-o", "json"))
    pod = deployment["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    environment = {one["name"]: OPERATOR if "valueFrom" in one else one.get("value", "") for one in container["env"]}
    token = kubectl("create", "token", pod["serviceAccountName"], "--namespace", OPERATOR).strip()
    config = yaml.safe_load(Path(control_plane.kubeconfig).read_text(encoding="utf-8"))
    config["users"][0]["user"] = {"token": token}
    kubeconfig = Path(folder) / "operator.kubeconfig"
    kubeconfig.write_text(yaml.safe_dump(config), encoding="utf-8")
    assert container["args"] == ["processingpool", "operator"]
    with (Path(folder) / "operator.log").open("w", encoding="utf-8") as log:
        return subprocess.Popen(
            [*COMMAND, "--health-port", "0", "--health-host", "127.0.0.1"],
            env={**os.environ, **environment, "KUBECONFIG": str(kubeconfig)},
            stdout=log,
            stderr=subprocess.STDOUT,
            preexec_fn=end_with_parent,
        )
