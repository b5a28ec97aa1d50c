"""Changes of a pool while its jobs run: a new image, a new environment, the pool's own end."""

from __future__ import annotations

import json

from tests.cluster.site import POOL, WORKER_IMAGE

NEXT_IMAGE = "processing-pool-worker:next"
JOBS = 9
SECONDS = 4.0


def test_a_new_image_replaces_the_pods_and_no_job_is_lost(site):
    names = (f"docker.io/library/{image}" for image in (WORKER_IMAGE, NEXT_IMAGE))
    site.cluster.ctr("images", "tag", "--force", *names, check=True)
    pool = site.pool(minReplicas=3, maxReplicas=3)
    site.apply(pool)
    site.until(lambda: site.status().get("readyReplicas") == 3, what="three replicas are ready", seconds=120)
    before = {pod["metadata"]["uid"] for pod in site.pods()}
    ids = [site.enqueue("workload.nap", seconds=SECONDS) for _ in range(JOBS)]
    site.until(lambda: len(site.runs.open) == 3, what="all three work")
    worker = pool["spec"]["template"]["spec"]["containers"][0]
    worker["image"] = NEXT_IMAGE
    worker["env"].append({"name": "RELEASE", "value": "next"})
    site.apply(pool)

    site.until_finished(ids, seconds=200)
    site.until(lambda: _all_new(site, before), what="three new pods, and no old one", seconds=200)
    assert site.runs.once(ids), str(site.runs)
    assert site.runs.replicas() - before, "new pods took their part"
    assert set(_images(site)) == {NEXT_IMAGE}


def test_deleting_a_pool_lets_running_jobs_finish_and_leaves_the_rest_in_the_queue(site):
    site.apply(site.pool(maxReplicas=2))
    ids = [site.enqueue("workload.nap", seconds=12) for _ in range(4)]
    site.until(lambda: len(site.runs.open) == 2, what="two jobs run", seconds=120)
    running = [run.job for run in site.runs.open]
    site.kubectl("delete", "pool", POOL, "--timeout=30s")
    site.until_empty()
    assert site.runs.once(running), str(site.runs)
    assert set(site.statuses(running)) == {"finished"}
    waiting = [one for one in ids if one not in running]
    assert site.queue.job_ids == waiting
    assert set(site.statuses(waiting)) == {"queued"}


def _all_new(site, before):
    pods = site.pods()
    uids = {pod["metadata"]["uid"] for pod in pods}
    return len(uids) == 3 and not uids & before and site.status().get("readyReplicas") == 3


def _images(site):
    deployment = json.loads(site.kubectl("get", "deployment", POOL, "--output", "json"))
    yield from (one["image"] for one in deployment["spec"]["template"]["spec"]["containers"])
    yield from (pod["spec"]["containers"][0]["image"] for pod in site.pods())
