"""What a kubelet is told: readiness latches, since a ReplicaSet removes pods that are not ready before it looks at what
they cost to delete; liveness falls only for what a restart heals, which Redis' absence is not.
"""

from __future__ import annotations

import json
import os
import time
from types import SimpleNamespace

import pytest
from redis import ConnectionError as RedisConnectionError
from tests.fixtures import tiny_whisper
from tests.redis.worker_harness import Bench, eventually, workers

from pool_worker.events import Inbox
from pool_worker.replica import Replica
from pool_worker.settings import Settings

OK = (200, "ok\n")
NOT_YET = (503, "the model is not loaded yet\n")


@pytest.fixture
def bench(valkey):
    bench = Bench(valkey)
    yield bench
    bench.redis.close()


@pytest.fixture
def start(valkey, tmp_path):
    with workers(valkey, tmp_path) as start:
        yield start


def says(worker, status):
    return lambda: json.loads(worker.get("/health")[1])["status"] == status


SLOW_IMPORT = """
import os, sys

class Gate:
    def find_spec(self, name, path=None, target=None):
        if name == "faster_whisper":
            open(os.environ["TEST_GATE"]).close()

sys.meta_path.insert(0, Gate())
"""


def test_readiness_waits_for_the_model(start, tmp_path):
    model, gate = tiny_whisper.build(tmp_path / "model"), tmp_path / "gate"
    os.mkfifo(gate)  # who opens it waits for us
    (tmp_path / "sitecustomize.py").write_text(SLOW_IMPORT)
    environment = {"PYTHONPATH": str(tmp_path), "TEST_GATE": str(gate)}
    worker = start("--model", str(model), "--allow", "pool_worker.jobs:*", environment=environment)
    assert worker.get("/readyz") == NOT_YET
    assert worker.get("/livez") == OK
    with gate.open("w"):  # opens when the loading has come so far
        assert worker.get("/readyz") == NOT_YET
        assert says(worker, "starting")()
    worker.ready()


def test_a_worker_that_has_never_met_redis_lives_and_is_not_ready(valkey, start):
    valkey.stop()
    worker = start()
    worker.said("cannot be reached")
    assert worker.get("/readyz") == NOT_YET
    assert worker.get("/livez") == OK
    valkey.start()
    worker.ready()


def test_readiness_stays_while_redis_is_away_while_busy_and_while_stopping(valkey, bench, start):
    worker = start("--grace-seconds", "120").ready()
    valkey.stop()
    eventually(says(worker, "redis unavailable"), "the worker sees it")
    assert (worker.get("/readyz"), worker.get("/livez")) == (OK, OK)
    valkey.start()
    eventually(says(worker, "healthy"), "the worker is back")
    job = bench.enqueue("until", "test:go")
    bench.until_noted("waiter begins")
    assert (worker.get("/readyz"), worker.get("/livez")) == (OK, OK)
    worker.process.terminate()
    eventually(says(worker, "stopping"), "it stops")
    assert (worker.get("/readyz"), worker.get("/livez")) == (OK, OK)
    bench.redis.set("test:go", 1)
    assert worker.ended() == 0
    assert bench.job(job.id).get_status() == "finished"


def test_liveness_falls_when_the_heartbeat_thread_has_ended(bench, start):
    worker = start().ready()
    assert worker.get("/livez") == OK
    bench.enqueue("end_heartbeat")
    eventually(lambda: worker.get("/livez") == (503, "the heartbeat thread has ended\n"), lambda: worker.get("/livez"))
    assert worker.get("/readyz") == OK


def test_liveness_falls_when_the_heartbeat_hangs_but_not_while_redis_is_the_reason():
    replica = Replica(Settings(replica="r1", heartbeat_seconds=10), Inbox())
    assert replica.alive() == ""  # not begun
    replica._heartbeat = SimpleNamespace(is_alive=lambda: True, ident=1, turned_at=time.monotonic() - 100)
    assert replica.alive() == ""
    replica._heartbeat.turned_at = time.monotonic() - 200
    assert replica.alive().startswith("the heartbeat has not come round for ")
    replica.link.down(RedisConnectionError("refused"))
    assert replica.alive() == ""
    replica.link.up()
    assert replica.alive() != ""
