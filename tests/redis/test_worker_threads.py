"""However many slots a replica has: one subscription, one poller, one heartbeat, and one claim attempt for one push."""

from __future__ import annotations

import threading
import time

import pytest
from tests.redis.worker_harness import Bench, eventually, workers

from pool_contract import keys
from pool_worker import bell as bell_module
from pool_worker.bell import Bell
from pool_worker.connection import Link
from pool_worker.listener import SPREAD_SECONDS, Listener
from pool_worker.settings import Settings
from pool_worker.slots import IDLE_WAIT_SECONDS

SLOTS = 4
PUSHES = 25
CLAIM = "execution_id"  # of our scripts that a worker without a job calls, only this one has such an argument
GOODBYE = "GET the-end"


@pytest.fixture
def bench(valkey):
    bench = Bench(valkey)
    yield bench
    bench.redis.close()


@pytest.fixture
def start(valkey, tmp_path):
    with workers(valkey, tmp_path) as start:
        yield start


class Watcher(threading.Thread):
    """Counts the claims that reach a server, by MONITOR."""

    def __init__(self, server):
        super().__init__(daemon=True)
        self._server = server
        self._client = server.client()
        self._monitor = self._client.monitor()
        self.claims = 0

    def __enter__(self):
        self._monitor.__enter__()
        self.start()
        return self

    def __exit__(self, *_):
        with self._server.client() as other:
            other.execute_command(*GOODBYE.split())
        self.join()
        self._monitor.__exit__(None, None, None)
        self._client.close()

    def run(self):
        for command in self._monitor.listen():
            if command["command"] == GOODBYE:
                return
            self.claims += CLAIM in command["command"]


def test_four_slots_share_one_subscription_one_poller_and_one_heartbeat(bench, start):
    start("--slots", str(SLOTS)).ready()
    names = bench.finished(bench.enqueue("threads")).return_value()
    assert [one for one in names if one.startswith("slot-")] == [f"slot-{index}" for index in range(SLOTS)]
    assert [names.count(one) for one in ("listener", "poller", "heartbeat", "health")] == [1, 1, 1, 1]
    listening = eventually(lambda: bench.redis.client_list(_type="pubsub"), "it listens")
    assert [one["name"] for one in listening] == ["processingpool-worker"]


def test_a_push_makes_one_claim_attempt_however_many_slots_are_idle(valkey, bench, start):
    bench.redis.config_set("notify-keyspace-events", "Kl")
    start("--slots", str(SLOTS), "--poll-seconds", "60", "--heartbeat-seconds", "15", "--lease-seconds", "60").ready()
    eventually(lambda: bench.redis.client_list(_type="pubsub"), "it listens")
    queue = keys.queue("rq", "default")
    with Watcher(valkey) as watcher:
        bench.finished(bench.enqueue("noop"))  # heard by push: the poller sleeps
        began, before = time.monotonic(), watcher.claims
        for _ in range(PUSHES):
            seen = watcher.claims
            with bench.redis.pipeline() as both:  # gone before anybody asks: no job found that rings for the next
                both.rpush(queue, "nothing").lpop(queue).execute()
            eventually(lambda seen=seen: watcher.claims > seen, "the push is heard")
        # each slot also looks by itself every few seconds
        alone = SLOTS * (1 + int((time.monotonic() - began) / IDLE_WAIT_SECONDS))
        assert PUSHES <= watcher.claims - before <= PUSHES + alone + SLOTS


def test_after_a_push_a_slot_waits_a_random_moment_so_that_replicas_do_not_ask_all_at_once(monkeypatch):
    drawn, slept, bell = [], [], Bell()
    monkeypatch.setattr(bell_module.random, "uniform", lambda low, high: drawn.append((low, high)) or 0.003)
    monkeypatch.setattr(bell_module.time, "sleep", slept.append)
    settings = Settings(queues=("default",))
    listener = Listener(settings, Link("here"), bell, list)
    listener._hear({"channel": b"__keyspace@0__:rq:queue:default", "data": b"rpush"}, {})
    bell.wait(0)
    assert SPREAD_SECONDS > 0
    assert drawn == [(0, SPREAD_SECONDS)]
    assert slept == [0.003]
    bell.ring()  # by the poller
    bell.wait(0)
    assert slept == [0.003]


def test_the_defaults_are_a_heartbeat_of_15_seconds_and_a_lease_of_60():
    settings = Settings()
    assert (settings.heartbeat_seconds, settings.lease_seconds) == (15, 60)
