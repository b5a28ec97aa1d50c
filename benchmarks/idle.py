"""A hundred pools at rest: what the operator writes, holds in memory and computes in a minute in which nothing happens."""

from __future__ import annotations

import os
import time
from collections import Counter
from typing import Any

from tests.control_plane.plane import ControlPlane
from tests.servers import redis_server

from benchmarks import cluster
from benchmarks.numbers import row
from benchmarks.process import cpu_seconds, resident_mib

POOLS = int(os.environ.get("POOLS", "100"))
QUIET_SECONDS = 15.0
SECONDS = 60.0


def run() -> list[dict[str, object]]:
    with (
        cluster.control_plane() as plane,
        redis_server("valkey", "--notify-keyspace-events", "Kl") as server,
        cluster.operator(plane) as operator,
    ):
        audit = cluster.AuditLog(plane)
        cluster.apply(
            plane, *(cluster.pool(f"pool-{number}", server.port, f"queue-{number}") for number in range(POOLS))
        )
        plane.kubectl(
            "wait", "--for=condition=Ready", "pools", "--all", "--namespace", cluster.NAMESPACE, "--timeout=120s"
        )
        _until_quiet(audit)
        cpu, started = cpu_seconds(operator.pid), time.monotonic()
        time.sleep(SECONDS)
        share = (cpu_seconds(operator.pid) - cpu) / (time.monotonic() - started)
        writes = [one for one in audit.new() if _ours(one)]
        resident = resident_mib(operator.pid)
        deployments = _number_of_deployments(plane)
    leases = sum(_renews_lease(one) for one in writes)
    others = Counter(cluster.what(one) for one in writes if not _renews_lease(one))
    return [
        row("pools at rest, each with its Deployment", f"{POOLS}, {deployments}", holds=deployments == POOLS),
        row(
            f"API writes in {SECONDS:g} s, Lease aside",
            sum(others.values()),
            "0",
            holds=not others,
            writes=dict(others),
        ),
        row(f"Lease renewals in {SECONDS:g} s", leases, "> 0", holds=leases > 0),
        row("resident memory", f"{resident:.0f} MiB", "< 150 MiB", holds=resident < 150),
        row("CPU", f"{share * 100:.1f} % of one core", "< 5 %", holds=share < 0.05),
        row("load average while measuring", f"{os.getloadavg()[0]:.1f} on {os.cpu_count()} cores"),
    ]


def _until_quiet(audit: cluster.AuditLog) -> None:
    """The Deployments are made and every status is told."""
    quiet_since = time.monotonic()
    end = quiet_since + 180
    while time.monotonic() - quiet_since < QUIET_SECONDS and time.monotonic() < end:
        time.sleep(0.5)
        if any(_ours(one) and not _renews_lease(one) for one in audit.new()):
            quiet_since = time.monotonic()


def _ours(entry: dict[str, Any]) -> bool:
    return cluster.is_write(entry) and entry["user"]["username"] == cluster.USER


def _renews_lease(entry: dict[str, Any]) -> bool:
    return entry.get("objectRef", {}).get("resource") == "leases"


def _number_of_deployments(plane: ControlPlane) -> int:
    return len(plane.get(f"/apis/apps/v1/namespaces/{cluster.NAMESPACE}/deployments")["items"])
