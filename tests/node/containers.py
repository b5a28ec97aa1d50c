"""containerd and kubelet: their settings and command lines."""

from __future__ import annotations

import json
from pathlib import Path

from tests.node.host import CNI_PLUGINS, Run
from tests.node.network import BRIDGE, GATEWAY, SUBNET

NODE = "node-1"
PAUSE = "docker.io/library/processing-pool-pause:1"
MAX_PODS = 60


def socket(run: Run) -> Path:
    return run.folder / "containerd.sock"


def containerd(run: Run) -> list[str]:
    """Write the settings; the command line."""
    cni = run.folder / "cni"
    cni.mkdir()
    ranges = [[{"subnet": SUBNET, "gateway": GATEWAY}]]
    addresses = {"type": "host-local", "ranges": ranges, "routes": [{"dst": "0.0.0.0/0"}], "dataDir": str(run.folder)}
    bridge = {"type": "bridge", "bridge": BRIDGE, "isGateway": True, "hairpinMode": True, "ipam": addresses}
    network = {"cniVersion": "0.4.0", "name": run.name, "plugins": [bridge]}
    (cni / "10-pods.conflist").write_text(json.dumps(network), encoding="utf-8")
    settings = run.folder / "containerd.toml"
    # restrict_oom_score_adj: without CAP_SYS_RESOURCE a lower score is refused, and no sandbox starts
    settings.write_text(
        f"""
version = 2
root = "{run.data / "containerd"}"
state = "{run.folder / "containerd"}"
oom_score = 0
[grpc]
  address = "{socket(run)}"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{PAUSE}"
  disable_apparmor = true
  restrict_oom_score_adj = true
  netns_mounts_under_state_dir = true
  stream_server_address = "127.0.0.1"
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{CNI_PLUGINS}"
    conf_dir = "{cni}"
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
""",
        encoding="utf-8",
    )
    return ["containerd", "--config", str(settings)]


def kubelet(run: Run, binary: str, *, kubeconfig: Path, certificates: Path) -> list[str]:
    """Write the settings; the command line."""
    (run.folder / "resolv.conf").write_text("nameserver 127.0.0.1\n", encoding="utf-8")  # there is no DNS
    settings = {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "failCgroupV1": False,
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": run.cgroup,
        "failSwapOn": False,
        "containerRuntimeEndpoint": f"unix://{socket(run)}",
        "address": GATEWAY,
        "healthzBindAddress": "127.0.0.1",
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True},
            "x509": {"clientCAFile": str(certificates / "ca.crt")},
        },
        "authorization": {"mode": "Webhook"},
        "tlsCertFile": str(certificates / "kubelet.crt"),
        "tlsPrivateKeyFile": str(certificates / "kubelet.key"),
        "resolvConf": str(run.folder / "resolv.conf"),
        "podLogsDir": str(run.data / "pod-logs"),
        "makeIPTablesUtilChains": False,
        "imageGCHighThresholdPercent": 100,
        "imageGCLowThresholdPercent": 99,
        "evictionHard": {"memory.available": "100Mi", "nodefs.available": "1%", "imagefs.available": "1%"},
        "maxPods": MAX_PODS,
        "serializeImagePulls": False,
    }
    path = run.folder / "kubelet.json"
    path.write_text(json.dumps(settings), encoding="utf-8")
    return [
        binary,
        f"--config={path}",
        f"--kubeconfig={kubeconfig}",
        f"--hostname-override={NODE}",
        f"--node-ip={GATEWAY}",
        f"--root-dir={run.data / 'kubelet'}",
    ]
