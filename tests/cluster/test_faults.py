"""Pods die in every way there is while they work; each job ends once, and only what has to runs again."""

from __future__ import annotations

import os
import signal

from tests.cluster.runs import overlap
from tests.cluster.site import PREFIX
from tests.node.host import processes_of_pod

from pool_contract import keys

HARD_GRACE_SECONDS = 12
"""For `kubectl delete pod`: far below the length of the job, and of the grace period that the worker knows."""


def running(site, count=1):
    """Wait until so many jobs run; their runs."""
    site.until(lambda: len(site.runs.open) >= count, what=f"{count} jobs run", seconds=120)
    return site.runs.open


def claim(site, job):
    """The claim on a job that runs now, as the contract keeps it."""
    return {name.decode(): value.decode() for name, value in site.redis.hgetall(keys.owner(PREFIX, job)).items()}


def pod_of(site, run):
    (pod,) = [pod for pod in site.pods() if pod["metadata"]["uid"] == run.replica]
    return pod


def runs_again(site, job):
    site.until(lambda: len(site.runs.of(job)) == 2, what="the job runs again", seconds=120)
    return site.runs.of(job)


def kill_worker(site, run):
    """SIGKILL to the worker's process in its pod, from outside."""
    (pid,) = [
        pid
        for pid, command in processes_of_pod(site.cluster.run, run.replica).items()
        if "processingpool worker" in command and "tini" not in command
    ]
    os.kill(pid, signal.SIGKILL)


def test_a_deleted_pod_hands_its_job_back_before_it_is_killed(site):
    """The job is longer than the grace, and can not be interrupted: only the release at the real deadline saves it."""
    site.apply(site.pool(maxReplicas=2))
    job = site.enqueue("workload.nap", seconds=30, retries=2)
    (first,) = running(site)
    site.kubectl(
        "delete", "pod", pod_of(site, first)["metadata"]["name"], f"--grace-period={HARD_GRACE_SECONDS}", "--wait=false"
    )
    _, second = runs_again(site, job)
    assert second.replica != first.replica
    assert claim(site, job)["losses"] == "0", "handed back in good order, not lost"
    site.until_finished([job])
    assert site.job(job).retries_left == 2, "no retry was used"
    site.until_empty()
    assert [run.outcome for run in site.runs.of(job)] == [None, "finished"]


def test_a_killed_worker_loses_nothing_and_its_job_runs_once_more(site):
    site.apply(site.pool(maxReplicas=2))
    ids = [site.enqueue("workload.nap", seconds=15, retries=1) for _ in range(2)]
    victim, other = running(site, 2)
    kill_worker(site, victim)
    runs_again(site, victim.job)
    taken = claim(site, victim.job)
    assert (taken["losses"], taken["alone"]) == ("1", "1")
    site.until_finished(ids)
    assert site.runs.starts() == {victim.job: 2, other.job: 1}
    assert site.job(victim.job).retries_left == 1, "no retry was used"
    site.until_empty()


def test_what_ran_out_of_memory_together_runs_once_more_alone(site):
    """Two jobs fit the limit by the pool's own numbers, which are wrong; one after the other they do fit."""
    two_slots = {"maxPerReplica": 2, "memory": {"base": "100Mi", "perJob": "100Mi", "marginPercent": 0}}
    site.apply(site.pool(maxReplicas=1, memory="420Mi", concurrency=two_slots))
    ids = [site.enqueue("workload.hold", megabytes=200, seconds=6) for _ in range(2)]
    site.until_finished(ids, seconds=150)
    killed = [run for run in site.runs.all if run.end is None]
    rerun = [run for run in site.runs.all if run.end is not None]
    assert sorted(run.job for run in killed) == sorted(ids), (
        "together they run out of memory, or this test shows nothing"
    )
    assert sorted(run.job for run in rerun) == sorted(ids)
    assert not overlap(*rerun), "they ran one after the other"
    statuses = [pod["status"]["containerStatuses"][0] for pod in site.pods()]
    assert all(one["restartCount"] >= 1 for one in statuses)
    site.until_empty()


def test_a_killed_operator_changes_nothing_for_the_jobs(site, operator):
    """The leader's pod dies while half of the work waits: its follower goes on, and the end is the same."""
    site.apply(site.pool(maxReplicas=3))
    ids = [site.enqueue("workload.nap", seconds=4) for _ in range(12)]
    running(site, 2)
    leader = operator.leader()
    uid = operator.uid(leader)
    for pid in processes_of_pod(site.cluster.run, uid):
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
    site.until_finished(ids, seconds=150)
    site.until_empty(seconds=150)
    assert site.runs.once(ids), str(site.runs)
    operator.wait()


def test_all_operators_away_and_back_changes_nothing_for_the_jobs(site, operator):
    """Nobody leads for a while: the workers go on with what is there; whoever comes then ends it the same way."""
    site.apply(site.pool(maxReplicas=2))
    ids = [site.enqueue("workload.nap", seconds=3) for _ in range(8)]
    running(site, 2)
    operator.scale(0)
    site.until_finished(ids, seconds=150)
    assert site.pods(), "without an operator nothing is scaled"
    operator.scale(2)
    site.until_empty(seconds=150)
    assert site.runs.once(ids), str(site.runs)
