#!/usr/bin/env python3
"""Keep what is copied or rendered in step: the chart's CRD (from crds/) and manifests/*.yaml (from the chart).

    hack/sync_chart.py           write them
    hack/sync_chart.py --check   exit 1 and name what differs

Helm is looked up in $HELM, on PATH, then among the tools that `make control-plane` builds.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CHART = ROOT / "charts" / "processing-pool"
CRD = "processingpools.yaml"
NAMESPACE = "processing-pool"
HEADER = "# Rendered from charts/processing-pool by hack/sync_chart.py; change it there.\n"
WITHOUT_HELM = ["--set", "metrics.service.enabled=true", "--set", "crds.keep=false"]
MANIFESTS = {
    "install.yaml": [],
    "install-namespaced.yaml": ["--set", "operator.namespaces={media}", "--set", "rbac.aggregate=false"],
}


def helm() -> str:
    built = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "processing-pool" / "control-plane" / "bin"
    found = os.environ.get("HELM") or shutil.which("helm") or shutil.which("helm", path=str(built))
    if not found:
        sys.exit("hack/sync_chart.py: no helm; put one on PATH, set HELM, or run `make control-plane`")
    return found


def render(arguments: list[str]) -> str:
    command = [helm(), "template", NAMESPACE, str(CHART), "--namespace", NAMESPACE, *WITHOUT_HELM, *arguments]
    text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    lines = [line for line in text.splitlines() if not line.startswith("# Source:")]
    plain = "\n".join(lines).replace("managed-by: Helm", "managed-by: kubectl")
    namespace = f"apiVersion: v1\nkind: Namespace\nmetadata:\n  name: {NAMESPACE}\n  labels:\n    pod-security.kubernetes.io/enforce: restricted\n"
    note = (
        "# It serves pools in the namespace `media`, which must exist: put your own name there.\n" if arguments else ""
    )
    return f"{HEADER}{note}{namespace}{plain.strip()}\n"


def wanted() -> dict[Path, str]:
    """Each generated file and its text. The CRD's copy is written first: the chart renders it."""
    files = {CHART / "files" / CRD: (ROOT / "crds" / CRD).read_text(encoding="utf-8")}
    return files | {ROOT / "manifests" / name: render(arguments) for name, arguments in MANIFESTS.items()}


def main() -> int:
    copy = CHART / "files" / CRD
    source = (ROOT / "crds" / CRD).read_text(encoding="utf-8")
    check = "--check" in sys.argv[1:]
    if not check:
        copy.parent.mkdir(exist_ok=True)
        copy.write_text(source, encoding="utf-8")
    elif not copy.exists() or copy.read_text(encoding="utf-8") != source:
        print(f"{copy.relative_to(ROOT)} is out of date: run hack/sync_chart.py", file=sys.stderr)
        return 1
    stale = [path for path, text in wanted().items() if not path.exists() or path.read_text(encoding="utf-8") != text]
    if check:
        for path in stale:
            print(f"{path.relative_to(ROOT)} is out of date: run hack/sync_chart.py", file=sys.stderr)
        return 1 if stale else 0
    for path in stale:
        path.parent.mkdir(exist_ok=True)
        path.write_text(wanted()[path], encoding="utf-8")
        print(f"wrote {path.relative_to(ROOT)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
