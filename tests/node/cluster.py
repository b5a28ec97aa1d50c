"""One cluster of one real node: control plane, kubelet, containerd, and a Redis beside the pods."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Self

import redis
from tests.control_plane.binaries import require
from tests.control_plane.plane import KUBERNETES_SERVICE, ControlPlane, Options
from tests.control_plane.process import Child, free_ports
from tests.node import containers
from tests.node.host import Run, clear_leftovers, raise_inotify_limit
from tests.node.network import GATEWAY, Network

ROOT = Path(__file__).resolve().parents[2]
REDIS_PORT = 6379
START_SECONDS = 60.0
IMAGES = ("pause", "operator", "worker")


def build_images() -> Path:
    """Folder of the image archives; builds them if something that goes in has changed.

    CLUSTER_IMAGES names a folder of archives to take as they are.
    """
    if given := os.environ.get("CLUSTER_IMAGES"):
        return Path(given)
    done = subprocess.run([str(ROOT / "hack" / "images" / "build.sh")], stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError("hack/images/build.sh failed; what it said is above")
    return Path(done.stdout.strip().splitlines()[-1])


class Cluster:
    """Start it, talk to it by `plane.kubectl` and `redis`, stop it.

    Args:
        folder: certificates, kubeconfigs and logs; kept.
        images: folder with the archives of IMAGES.
    """

    def __init__(self, folder: Path, images: Path) -> None:
        self.folder = folder
        self.images = images
        self.run = Run()
        self.network = Network(self.run.name)
        self.plane = ControlPlane(
            folder, Options(bind="0.0.0.0", hosts=(GATEWAY,), kwok_nodes=0, inside=self.network.inside)
        )
        (self.redis_port,) = free_ports(1)
        self.redis = redis.Redis(port=self.redis_port)
        self.children: list[Child] = []

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()

    @property
    def redis_host(self) -> str:
        """As pods name it."""
        return GATEWAY

    def start(self) -> None:
        """Return when the node is ready and has the images."""
        clear_leftovers()
        raise_inotify_limit()
        self.run.begin()
        self.network.create()
        self._relay()
        self.start_redis()
        self._spawn("containerd", containers.containerd(self.run))
        self._until(lambda: self.ctr("version"), "containerd answers")
        with ThreadPoolExecutor(1) as beside:
            imported = beside.submit(self._import_images)
            self.plane.start()
            imported.result()
        self.network.serve(KUBERNETES_SERVICE, self.plane.ports["api"])
        self._kubelet()
        self._until(self._node_ready, "the node is ready")

    def stop(self) -> None:
        """kubelet first, so that nothing is started again; the pods before the API server, which would wait for their watches."""
        self.redis.close()
        while self.children:
            self.children.pop().stop()
        self.run.end_processes()
        self.plane.stop()
        self.run.end()

    def start_redis(self) -> None:
        flags = [
            "--databases",
            "64",
            "--save",
            "",
            "--appendonly",
            "no",
            "--notify-keyspace-events",
            "Kl",
            "--protected-mode",
            "no",
        ]
        command = ["redis-server", "--port", str(REDIS_PORT), "--bind", "0.0.0.0", *flags]
        self._spawn("redis", command)
        self._until(self._redis_answers, "Redis answers")

    def ctr(self, *arguments: str, check: bool = False) -> bool:
        """Run containerd's own client; whether it succeeded."""
        command = ["ctr", "--address", str(containers.socket(self.run)), "--namespace", "k8s.io", *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if check and done.returncode != 0:
            raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip()}")
        return done.returncode == 0

    def kubectl_error(self, *arguments: str, stdin: str | None = None) -> str:
        """What kubectl says on standard error, whether or not it fails."""
        command = [require(["kubectl"])["kubectl"], f"--kubeconfig={self.plane.kubeconfig}", *arguments]
        return subprocess.run(command, input=stdin, capture_output=True, text=True, check=False).stderr

    def _relay(self) -> None:
        """In the namespace the API server has the port that it has here, so that one kubeconfig serves both."""
        api = self.plane.ports["api"]
        command = [
            sys.executable,
            "-m",
            "tests.node.relay",
            self.network.name,
            f"{api}:{api}",
            f"{self.redis_port}:{REDIS_PORT}",
        ]
        self.children.append(Child("relay", command, self.folder, environment={**os.environ, "PYTHONPATH": str(ROOT)}))

    def _import_images(self) -> None:
        for image in IMAGES:
            self.ctr("images", "import", str(self.images / f"{image}.tar"), check=True)

    def _kubelet(self) -> None:
        pki = self.plane.pki
        user = f"system:node:{containers.NODE}"
        pki.issue("kubelet", user, groups=["system:nodes"], hosts=[containers.NODE, GATEWAY])
        kubeconfig = pki.kubeconfig("kubelet", self.plane.server)
        binary = require(["kubelet"])["kubelet"]
        self._spawn("kubelet", containers.kubelet(self.run, binary, kubeconfig=kubeconfig, certificates=pki.folder))

    def _spawn(self, name: str, command: Sequence[str]) -> None:
        self.children.append(Child(name, [*self.network.inside, *command], self.folder))

    def _redis_answers(self) -> bool:
        try:
            return bool(self.redis.ping())
        except redis.ConnectionError:
            return False

    def _node_ready(self) -> bool:
        nodes = self.plane.get("/api/v1/nodes")["items"]
        conditions = [one for node in nodes for one in node["status"].get("conditions", ()) if one["type"] == "Ready"]
        return [one["status"] for one in conditions] == ["True"] and not nodes[0]["spec"].get("taints")

    def _until(self, condition: Callable[[], object], what: str) -> None:
        end = time.monotonic() + START_SECONDS
        while not condition():
            for child in self.children:
                child.check()
            if time.monotonic() > end:
                raise RuntimeError(f"not within {START_SECONDS:g} s: {what}; logs are in {self.folder}")
            time.sleep(0.05)
