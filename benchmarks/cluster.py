"""A real control plane with its audit log, the operator on it as a process with the shipped rights, and pools."""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import yaml
from tests.control_plane.plane import ControlPlane, Options
from tests.control_plane.process import Child

ROOT = Path(__file__).resolve().parents[1]
OPERATOR = "processing-pool"
"""Namespace and ServiceAccount of the operator in manifests/install.yaml."""
USER = f"system:serviceaccount:{OPERATOR}:{OPERATOR}"
RIGHTS = {"Namespace", "ServiceAccount", "Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding"}
NAMESPACE = "bench"
PATIENCE_SECONDS = 60.0


@contextmanager
def control_plane() -> Iterator[ControlPlane]:
    """With our resource, the operator's rights and the namespace `bench`."""
    with (
        tempfile.TemporaryDirectory(prefix="pp-bench-") as folder,
        ControlPlane(Path(folder), Options(audit=True)) as plane,
    ):
        plane.kubectl("apply", "--server-side", "-f", str(ROOT / "crds"))
        plane.kubectl("wait", "--for=condition=Established", "-f", str(ROOT / "crds"), "--timeout=30s")
        objects = yaml.safe_load_all((ROOT / "manifests" / "install.yaml").read_text(encoding="utf-8"))
        rights = yaml.safe_dump_all([one for one in objects if one and one["kind"] in RIGHTS])
        plane.kubectl("apply", "--server-side", "-f", "-", stdin=rights)
        plane.kubectl("create", "namespace", NAMESPACE)
        yield plane


@contextmanager
def operator(plane: ControlPlane, *flags: str) -> Iterator[Child]:
    """`processingpool operator` in a process of its own; it leads when this returns."""
    token = plane.kubectl("create", "token", OPERATOR, "--namespace", OPERATOR).strip()
    config = yaml.safe_load(plane.kubectl("config", "view", "--raw", "--minify", "--flatten"))
    config["users"] = [{"name": config["contexts"][0]["context"]["user"], "user": {"token": token}}]
    path = plane.folder / "operator.kubeconfig"
    path.write_text(yaml.safe_dump(config), encoding="utf-8")
    command = [str(Path(sys.executable).with_name("processingpool")), "operator", "--health-port", "0"]
    fixed = ["--health-host", "127.0.0.1", "--lease-namespace", OPERATOR]
    child = Child(
        "operator", [*command, *fixed, *flags], plane.folder, environment={**os.environ, "KUBECONFIG": str(path)}
    )
    try:
        until(lambda: "leading as" in child.tail(10**6), "the operator leads", child)
        yield child
    finally:
        child.stop()


def pool(name: str, port: int, queue: str, **spec: object) -> dict[str, Any]:
    """Its pods are never scheduled: what is measured ends with the write that asks for them."""
    worker = {"name": "worker", "image": "worker:1", "resources": {"limits": {"memory": "4Gi"}}}
    return {
        "apiVersion": "processingpool.dev/v1alpha1",
        "kind": "ProcessingPool",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {
            "redis": {"host": "127.0.0.1", "port": port},
            "queues": [{"name": queue}],
            "minReplicas": 0,
            "maxReplicas": 10,
            "template": {"spec": {"schedulerName": "nobody", "containers": [worker]}},
            **spec,
        },
    }


def apply(plane: ControlPlane, *objects: dict[str, Any]) -> None:
    plane.kubectl("apply", "--server-side", "-f", "-", stdin=yaml.safe_dump_all(objects))


def deployment_path(name: str) -> str:
    return f"/apis/apps/v1/namespaces/{NAMESPACE}/deployments/{name}"


class AuditLog:
    """Reads on from where it stopped."""

    def __init__(self, plane: ControlPlane) -> None:
        self._file = plane.audit_log.open("rb")
        self._rest = b""

    def new(self) -> list[dict[str, Any]]:
        """Requests that were answered since the last call."""
        *lines, self._rest = (self._rest + self._file.read()).split(b"\n")
        entries = (json.loads(line) for line in lines if line)
        return [one for one in entries if one["stage"] == "ResponseComplete"]

    def close(self) -> None:
        self._file.close()


def answered_at(entry: dict[str, Any]) -> float:
    """Unix seconds by this machine's clock, which is the caller's too."""
    return datetime.fromisoformat(entry["stageTimestamp"]).timestamp()


def is_write(entry: dict[str, Any]) -> bool:
    return entry["verb"] in {"create", "update", "patch", "delete", "deletecollection"}


def what(entry: dict[str, Any]) -> str:
    """Verb, kind and name, for people."""
    it = entry.get("objectRef", {})
    kind = "/".join(part for part in (it.get("resource"), it.get("subresource")) if part)
    return f"{entry['verb']} {kind} {it.get('name', '')}".strip()


def until(condition: Any, text: str, child: Child | None = None, *, pause_seconds: float = 0.05) -> Any:
    end = time.monotonic() + PATIENCE_SECONDS
    while not (found := condition()):
        if child is not None:
            child.check()
        if time.monotonic() > end:
            raise RuntimeError(f"not within {PATIENCE_SECONDS:g} s: {text}" + (f"\n{child.tail()}" if child else ""))
        time.sleep(pause_seconds)
    return found
