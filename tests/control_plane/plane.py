"""One control plane: start it, talk to it, stop it."""

from __future__ import annotations

import json
import shutil
import ssl
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from tests.control_plane import kwok
from tests.control_plane.binaries import require
from tests.control_plane.pki import Pki
from tests.control_plane.process import Child, free_ports

START_SECONDS = 90.0
SERVICE_RANGE = "10.96.0.0/16"
KUBERNETES_SERVICE = "10.96.0.1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What differs from use to use. Everything listens on the loopback unless `bind` says otherwise."""

    bind: str = "127.0.0.1"
    address: str = "127.0.0.1"  # by which clients reach the API server
    hosts: tuple[str, ...] = ()  # more names of the API server in its certificate
    kwok_nodes: int = 2  # 0: no KWOK
    audit: bool = False  # write `folder/audit.log`: every request, one JSON line each
    api_flags: tuple[str, ...] = ()
    inside: tuple[str, ...] = ()  # what each command line begins with: `nsenter …` for a network namespace


@dataclass
class ControlPlane:
    """etcd, API server, controller manager, scheduler and KWOK, as children of this process.

    Args:
        folder: certificates, kubeconfigs and logs; kept. etcd's data is elsewhere, in memory, and goes at the stop.
    """

    folder: Path
    options: Options = field(default_factory=Options)
    children: list[Child] = field(default_factory=list, init=False)

    def __post_init__(self) -> None:
        self._binaries = require()
        self.folder.mkdir(parents=True, exist_ok=True)
        memory = Path("/dev/shm")
        self._data = Path(tempfile.mkdtemp(prefix="pp-etcd-", dir=memory if memory.is_dir() else None))
        self.ports = dict(
            zip(("etcd", "peer", "api", "manager", "scheduler", "kwok"), free_ports(6), strict=True),
        )
        self.pki = Pki(self.folder / "pki")

    @property
    def server(self) -> str:
        return f"https://{self.options.address}:{self.ports['api']}"

    @property
    def kubeconfig(self) -> Path:
        """The administrator's."""
        return self.pki.folder / "admin.kubeconfig"

    @property
    def audit_log(self) -> Path:
        return self.folder / "audit.log"

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()

    # --- start and stop -------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Return when pods can be created and there is a ready node for them."""
        self._credentials()
        self._spawn("etcd", self._etcd())
        self._spawn("kube-apiserver", self._apiserver())
        self._until(lambda: self.get("/readyz") == "ok", "the API server is ready")
        self._spawn("kube-controller-manager", self._manager())
        self._spawn("kube-scheduler", self._scheduler())
        if self.options.kwok_nodes:
            self._spawn("kwok", kwok.command(self._binaries["kwok"], self.kubeconfig, self.ports["kwok"]))
            for number in range(self.options.kwok_nodes):
                self.post("/api/v1/nodes", kwok.node(f"kwok-{number}"))
        self._until(lambda: self.get("/api/v1/namespaces/default/serviceaccounts/default"), "ServiceAccounts are made")
        self._until(self._nodes_ready, "the nodes are ready")

    def stop(self) -> None:
        while self.children:
            self.children.pop().stop()
        shutil.rmtree(self._data, ignore_errors=True)

    def _spawn(self, name: str, command: Sequence[str]) -> None:
        self.children.append(Child(name, [*self.options.inside, *command], self.folder))

    def _until(self, condition: Callable[[], object], what: str) -> None:
        end = time.monotonic() + START_SECONDS
        while True:
            try:
                if condition():
                    return
            except (OSError, LookupError):  # urllib's errors are OSErrors
                pass
            for child in self.children:
                child.check()
            if time.monotonic() > end:
                raise RuntimeError(f"not within {START_SECONDS:g} s: {what}; logs are in {self.folder}")
            time.sleep(0.05)

    def _nodes_ready(self) -> bool:
        nodes = self.get("/api/v1/nodes")["items"]
        conditions = [one for node in nodes for one in node["status"].get("conditions", ()) if one["type"] == "Ready"]
        ready = sum(one["status"] == "True" for one in conditions)
        tainted = any(node["spec"].get("taints") for node in nodes)  # not-ready goes a moment after the condition
        return ready == len(nodes) >= self.options.kwok_nodes and not tainted

    # --- talk -----------------------------------------------------------------------------------------------------

    def kubectl(
        self, *arguments: str, stdin: str | None = None, check: bool = True, kubeconfig: Path | None = None
    ) -> str:
        """Run kubectl as the administrator; its standard output. A failure is an AssertionError with what it said."""
        command = [*self.kubectl_command(kubeconfig), *arguments]
        done = subprocess.run(command, input=stdin, capture_output=True, text=True, check=False)
        assert done.returncode == 0 or not check, f"kubectl {' '.join(arguments)}: {done.stderr}{done.stdout}"
        return done.stdout

    def kubectl_command(self, kubeconfig: Path | None = None) -> list[str]:
        """What a command line of kubectl begins with."""
        return [self._binaries["kubectl"], f"--kubeconfig={kubeconfig or self.kubeconfig}"]

    def get(self, path: str) -> Any:
        return self._request("GET", path)

    def post(self, path: str, body: Mapping[str, Any]) -> Any:
        return self._request("POST", path, body)

    def _request(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        request = urllib.request.Request(
            self.server + path,
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, context=self._tls(), timeout=10) as response:
            text = response.read().decode()
        return json.loads(text) if text.startswith("{") else text

    def _tls(self) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=str(self.pki.ca))
        context.load_cert_chain(self.pki.folder / "admin.crt", self.pki.folder / "admin.key")
        return context

    # --- how each is called ---------------------------------------------------------------------------------------

    def _credentials(self) -> None:
        names = ("localhost", "127.0.0.1", "kubernetes", "kubernetes.default", "kubernetes.default.svc")
        hosts = (*names, KUBERNETES_SERVICE, self.options.address, *self.options.hosts)
        self.pki.issue("apiserver", "kube-apiserver", hosts=tuple(dict.fromkeys(hosts)))
        self.pki.issue("kubelet-client", "kube-apiserver-kubelet-client", groups=["system:masters"])
        self.pki.key_pair("service-account")
        for name, user, groups in (
            ("admin", "kubernetes-admin", ["system:masters"]),
            ("manager", "system:kube-controller-manager", []),
            ("scheduler", "system:kube-scheduler", []),
        ):
            self.pki.issue(name, user, groups=groups)
            self.pki.kubeconfig(name, self.server)

    def _etcd(self) -> list[str]:
        client, peer = (f"http://127.0.0.1:{self.ports[name]}" for name in ("etcd", "peer"))
        return [
            self._binaries["etcd"],
            "--name=one",
            f"--data-dir={self._data / 'etcd'}",
            "--unsafe-no-fsync",
            f"--listen-client-urls={client}",
            f"--advertise-client-urls={client}",
            f"--listen-peer-urls={peer}",
            f"--initial-advertise-peer-urls={peer}",
            f"--initial-cluster=one={peer}",
            "--log-level=warn",
        ]

    def _apiserver(self) -> list[str]:
        pki = self.pki.folder
        command = [
            self._binaries["kube-apiserver"],
            f"--etcd-servers=http://127.0.0.1:{self.ports['etcd']}",
            f"--bind-address={self.options.bind}",
            f"--secure-port={self.ports['api']}",
            f"--advertise-address={self.options.address}",
            "--endpoint-reconciler-type=none",
            f"--tls-cert-file={pki / 'apiserver.crt'}",
            f"--tls-private-key-file={pki / 'apiserver.key'}",
            f"--client-ca-file={pki / 'ca.crt'}",
            f"--kubelet-client-certificate={pki / 'kubelet-client.crt'}",
            f"--kubelet-client-key={pki / 'kubelet-client.key'}",
            f"--kubelet-certificate-authority={pki / 'ca.crt'}",
            "--kubelet-preferred-address-types=InternalIP",
            "--authorization-mode=Node,RBAC",
            "--enable-admission-plugins=NodeRestriction",
            f"--service-cluster-ip-range={SERVICE_RANGE}",
            "--service-account-issuer=https://kubernetes.default.svc.cluster.local",
            f"--service-account-key-file={pki / 'service-account.pub'}",
            f"--service-account-signing-key-file={pki / 'service-account.key'}",
            "--allow-privileged=true",
            "--profiling=false",
            *self.options.api_flags,
        ]
        if self.options.audit:
            policy = self.folder / "audit-policy.json"
            rules = {"apiVersion": "audit.k8s.io/v1", "kind": "Policy", "omitStages": ["RequestReceived"]}
            policy.write_text(json.dumps({**rules, "rules": [{"level": "Metadata"}]}), encoding="utf-8")
            command += [f"--audit-policy-file={policy}", f"--audit-log-path={self.audit_log}"]
        return command

    def _manager(self) -> list[str]:
        pki = self.pki.folder
        return [
            self._binaries["kube-controller-manager"],
            f"--kubeconfig={pki / 'manager.kubeconfig'}",
            "--bind-address=127.0.0.1",
            f"--secure-port={self.ports['manager']}",
            f"--service-account-private-key-file={pki / 'service-account.key'}",
            f"--root-ca-file={pki / 'ca.crt'}",
            f"--cluster-signing-cert-file={pki / 'ca.crt'}",
            f"--cluster-signing-key-file={pki / 'ca.key'}",
            "--use-service-account-credentials=true",
            "--leader-elect=false",
            # the default of 20 a second would be what is measured, and makes each new namespace wait for 5 s
            "--kube-api-qps=1000",
            "--kube-api-burst=2000",
        ]

    def _scheduler(self) -> list[str]:
        kubeconfig = self.pki.folder / "scheduler.kubeconfig"
        config = self.folder / "scheduler.json"
        connection = {"kubeconfig": str(kubeconfig), "qps": 1000, "burst": 2000}
        head = {"apiVersion": "kubescheduler.config.k8s.io/v1", "kind": "KubeSchedulerConfiguration"}
        body = {**head, "leaderElection": {"leaderElect": False}, "clientConnection": connection}
        config.write_text(json.dumps(body), encoding="utf-8")
        return [
            self._binaries["kube-scheduler"],
            "--bind-address=127.0.0.1",
            f"--secure-port={self.ports['scheduler']}",
            f"--config={config}",
        ]
