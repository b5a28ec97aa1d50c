"""Helm for tests: render the chart, and act with exactly the rights it gives."""

from __future__ import annotations

import os
import shutil
import subprocess
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
CHART = ROOT / "charts" / "processing-pool"
OPERATOR = "processing-pool"
"""Release and namespace of the operator, as in manifests/install.yaml."""
RIGHTS = {"ServiceAccount", "Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding"}


def helm():
    built = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "processing-pool" / "control-plane" / "bin"
    found = shutil.which("helm") or shutil.which("helm", path=str(built))
    if found is None:
        reason = "helm is missing: put one on PATH or run `make control-plane`"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    return found


def run_helm(*arguments):
    return subprocess.run([helm(), *arguments], capture_output=True, text=True, check=False)


def render(*arguments):
    done = run_helm("template", OPERATOR, str(CHART), "--namespace", OPERATOR, *arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout


@contextmanager
def operator_kubeconfig(kubectl, objects, folder):
    """Apply the rendered rights, and yield a kubeconfig of the operator's ServiceAccount."""
    rights = yaml.safe_dump_all([one for one in objects if one["kind"] in RIGHTS])
    kubectl("create", "namespace", OPERATOR, check=False)
    kubectl("apply", "--server-side", "-f", "-", stdin=rights)
    try:
        token = kubectl("create", "token", OPERATOR, "--namespace", OPERATOR).strip()
        config = yaml.safe_load(kubectl("config", "view", "--raw", "--minify", "--flatten"))
        config["users"] = [{"name": config["contexts"][0]["context"]["user"], "user": {"token": token}}]
        path = Path(folder) / "operator.kubeconfig"
        path.write_text(yaml.safe_dump(config), encoding="utf-8")
        yield path
    finally:
        kubectl("delete", "--ignore-not-found", "-f", "-", stdin=rights)
