"""The operator as a process on a real API server, with exactly the shipped rights; KWOK pods stand for workers."""

from __future__ import annotations

import os
import signal
import time

from tests.apiserver.operator_process import POOL, enqueue, kill, pool_body, steadily, until

from pool_contract import keys

QUEUE = keys.queue("rq", "default")


def replicas(it):
    return it.get("deployment")["spec"]["replicas"]


def test_from_zero_to_the_maximum_and_back_to_zero(it, queue, workers):
    it.start()
    it.apply(pool_body(queue.port))
    it.wait_ready()
    assert replicas(it) == 0
    jobs = enqueue(queue, 20)
    until(lambda: len(it.pods()) == 4, what="four replicas")
    until(lambda: not it.pods(), what="none left")
    assert sorted(workers.done) == sorted(jobs)
    assert workers.hits == []
    assert replicas(it) == 0
    written = [one for one in it.items("events.events.k8s.io") if one["regarding"]["name"] == POOL]
    up = [one["note"] for one in written if one["reason"] == "WorkWaiting"]
    assert up
    assert up[0].startswith("0 -> 4 replicas: ")


def test_an_idle_pool_never_gets_a_pod_and_at_rest_nothing_is_written(it, queue):
    it.start("--resync-seconds", "5")
    it.apply(pool_body(queue.port))
    it.wait_ready()
    until(lambda: (it.get("deployment") or {}).get("status", {}).get("observedGeneration"), what="the Deployment")

    def versions():
        return {kind: it.get(kind)["metadata"]["resourceVersion"] for kind in ("processingpool", "deployment")}

    time.sleep(2)  # the Deployment controller's last words
    before = versions()
    time.sleep(6)  # a resync of ours, and a poll
    assert versions() == before
    assert [one["reason"] for one in it.items("events") if one["reason"] == "SuccessfulCreate"] == []


def test_a_killed_leader_is_followed_by_the_other(it, queue):
    first = it.start(quick=True)
    it.apply(pool_body(queue.port))
    it.wait_ready()
    it.start(quick=True)
    until(lambda: "health and metrics" in it.log(1), what="the second waits")
    kill(first)
    enqueue(queue, 2)
    until(lambda: len(it.pods()) == 2, what="two replicas by the second")
    assert "leading as" in it.log(1)


def test_a_leader_that_was_frozen_past_its_lease_ends_and_writes_nothing(it, queue, workers):
    first = it.start(quick=True)
    it.apply(pool_body(queue.port))
    it.wait_ready()
    it.start(quick=True)
    os.kill(first.pid, signal.SIGSTOP)
    it.leads(1)
    jobs = enqueue(queue, 9)
    until(lambda: len(workers.done) == len(jobs), what="the second serves the pool")
    until(lambda: replicas(it) == 0, what="none wanted")
    before = it.get("deployment")["metadata"]["generation"]
    os.kill(first.pid, signal.SIGCONT)
    assert first.wait(20) == 1
    assert "critical" in it.log(0)
    assert it.get("deployment")["metadata"]["generation"] == before


def test_an_operator_that_is_killed_and_started_again_midway_comes_to_the_same_end(it, queue, workers):
    workers.draw = lambda dice: dice.uniform(0.2, 1.0)
    first = it.start(quick=True)
    it.apply(pool_body(queue.port, maxReplicas=6))
    it.wait_ready()
    jobs = enqueue(queue, 60)
    until(lambda: len(workers.done) > 5, what="work is on its way")
    kill(first)
    until(lambda: len(workers.done) > 15, what="workers go on without an operator")
    second = it.start(quick=True)
    it.leads(1)
    until(lambda: len(workers.done) > 25, what="work goes on with the second")
    kill(second)
    it.start(quick=True)
    until(lambda: not it.pods(), what="none left")
    assert sorted(workers.done) == sorted(jobs)
    assert workers.hits == []
    assert replicas(it) == 0


def test_deleting_a_pool_leaves_nothing_behind(it, queue):
    it.start()
    it.apply(pool_body(queue.port, minReplicas=2))
    until(lambda: len(it.pods()) == 2, what="the minimum")
    it.kubectl("delete", "processingpool", POOL, "--timeout=30s")
    until(lambda: it.get("deployment") is None and not it.items("pods"), what="all gone")
    until(lambda: "is gone: no replica and no claim is left" in it.log(), what="the operator forgets it")
    steadily(lambda: it.get("deployment") is None, what="not made again", seconds=1)
    assert queue.hgetall(keys.pools("rq")) == {}


