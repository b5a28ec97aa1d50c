"""Where the programs of the control plane are: KUBEBUILDER_ASSETS, then PATH, then what `make control-plane` built."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from pathlib import Path

CONTROL_PLANE = ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubectl", "kwok")


class MissingBinariesError(Exception):
    """Programs that are nowhere; the message names them and what to do."""


def built() -> Path:
    """The folder that hack/control-plane/build.sh links its programs into."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "processing-pool" / "control-plane" / "bin"


def find(name: str) -> str | None:
    for folder in (os.environ.get("KUBEBUILDER_ASSETS"), None, str(built())):  # None: PATH
        if folder != "" and (found := shutil.which(name, path=folder)) is not None:
            return found
    return None


def require(names: Iterable[str] = CONTROL_PLANE) -> dict[str, str]:
    """Path of each program.

    Raises:
        MissingBinariesError: some are nowhere.
    """
    found = {name: find(name) for name in names}
    if missing := [name for name, path in found.items() if path is None]:
        raise MissingBinariesError(
            f"{', '.join(missing)} not found: run `make control-plane` (builds pinned versions once, about 8 minutes on "
            "2 cores, needs Go), or put them on PATH, or set KUBEBUILDER_ASSETS to their folder"
        )
    return {name: path for name, path in found.items() if path is not None}
