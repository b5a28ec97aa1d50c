"""The network namespace that everything runs in: a bridge for the pods, and no way out."""

from __future__ import annotations

import subprocess

BRIDGE = "pods"
GATEWAY = "10.88.0.1"
"""The node's address, by which pods reach what runs beside them."""
HARDWARE_ADDRESS = "02:00:0a:58:00:01"
SUBNET = "10.88.0.0/24"


class Network:
    """A namespace by name; `inside` starts a program in it."""

    def __init__(self, name: str) -> None:
        self.name = name

    @property
    def inside(self) -> tuple[str, ...]:
        """What a command line begins with; `ip netns exec` would also mount a fresh /sys, without the cgroups."""
        return ("nsenter", f"--net=/run/netns/{self.name}")

    def create(self) -> None:
        _run("ip", "netns", "add", self.name)
        self._do("ip", "link", "set", "lo", "up")
        # an address of its own: else a bridge takes one from its pods, and with that pod the others' way to it goes
        self._do("ip", "link", "add", BRIDGE, "address", HARDWARE_ADDRESS, "type", "bridge")
        self._do("ip", "address", "add", f"{GATEWAY}/24", "dev", BRIDGE)
        self._do("ip", "link", "set", BRIDGE, "up")
        self._do("sysctl", "-qw", "net.ipv4.ip_forward=1")

    def serve(self, address: str, port: int) -> None:
        """Give pods the `kubernetes` Service without a kube-proxy: `address`:443 is `port` of this node."""
        self._do("ip", "address", "add", f"{address}/32", "dev", "lo")
        for chain in ("PREROUTING", "OUTPUT"):
            rule = ["-d", f"{address}/32", "-p", "tcp", "--dport", "443", "-j", "REDIRECT", "--to-ports", str(port)]
            self._do("iptables", "-w", "-t", "nat", "-A", chain, *rule)

    def _do(self, *command: str) -> None:
        _run(*self.inside, *command)


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip()}")
