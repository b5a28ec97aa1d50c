"""Nodes that cost nothing: KWOK plays their kubelets, by the stages in stages.yaml. Pods there run nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

STAGES = Path(__file__).with_name("stages.yaml")
ANNOTATION = "kwok.x-k8s.io/node"
GPUS_PER_NODE = 4


def command(binary: str, kubeconfig: Path, port: int) -> list[str]:
    return [
        binary,
        f"--kubeconfig={kubeconfig}",
        f"--config={STAGES}",
        "--manage-all-nodes=false",
        f"--manage-nodes-with-annotation-selector={ANNOTATION}=fake",
        "--node-lease-duration-seconds=40",
        f"--server-address=127.0.0.1:{port}",
    ]


def node(name: str) -> dict[str, Any]:
    """A node of 4 GPUs and plenty of the rest."""
    resources = {"cpu": "64", "memory": "512Gi", "pods": "1000", "nvidia.com/gpu": str(GPUS_PER_NODE)}
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": name,
            "annotations": {ANNOTATION: "fake"},
            "labels": {"type": "kwok", "kubernetes.io/hostname": name, "kubernetes.io/os": "linux"},
        },
        "status": {"capacity": resources, "allocatable": resources},
    }
