"""GPUs that are not there: reported in one sentence, nothing runs away, and the work is done with what there is."""

from __future__ import annotations

import json

import pytest
from tests.cluster.witness import Witness
from tests.node.containers import NODE

GPUS = 2
REPLICAS = 5
JOBS = 8


@pytest.fixture
def gpus(cluster):
    """The node says that it has GPUs; kubelet leaves what it did not count itself alone."""
    paths = [f"/status/{kind}/nvidia.com~1gpu" for kind in ("capacity", "allocatable")]
    _patch(cluster, [{"op": "add", "path": path, "value": str(GPUS)} for path in paths])
    yield GPUS
    _patch(cluster, [{"op": "remove", "path": path} for path in paths])


def test_pods_without_a_gpu_are_reported_and_their_number_stays_within_the_maximum(site, gpus):
    with Witness(site) as witness:
        site.apply(site.pool(maxReplicas=REPLICAS, limits={"nvidia.com/gpu": "1"}))
        ids = [site.enqueue("workload.nap", seconds=6) for _ in range(JOBS)]
        site.until(lambda: len(site.runs.open) == gpus, what="the GPUs that are there work", seconds=120)
        site.until(lambda: site.condition("CapacityAvailable").get("status") == "False", what="it is reported")
        condition = site.condition("CapacityAvailable")
        assert condition["reason"] == "Unschedulable"
        assert "nvidia.com/gpu" in condition["message"]
        site.until_finished(ids, seconds=150)
        site.until_empty()
    assert witness.hits == []
    assert witness.most_pods <= REPLICAS
    assert site.runs.once(ids), str(site.runs)
    site.until(lambda: site.condition("CapacityAvailable")["status"] == "True", what="the report is taken back")


def _patch(cluster, patch):
    cluster.plane.kubectl("patch", "node", NODE, "--subresource=status", "--type=json", "--patch", json.dumps(patch))
