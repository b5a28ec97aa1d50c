"""The operator as a process on a real API server, with exactly the shipped rights; KWOK pods stand for workers."""

from __future__ import annotations

import json
import time

import pytest
import yaml
from tests.apiserver.operator_process import installation, kill, redis_server, until

POOL = "speech"
QUEUE = "rq:queue:default"


@pytest.fixture(scope="module")
def redis_client():
    with redis_server() as client:
        yield client


@pytest.fixture
def queue(redis_client):
    redis_client.flushall()
    return redis_client


@pytest.fixture
def it(namespace, kubectl, tmp_path):
    with installation(namespace, kubectl, tmp_path) as made:
        made.kubectl = kubectl
        yield made


def pool(queue, *, container=None, **more):
    worker = {"name": "worker", "image": "worker:1", "resources": {"limits": {"memory": "4Gi"}}} | (container or {})
    return {
        "apiVersion": "processingpool.dev/v1alpha1",
        "kind": "ProcessingPool",
        "metadata": {"name": POOL},
        "spec": {
            "redis": {"host": "127.0.0.1", "port": queue.port},
            "queues": [{"name": "default"}],
            "minReplicas": 0,
            "maxReplicas": 4,
            "template": {"spec": {"containers": [worker]}},
            **more,
        },
    }


def apply(it, body, *, check=True):
    return it.kubectl("apply", "--server-side", "-n", it.namespace, "-f", "-", stdin=yaml.safe_dump(body), check=check)


def get(it, kind, name=POOL):
    text = it.kubectl("get", kind, name, "-n", it.namespace, "-o", "json", "--ignore-not-found")
    return json.loads(text) if text else None


def items(it, kind):
    return json.loads(it.kubectl("get", kind, "-n", it.namespace, "-o", "json"))["items"]


def pods(it):
    return [one for one in items(it, "pods") if "deletionTimestamp" not in one["metadata"]]


def condition(it, kind):
    found = ((get(it, "processingpool") or {}).get("status") or {}).get("conditions") or []
    return next((one for one in found if one["type"] == kind), None)


def wait_ready(it):
    return it.kubectl("wait", "--for=condition=Ready", f"processingpool/{POOL}", "-n", it.namespace, "--timeout=60s")


def test_from_zero_to_the_maximum_and_back_to_zero(it, queue):
    it.start()
    apply(it, pool(queue))
    wait_ready(it)
    assert get(it, "deployment")["spec"]["replicas"] == 0
    queue.lpush(QUEUE, *(f"job-{number}" for number in range(9)))
    until(lambda: len(pods(it)) == 4, what="four replicas")
    queue.delete(QUEUE)
    until(lambda: not pods(it), what="none left")
    assert get(it, "deployment")["spec"]["replicas"] == 0
    reasons = {event["reason"] for event in items(it, "events.events.k8s.io") if event["regarding"]["name"] == POOL}
    assert reasons, "no event tells of the changes"


def test_an_idle_pool_never_gets_a_pod_and_at_rest_nothing_is_written(it, queue):
    it.start()
    apply(it, pool(queue))
    wait_ready(it)
    until(lambda: get(it, "deployment"), what="the Deployment")

    def versions():
        return {kind: get(it, kind)["metadata"]["resourceVersion"] for kind in ("processingpool", "deployment")}

    time.sleep(3)  # the Deployment controller's last words
    before = versions()
    time.sleep(8)
    assert versions() == before
    assert [one["reason"] for one in items(it, "events") if one["reason"] == "SuccessfulCreate"] == []


def test_a_killed_leader_is_followed_by_the_other(it, queue):
    first = it.start()
    apply(it, pool(queue))
    wait_ready(it)
    it.start()
    time.sleep(2)
    kill(first)
    queue.lpush(QUEUE, "a", "b")
    until(lambda: len(pods(it)) == 2, what="two replicas by the second")
    assert "leading as" in it.log(1)


def test_deleting_a_pool_leaves_nothing_behind(it, queue):
    it.start()
    apply(it, pool(queue, minReplicas=2))
    until(lambda: len(pods(it)) == 2, what="the minimum")
    it.kubectl("delete", "processingpool", POOL, "-n", it.namespace, "--timeout=30s")
    until(lambda: get(it, "deployment") is None and not items(it, "pods"), what="all gone")
    time.sleep(2)
    assert get(it, "deployment") is None  # and not made again


def test_gpus_that_are_not_there_are_reported_and_nothing_runs_away(it, queue):
    it.start()
    gpu = {"resources": {"limits": {"memory": "4Gi", "nvidia.com/gpu": 99}}}
    apply(it, pool(queue, container=gpu))
    wait_ready(it)
    queue.lpush(QUEUE, *(f"job-{number}" for number in range(50)))
    until(lambda: (condition(it, "CapacityAvailable") or {}).get("status") == "False", what="reported")
    assert "nvidia.com/gpu" in condition(it, "CapacityAvailable")["message"]
    assert len(pods(it)) <= 4


def test_a_missing_secret_is_named_and_the_pool_gets_well_when_it_comes(it, queue):
    it.start()
    body = pool(queue)
    body["spec"]["redis"]["credentialsSecretRef"] = {"name": "absent"}
    apply(it, body)
    until(lambda: (condition(it, "Ready") or {}).get("reason") == "SecretNotFound", what="told")
    assert "'absent'" in condition(it, "Ready")["message"]
    it.kubectl("create", "secret", "generic", "absent", "-n", it.namespace, "--from-literal=unused=x")
    wait_ready(it)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"minReplicas": 5, "maxReplicas": 4}, "minReplicas"),
        ({"maxReplicas": -1}, "maxReplicas"),
        ({"queues": []}, "queues"),
        ({"mode": "Sometimes"}, "mode"),
        ({"noSuchField": 1}, "noSuchField"),
    ],
)
def test_a_wrong_spec_is_refused_by_the_api_server(it, queue, change, named, capfd):
    text = yaml.safe_dump(pool(queue, **change))
    with pytest.raises(AssertionError, match=named):
        it.kubectl("create", "-n", it.namespace, "-f", "-", stdin=text)


def test_kubectl_reads_well(it, queue):
    it.start()
    apply(it, pool(queue, minReplicas=1))
    wait_ready(it)
    until(lambda: (get(it, "processingpool").get("status") or {}).get("readyReplicas") == 1, what="one ready")
    listed = it.kubectl("get", "pools", "-n", it.namespace)
    described = it.kubectl("describe", "pool", POOL, "-n", it.namespace)
    explained = it.kubectl("explain", "processingpool.spec.queues")
    print(listed, described, explained, sep="\n")
    header, row = listed.splitlines()
    assert {"NAME", "READY", "AGE"} <= set(header.split())
    assert row.split()[0] == POOL
    assert len(row) <= 100
    for word in ("Conditions", "Decision", "Reason", "Events"):
        assert word in described
    assert "priority" in explained
