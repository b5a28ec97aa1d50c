"""What is stamped into a user's pod template beside environment: probes, arguments, security defaults. Pure.

A setting that the user made wins; we only fill in what is absent.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

HEALTH_PORT: Final = 8081
TEMPORARY: Final = "processingpool-tmp"
TMP: Final = "/tmp"  # noqa: S108 - a path inside the container
Json = dict[str, Any]


def stamp_worker(worker: Json, environment: Sequence[Json]) -> None:
    """Command, environment and probes of the container `worker`, in place."""
    if not worker.get("command") and not worker.get("args"):
        worker["args"] = ["processingpool", "worker"]
    reserved = {entry["name"] for entry in environment} | {"PROCESSINGPOOL_HEALTH_PORT"}
    own = [entry for entry in worker.get("env") or () if entry.get("name") not in reserved]
    port = {"name": "PROCESSINGPOOL_HEALTH_PORT", "value": str(HEALTH_PORT)}
    # ours first: the user's entries may refer to them as $(NAME)
    worker["env"] = [*environment, port, *own]
    worker.setdefault(
        "livenessProbe",
        _probe("/livez", initialDelaySeconds=10, periodSeconds=10, timeoutSeconds=5, failureThreshold=6),
    )
    worker.setdefault("readinessProbe", _probe("/readyz", periodSeconds=2, timeoutSeconds=5, failureThreshold=3))


def _probe(path: str, **timing: int) -> Json:
    return {"httpGet": {"path": path, "port": HEALTH_PORT}, **timing}


def harden(pod: Json) -> None:
    """Defaults of the restricted Pod Security standard, and a read-only root with a writable /tmp, in place."""
    pod["securityContext"] = {
        "runAsNonRoot": True,
        "seccompProfile": {"type": "RuntimeDefault"},
        **(pod.get("securityContext") or {}),
    }
    for container in [*(pod.get("initContainers") or ()), *(pod.get("containers") or ())]:
        context = container.get("securityContext") or {}
        container["securityContext"] = {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
            **context,
        }
        if container["securityContext"]["readOnlyRootFilesystem"]:
            _writable_tmp(pod, container)


def _writable_tmp(pod: Json, container: Json) -> None:
    mounts = container.setdefault("volumeMounts", [])
    if any(mount.get("mountPath", "").rstrip("/") == TMP for mount in mounts):
        return
    mounts.append({"name": TEMPORARY, "mountPath": TMP})
    volumes = pod.setdefault("volumes", [])
    if not any(volume.get("name") == TEMPORARY for volume in volumes):
        volumes.append({"name": TEMPORARY, "emptyDir": {}})
    environment = container.setdefault("env", [])
    if not any(entry.get("name") == "XDG_CACHE_HOME" for entry in environment):
        environment.append({"name": "XDG_CACHE_HOME", "value": f"{TMP}/.cache"})
