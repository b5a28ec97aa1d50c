"""What kubectl shows of a running pool: the columns, the conditions, the events, the fields."""

from __future__ import annotations

import json

from tests.cluster.site import POOL


def test_kubectl_tells_what_a_pool_does_and_why(site):
    site.apply(site.pool(maxReplicas=2, budget={"pricePerReplicaHour": "0.69"}))
    site.kubectl("wait", "--for=condition=Ready", f"pool/{POOL}", "--timeout=60s")
    ids = [site.enqueue("workload.nap", seconds=10) for _ in range(4)]
    site.kubectl("wait", "--for=jsonpath={.status.readyReplicas}=2", f"pool/{POOL}", "--timeout=120s")
    site.until(lambda: site.status()["queue"]["running"] == 2, what="the status tells of two running jobs")

    header, row = site.kubectl("get", "pools").splitlines()
    columns = dict(zip(header.split(), row.split(), strict=True))
    assert columns["NAME"] == POOL
    assert (columns["DESIRED"], columns["READY"], columns["WAITING"], columns["RUNNING"]) == ("2", "2", "2", "2")
    assert columns["REASON"] in {"WorkWaiting", "WorkFits", "AtMaximum"}

    described = site.kubectl("describe", "pool", POOL)
    for kind in ("Ready", "QueueReachable", "TemplateValid", "CapacityAvailable", "ScalingActive"):
        assert kind in described
    assert "Events:" in described
    assert site.condition("Ready")["status"] == "True"
    assert site.condition("QueueReachable")["status"] == "True"
    events = site.get("events", f"--field-selector=involvedObject.kind=ProcessingPool,involvedObject.name={POOL}")
    assert any("2" in one.get("message", one.get("note", "")) for one in events["items"])

    site.until_finished(ids)
    site.until_empty()
    site.kubectl("wait", "--for=jsonpath={.status.replicas}=0", f"pool/{POOL}", "--timeout=60s")
    site.kubectl("delete", "pool", POOL, "--timeout=30s")
    assert "No resources found" in site.cluster.kubectl_error("--namespace", site.namespace, "get", "pools")


def test_every_field_explains_itself(site):
    text = site.kubectl("explain", "processingpool.spec", "--recursive")
    assert "maxReplicas" in text
    assert "Default: 0." in site.kubectl("explain", "processingpool.spec.minReplicas")


def test_a_wrong_pool_is_refused_by_name_of_its_field(site):
    pool = site.pool(minReplicas=3, maxReplicas=1)
    said = site.cluster.kubectl_error("--namespace", site.namespace, "apply", "--filename", "-", stdin=json.dumps(pool))
    assert "minReplicas" in said
