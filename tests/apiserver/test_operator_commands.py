"""`processingpool submit`, `status` and `jobs` on the pool of an operator: all they need is the pool's Redis."""

from __future__ import annotations

import json
import subprocess

import yaml
from tests.apiserver.operator_process import COMMAND, POOL, pool_body, until
from tests.fixtures.media import wav_bytes


def call(*arguments):
    run = subprocess.run([COMMAND[0], *arguments], capture_output=True, text=True, timeout=60, check=False)
    assert run.returncode == 0, run.stderr
    return run.stdout


def picture(url):
    (found,) = json.loads(call("status", "--redis-url", url, "--json"))
    return found


def test_submit_status_and_jobs_reach_an_operators_pool(it, queue, workers, tmp_path):
    workers.draw = lambda dice: 3600.0  # longer than this test looks
    pool = tmp_path / "pool.yaml"
    body = pool_body(queue.port)
    body["metadata"]["namespace"] = it.namespace
    pool.write_text(yaml.safe_dump(body))
    url, name = f"redis://127.0.0.1:{queue.port}/0", f"{it.namespace}/{POOL}"
    it.start()
    it.apply(body)
    it.wait_ready()
    source = tmp_path / "talk.wav"
    source.write_bytes(wav_bytes(samples=bytes(32_000)))

    assert "1 job on queue 'default'" in call("submit", "--redis-url", url, str(source))
    until(lambda: any(one["jobs"] for one in picture(url)["replicas"]), what="a replica has the job")
    shown = picture(url)
    assert shown["pool"] == name
    assert [(one["name"], one["waiting"], one["running"]) for one in shown["queues"]] == [("default", 0, 1)]
    assert [len(one["jobs"]) for one in shown["replicas"]] == [1]
    assert name in call("status", str(pool))
    (job,) = json.loads(call("jobs", "list", "--pool", str(pool), "--json"))
    assert (job["status"], job["queue"], job["description"]) == ("started", "default", source.name)