def test_gpus_that_are_not_there_are_reported_and_nothing_runs_away(it, queue):
    it.start()
    gpu = {"resources": {"limits": {"memory": "4Gi", "nvidia.com/gpu": 99}}}
    it.apply(pool_body(queue.port, container=gpu))
    it.wait_ready()
    enqueue(queue, 50)
    assert "nvidia.com/gpu" in it.told("CapacityAvailable", "Unschedulable")
    seen = set()

    def bounded():
        seen.update(one["metadata"]["uid"] for one in it.pods())
        return len(seen) <= 4

    steadily(bounded, what="at most the maximum, and none made anew", seconds=4)
    queue.delete(QUEUE)
    # no start was ever seen: a cold start is thought to take a minute, and spares are worth a little more than one
    until(lambda: not it.pods(), what="none is kept when there is no work", seconds=150)


def test_a_rollout_on_a_full_gpu_cluster_completes_and_never_lowers(it, queue, workers):
    """All eight GPUs are taken and work waits; the template changes. Each old pod frees its GPU for a new one."""

    def template(image):
        worker = {"name": "worker", "image": image, "resources": {"limits": {"memory": "4Gi", "nvidia.com/gpu": 1}}}
        return {"spec": {"containers": [worker]}}

    it.start()
    it.apply(pool_body(queue.port, maxReplicas=8, template=template("worker:1")))
    it.wait_ready()
    workers.draw = lambda _: 1.0
    jobs = enqueue(queue, 1000)
    until(lambda: it.status().get("readyReplicas") == 8, what="eight at work")
    it.apply(pool_body(queue.port, maxReplicas=8, template=template("worker:2")))

    def renewed():
        images = [one["spec"]["containers"][0]["image"] for one in it.pods()]
        assert replicas(it) == 8
        return images == ["worker:2"] * 8

    until(renewed, what="all eight are new")
    assert len(workers.done) < len(jobs), "there was work all the time"


def test_paused_holds_and_a_dry_run_only_tells(it, queue):
    it.start()
    it.apply(pool_body(queue.port, minReplicas=1, mode="Paused"))
    it.told("ScalingActive", "Paused")
    it.patch({"mode": "DryRun"})
    it.told("ScalingActive", "DryRun")
    until(lambda: it.status().get("desiredReplicas") == 1, what="the wish is told")
    steadily(lambda: not it.pods(), what="nothing was started", seconds=1)
    it.patch({"mode": "Active"})
    until(lambda: len(it.pods()) == 1, what="the minimum")


def test_kubectl_and_the_metrics_read_well(it, queue):
    it.start()
    it.apply(pool_body(queue.port, minReplicas=1))
    it.wait_ready()
    until(lambda: it.status().get("readyReplicas") == 1, what="one ready")
    enqueue(queue, 2)
    until(lambda: it.status().get("desiredReplicas") == 2, what="told")
    listed = it.kubectl("get", "pools")
    wide = it.kubectl("get", "pools", "-o", "wide")
    described = it.kubectl("describe", "pool", POOL)
    explained = it.kubectl("explain", "processingpool.spec.queues")
    print(listed, wide, described, explained, sep="\n")
    header, row = listed.splitlines()
    assert header.split() == ["NAME", "DESIRED", "READY", "WAITING", "RUNNING", "REASON", "AGE"]
    assert row.split()[0] == POOL
    assert len(row) <= 100
    for word in ("Conditions", "Decision", "Reason", "Events", "1 -> 2 replicas"):
        assert word in described
    assert "priority" in explained
    ours = f'pool="{POOL}",pool_namespace="{it.namespace}"'
    told = it.fetch("/metrics")
    assert f"processingpool_status_desired_replicas{{{ours}}} 2.0" in told
    assert f"processingpool_hits_total{{{ours}}} 0.0" in told
    assert 'kube_requests_total{code="200",resource="deployments/scale",verb="PATCH"}' in told
    for resource in ("processingpools", "deployments", "replicasets", "pods"):
        assert f'watch_last_event_timestamp_seconds{{resource="{resource}"}} 1.' in told
    assert it.fetch("/readyz") == "ok\n"
    assert it.fetch("/livez") == "ok\n"
