"""The operator as pods: installed as users install it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from tests.cluster.waiting import until
from tests.node.cluster import ROOT, Cluster

NAMESPACE = "processing-pool"
MANIFEST = ROOT / "manifests" / "install.yaml"


@dataclass
class Installation:
    """A running operator, however it was installed."""

    cluster: Cluster

    def wait(self) -> None:
        """Until all of its pods are ready, and one of them leads."""
        kubectl = self.cluster.plane.kubectl
        kubectl("rollout", "status", "deployment/processing-pool", "--namespace", NAMESPACE, "--timeout=120s")
        until(lambda: self.leader(), what="an operator leads", seen=self.describe)

    def pods(self) -> list[str]:
        found = json.loads(self.cluster.plane.kubectl("get", "pods", "--namespace", NAMESPACE, "--output", "json"))
        return [one["metadata"]["name"] for one in found["items"] if "deletionTimestamp" not in one["metadata"]]

    def leader(self) -> str | None:
        """Name of the pod that holds the Lease."""
        out = self.cluster.plane.kubectl(
            "get",
            "lease",
            "processingpool-operator",
            "--namespace",
            NAMESPACE,
            "--output=jsonpath={.spec.holderIdentity}",
            check=False,
        )
        return next((name for name in self.pods() if out.startswith(name)), None)

    def uid(self, pod: str) -> str:
        return self.cluster.plane.kubectl(
            "get", "pod", pod, "--namespace", NAMESPACE, "--output=jsonpath={.metadata.uid}"
        )

    def scale(self, replicas: int) -> None:
        """Change the number of operators and wait until it is so."""
        kubectl = self.cluster.plane.kubectl
        kubectl("scale", "deployment/processing-pool", "--namespace", NAMESPACE, f"--replicas={replicas}")
        if replicas:
            self.wait()
        else:
            until(lambda: not self.pods(), what="no operator is left", seen=self.describe)

    def describe(self) -> str:
        return self.cluster.plane.kubectl("describe", "pods", "--namespace", NAMESPACE)[-4000:]

    def save_logs(self) -> None:
        """What each pod said, also before a restart, beside the other logs of the cluster."""
        for name in self.pods():
            for flags in ([], ["--previous"]):
                text = self.cluster.plane.kubectl("logs", name, "--namespace", NAMESPACE, *flags, check=False)
                if text:
                    path = Path(self.cluster.folder) / f"{name}{''.join(flags)}.log"
                    path.write_text(text, encoding="utf-8")


def install_by_manifests(cluster: Cluster) -> Installation:
    cluster.plane.kubectl("apply", "--server-side", "-f", str(MANIFEST))
    it = Installation(cluster)
    it.wait()
    return it


def uninstall_manifests(cluster: Cluster) -> None:
    cluster.plane.kubectl("delete", "-f", str(MANIFEST), "--wait=true", "--timeout=90s")
