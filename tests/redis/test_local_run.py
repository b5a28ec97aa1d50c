"""`processingpool run` end to end: real worker processes, real servers."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal

import pytest
from redis import Redis
from tests.fakes.pools import pool_object
from tests.redis.local_run import alive, enqueue, finished_runs, machine, statuses, until

from pool_contract import keys
from pool_operator.cli import run
from pool_operator.engine.state import Memory
from pool_operator.runtime.clock import SystemClock
from pool_operator.runtime.file_recorder import FileRecorder


def test_from_zero_to_the_maximum_and_back_to_zero_with_a_report(valkey, tmp_path):
    rules = {"budget": {"pricePerReplicaHour": "3.60"}, "overflow": {"forPoolRef": {"name": "own"}}}
    with machine(tmp_path, port=valkey.port, **rules) as it, valkey.client() as redis:
        jobs = enqueue(redis, "work", 0.2, number=15)
        report = it.done()
        assert statuses(redis, jobs) == ["finished"] * 15
        assert finished_runs(redis) == dict.fromkeys(jobs, 1)
        log = it.log()
    assert report["jobs"] == report["finished"] == 15
    assert [report[name] for name in ("failed", "lost", "duplicated", "killed", "interrupted")] == [0] * 5
    assert report["peak_replicas"] == 3
    assert report["final_replicas"] == 0
    assert report["decisions"][0] | {"from": 0, "to": 3, "reason": "WorkWaiting"} == report["decisions"][0]
    assert report["decisions"][-1] | {"to": 0, "reason": "Idle"} == report["decisions"][-1]
    assert report["cost"] == pytest.approx(report["replica_seconds"] / 1000, abs=0.001)
    assert 0 < report["wait_seconds"]["p50"] <= report["wait_seconds"]["p99"]
    assert "0 -> 3 replicas, WorkWaiting" in log
    assert "15 finished" in log
    assert "not used on one machine: spec.overflow (a run has one pool, so this one works alone)" in log


def test_the_next_run_goes_on_with_what_this_one_has_learned_and_spent(tmp_path):
    budget = {"pricePerReplicaHour": "3.60", "daily": {"soft": "1000"}}
    with machine(tmp_path, budget=budget, scaling={"profile": "Fast"}) as it:
        process = it.start("--plain")
        with it.redis() as redis:
            jobs = enqueue(redis, "work", 0.2, number=9)
            until(lambda: finished_runs(redis) == dict.fromkeys(jobs, 1), "all done")
        assert f"`processingpool status {it.file} --url`" in it.log()
        url = it.call("status", "pool.yaml", "--url")
        assert (url.returncode, url.stderr, url.stdout.count("\n")) == (0, "", 1)
        with Redis.from_url(url.stdout.strip()) as producer:
            assert producer.ping()
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0, it.log()
        spent = re.search(r"profile Fast; day (\d+\.\d+) of 1000 soft", it.log().splitlines()[-1])
        assert spent, it.log()
        pool = pool_object("quick", uid=(it.state / "uid").read_text())
        learned = asyncio.run(FileRecorder(it.state, clock=SystemClock()).restore(pool, None))
        assert learned.run_times.seconds.total > 0
        assert learned.cold_starts.mean_seconds != Memory().cold_starts.mean_seconds
        assert learned.spend.day_amount > 0
        report = it.done()
        again = asyncio.run(FileRecorder(it.state, clock=SystemClock()).restore(pool, None))
        assert again.run_times == learned.run_times
        assert report["spend"]["day"] >= learned.spend.day_amount


def test_a_run_that_starts_nothing_says_why_once(valkey, tmp_path):
    with machine(tmp_path, port=valkey.port, mode="Paused") as it, valkey.client() as redis:
        process = it.start("--plain")
        until(lambda: "wanted 0" in it.log(), "it looks")
        enqueue(redis, "work", 0.1)
        until(lambda: "Paused: spec.mode is Paused" in it.log(), "it says why")
        enqueue(redis, "work", 0.1)
        until(lambda: "2 waiting" in it.log(), "it goes on")
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0
        assert it.log().count("Paused: spec.mode is Paused") == 1


def test_stopped_midway_it_hands_running_jobs_back_and_the_next_run_finishes_each_once(tmp_path):
    with machine(tmp_path, maxReplicas=2) as it:
        first = it.start("--grace-seconds", "1")
        with it.redis() as redis:
            assert (it.state / "redis.json").stat().st_mode & 0o77 == 0
            jobs = enqueue(redis, "work", 2.5, number=4)
            until(lambda: redis.zcard(keys.wip("rq", "quick")) == 2, "two jobs run")
            workers = it.processes()
            first.send_signal(signal.SIGINT)
            assert first.wait(30) == 0
        assert not any(map(alive, workers))
        assert "4 jobs are left for the next run" in it.log()
        second = it.start("--until-done")
        with it.redis() as redis:
            until(lambda: finished_runs(redis) == dict.fromkeys(jobs, 1), "each job ran to its end once")
            until(lambda: statuses(redis, jobs) == ["finished"] * 4, "all finished")
            assert [redis.hget(keys.job("rq", job), "pp_losses") for job in jobs] == [None] * 4
        assert second.wait(30) == 0


def test_a_second_ctrl_c_does_not_wait_for_running_jobs_and_loses_none(tmp_path):
    with machine(tmp_path, maxReplicas=1) as it:
        first = it.start("--grace-seconds", "3600")
        with it.redis() as redis:
            (job,) = enqueue(redis, "work", 50)
            until(lambda: redis.llen(keys.run_log("rq")) == 1, "the job runs")
            first.send_signal(signal.SIGINT)
            until(lambda: re.search(r" 1 running,.*wanted 0", it.log()), "the end is asked for")
            assert statuses(redis, [job]) == ["started"]
            first.send_signal(signal.SIGINT)
            assert first.wait(30) == 0
        assert "1 jobs are left for the next run" in it.log()
        it.start("--grace-seconds", "1")
        with it.redis() as redis:
            until(lambda: redis.llen(keys.run_log("rq")) == 2, "the job runs again")


def test_a_worker_that_dies_is_replaced_its_job_runs_again_and_a_failed_job_is_told(valkey, tmp_path):
    with machine(tmp_path, port=valkey.port) as it, valkey.client() as redis:
        (crashing,) = enqueue(redis, "crash_once", str(tmp_path / "crashed"))
        jobs = [crashing, *enqueue(redis, "work", 0.2, number=5)]
        (failing,) = enqueue(redis, "fail")
        report = it.done(status=1)
        assert statuses(redis, [failing]) == ["failed"]
        assert finished_runs(redis) == dict.fromkeys(jobs, 1)
        assert "taken back" in it.log()
    assert (report["finished"], report["failed"]) == (6, 1)
    assert [report[name] for name in ("lost", "duplicated", "killed")] == [0, 0, 0]
    assert report["interrupted"] == 1


def test_when_the_run_is_killed_its_workers_end_and_the_next_run_continues(tmp_path):
    with machine(tmp_path, maxReplicas=2) as it:
        first = it.start()
        with it.redis() as redis:
            jobs = enqueue(redis, "work", 1.5, number=4)
            until(lambda: redis.zcard(keys.wip("rq", "quick")) == 2, "two jobs run")
        workers = it.processes()
        assert len(workers) == 2
        first.kill()
        first.wait()
        until(lambda: not any(map(alive, workers)), "the workers have ended")
        second = it.start("--until-done")
        with it.redis() as redis:
            until(lambda: statuses(redis, jobs) == ["finished"] * 4, "all finished")
            ends = finished_runs(redis)
        assert second.wait(30) == 0
        assert set(ends) == set(jobs)


def test_when_the_embedded_server_is_killed_the_run_ends_with_a_sentence_and_the_next_one_continues(tmp_path):
    with machine(tmp_path, maxReplicas=1) as it:
        first = it.start("--grace-seconds", "1")
        with it.redis() as redis:
            jobs = enqueue(redis, "work", 0.5, number=4)
            until(lambda: redis.llen(keys.run_log("rq")) > 0, "a job runs")
        os.kill(int((it.state / "processes" / "valkey").read_text().split()[0]), signal.SIGKILL)
        assert first.wait(30) == 1
        assert it.log().strip().splitlines()[-1].startswith("processingpool run: the embedded Valkey ended")
        assert "Traceback" not in it.log()
        second = it.start("--until-done")
        with it.redis() as redis:
            until(lambda: statuses(redis, jobs) == ["finished"] * 4, "all finished")
        assert second.wait(30) == 0


def test_the_minimum_is_kept_without_work_and_the_commands_see_it(valkey, tmp_path):
    with machine(tmp_path, port=valkey.port, minReplicas=2, maxReplicas=2) as it, valkey.client() as redis:
        it.start("--grace-seconds", "1")
        until(lambda: "replicas 2 (2 ready)" in it.log(), "two ready")
        (job,) = enqueue(redis, "work", 30)
        until(lambda: redis.zcard(keys.wip("rq", "quick")) == 1, "it runs")

        shown = it.call("status", "pool.yaml")
        assert shown.returncode == 0, shown.stderr
        assert "default/quick" in shown.stdout
        found = json.loads(it.call("status", "--redis-url", valkey.url, "--json").stdout)
        assert [one["pool"] for one in found] == ["default/quick"]
        assert sorted(len(one["jobs"]) for one in found[0]["replicas"]) == [0, 1]

        refused = it.call("run", "pool.yaml")
        assert refused.returncode == 2
        assert "runs on this machine already" in refused.stderr

        listed = json.loads(it.call("jobs", "list", "--pool", "pool.yaml", "--json").stdout)
        assert [(one["id"], one["status"]) for one in listed] == [(job, "started")]
        assert it.call("jobs", "cancel", job, "--pool", "pool.yaml").returncode == 0
        until(lambda: statuses(redis, [job]) == ["canceled"], "canceled")
        again = it.call("jobs", "cancel", job, "--pool", "pool.yaml")
        assert again.returncode == 1
        assert "nothing to cancel" in again.stderr


WRONG = {
    "no such file": (["nowhere.yaml"], {}, "nowhere.yaml"),
    "an option that does not exist": (["pool.yaml", "--until-dawn"], {}, "--until-dawn"),
    "a pattern that matches nothing": (["pool.yaml", "--submit", "*.nothing"], {}, "*.nothing"),
    "a report in no folder": (["pool.yaml", "--report", "no/where.json"], {}, "--report no/where.json"),
    "a queue that is not the pool's": (["pool.yaml", "--submit", "pool.yaml", "--queue", "x"], {}, "serves quick"),
    "no grace": (["pool.yaml", "--grace-seconds", "0"], {}, "--grace-seconds 0"),
    "an unknown field": (["pool.yaml"], {"maxReplica": 3}, "maxReplica"),
    "a minimum above the maximum": (["pool.yaml"], {"minReplicas": 5}, "minReplicas"),
    "no container worker": (["pool.yaml"], {"template": {"spec": {"containers": [{"name": "x"}]}}}, "'worker'"),
    "a command that is not there": (["pool.yaml"], {"container": {"command": ["no-such-thing"]}}, "no-such-thing"),
    "memory that fits no job": (
        ["pool.yaml"],
        {
            "container": {"resources": {"limits": {"memory": "100Mi"}}},
            "concurrency": {"memory": {"base": "200Mi", "perJob": "100Mi"}},
        },
        "100Mi",
    ),
    "a Secret on one machine": (
        ["pool.yaml"],
        {"redis": {"host": "127.0.0.1", "credentialsSecretRef": {"name": "login"}}},
        "PROCESSINGPOOL_REDIS_PASSWORD",
    ),
    "a Redis that is not there": (["pool.yaml"], {"port": 1}, "127.0.0.1:1"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_input_is_one_sentence_and_status_2(case, tmp_path, monkeypatch, capsys):
    flags, pool, words = WRONG[case]
    with machine(tmp_path, **pool) as it:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("XDG_STATE_HOME", it.environment["XDG_STATE_HOME"])
        assert run.main(["run", *flags]) == 2
        sentence = capsys.readouterr().err
        assert words in sentence
        assert len(sentence.strip().splitlines()) == 1


def test_workers_that_never_start_end_the_run_with_their_own_words_and_the_work_is_kept(valkey, tmp_path):
    container = {"command": ["processingpool", "worker", "--no-such-flag"]}
    with machine(tmp_path, port=valkey.port, container=container) as it, valkey.client() as redis:
        jobs = enqueue(redis, "work", 0.1, number=2)
        assert it.start("--until-done").wait(60) == 1
        last = it.log().strip().splitlines()[-1]
        assert last.startswith("processingpool run: replicas end while they start (exit status 2)")
        assert "--no-such-flag" in last
        assert "Traceback" not in it.log()
        assert statuses(redis, jobs) == ["queued"] * 2
