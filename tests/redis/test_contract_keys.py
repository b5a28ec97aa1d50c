"""The names of keys are the installed rq's, also where they are spelt in Lua."""

from __future__ import annotations

import importlib.metadata
import os
import subprocess
import sys

import pytest
from rq import Queue
from rq.defaults import RQ_KEY_PREFIX
from rq.executions import Execution, ExecutionRegistry
from rq.group import Group
from rq.intermediate_queue import IntermediateQueue
from rq.job import Job
from rq.rate_limit import RateLimitRegistry
from rq.registry import (
    CanceledJobRegistry,
    DeferredJobRegistry,
    FailedJobRegistry,
    FinishedJobRegistry,
    ReadyJobRegistry,
    ScheduledJobRegistry,
    StartedJobRegistry,
)
from rq.worker import BaseWorker
from rq.worker_registration import REDIS_WORKER_KEYS, WORKERS_BY_QUEUE_KEY

from pool_contract import keys


def pairs(connection):
    """(our name, rq's name) for every key of RQ's that we touch."""
    prefix = RQ_KEY_PREFIX
    queue = Queue("gpu", connection=connection)
    job = Job("j1", connection=connection)
    execution = Execution("e1", "j1", connection=connection, worker_name="w1")
    limit = RateLimitRegistry("vendor", connection=connection)
    intermediate = IntermediateQueue(queue.key, connection=connection)
    return [
        (keys.queue(prefix, "gpu"), queue.key),
        (keys.intermediate(prefix, "gpu"), intermediate.key),
        (keys.first_seen(prefix, "gpu", "j1"), intermediate.get_first_seen_key("j1")),
        (keys.wip(prefix, "gpu"), StartedJobRegistry(queue=queue).key),
        (keys.finished(prefix, "gpu"), FinishedJobRegistry(queue=queue).key),
        (keys.failed(prefix, "gpu"), FailedJobRegistry(queue=queue).key),
        (keys.deferred(prefix, "gpu"), DeferredJobRegistry(queue=queue).key),
        (keys.ready(prefix, "gpu"), ReadyJobRegistry(queue=queue).key),
        (keys.scheduled(prefix, "gpu"), ScheduledJobRegistry(queue=queue).key),
        (keys.canceled(prefix, "gpu"), CanceledJobRegistry(queue=queue).key),
        (keys.job(prefix, "j1"), job.key),
        (keys.dependents(prefix, "j1"), job.dependents_key),
        (keys.dependencies(prefix, "j1"), job.dependencies_key),
        (keys.executions(prefix, "j1"), ExecutionRegistry("j1", connection=connection).key),
        (keys.execution(prefix, "j1", "e1"), execution.key),
        (keys.queues(prefix), Queue.redis_queues_keys),
        (keys.workers(prefix), REDIS_WORKER_KEYS),
        (keys.queue_workers(prefix, "gpu"), WORKERS_BY_QUEUE_KEY % "gpu"),
        (keys.worker(prefix, "w1"), BaseWorker.redis_worker_namespace_prefix + "w1"),
        (keys.worker_executions(prefix, "w1"), execution.worker_executions_key),
        (keys.rate_limits(prefix), limit.rl_keys_key),
        (keys.rate_limit(prefix, "vendor"), limit.config_key),
        (keys.rate_limit_allowed(prefix, "vendor"), limit.allowed_key),
        (keys.rate_limit_waiting(prefix, "vendor"), limit.rate_limited_key),
        (keys.groups(prefix), Group.REDIS_GROUP_KEY),
        (keys.group(prefix, "g1"), Group.get_key("g1")),
        (keys.groups_lock(prefix), Group.REDIS_GROUP_CLEANING_KEY),
    ]


def test_names_are_the_installed_rqs(valkey):
    with valkey.client() as connection:
        for ours, theirs in pairs(connection):
            assert ours == theirs


def test_the_pinned_rq_is_installed():
    assert importlib.metadata.version("rq") == "3.0.0"


@pytest.mark.parametrize("prefix", ["{media}:rq", "tenant-a"])
def test_another_prefix_moves_every_key(valkey, prefix):
    """RQ takes its prefix from the environment at import: a process of its own enqueues, our scripts claim."""
    code = (
        "import sys, redis, rq; from rq.serializers import JSONSerializer as S\n"
        f"c = redis.Redis(port={valkey.port}); q = rq.Queue('gpu', connection=c, serializer=S)\n"
        "print(q.enqueue('m.f', 1).id)"
    )
    environment = os.environ | {"RQ_KEY_PREFIX": prefix}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    from pool_contract import scripts

    with valkey.client() as connection:
        call = scripts.claim(
            prefix, pool="p", replica="r", incarnation="i", worker="w", queues=["gpu"], execution_id="e"
        )
        claimed = scripts.Scripts(connection).run(call).claimed
        assert claimed.job_id == done.stdout.strip()
        assert all(key.decode().startswith(f"{prefix}:") for key in connection.keys("*"))
