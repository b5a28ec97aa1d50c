"""What one machine makes of a pod template."""

from __future__ import annotations

import pytest
from tests.fakes.pools import pool_object, pool_spec

from pool_operator.backends.base import Credentials
from pool_operator.backends.local.environment import base_environment, worker_environment
from pool_operator.backends.local.template import TemplateError, read_template, with_memory_limit

WHERE = "spec.template.spec.containers[worker]"


def spec(container=None, *, pod=None, **more):
    worker = {"name": "worker"} | (container or {})
    return pool_spec(template={"spec": {"containers": [worker], **(pod or {})}}, **more)


def test_command_arguments_environment_and_folder_are_used():
    found = read_template(
        spec(
            {
                "command": ["processingpool"],
                "args": ["worker", "--output", "$(BASE)/out"],
                "workingDir": "/media",
                "env": [
                    {"name": "BASE", "value": "/data"},
                    {"name": "OUT", "value": "$(BASE)/x $$(BASE) $(LATER)"},
                    {"name": "LATER", "value": "late"},
                    {"name": "EMPTY"},
                ],
            }
        )
    )
    assert found.command == ("processingpool", "worker", "--output", "/data/out")
    assert found.environment == {"BASE": "/data", "OUT": "/data/x $(BASE) $(LATER)", "LATER": "late", "EMPTY": ""}
    assert found.folder == "/media"
    assert found.ignored == ()


def test_everything_else_is_named_as_ignored():
    container = {
        "image": "worker:1",
        "volumeMounts": [],
        "env": [{"name": "SECRET", "valueFrom": {"secretKeyRef": {"name": "a", "key": "b"}}}],
        "resources": {"requests": {"cpu": "1"}, "limits": {"memory": "1Gi", "nvidia.com/gpu": 1}},
    }
    pool = pool_spec(
        template={
            "metadata": {"labels": {}},
            "spec": {"containers": [{"name": "worker", **container}, {"name": "sidecar"}], "nodeSelector": {"a": "b"}},
        }
    )
    assert set(read_template(pool).ignored) == {
        "spec.template.metadata",
        "spec.template.spec.nodeSelector",
        "spec.template.spec.containers[sidecar]",
        f"{WHERE}.image",
        f"{WHERE}.volumeMounts",
        f"{WHERE}.env[SECRET].valueFrom",
        f"{WHERE}.resources.requests",
        f"{WHERE}.resources.limits.nvidia.com/gpu",
    }


def test_without_a_limit_each_replica_has_an_equal_share_of_the_machine():
    shared = with_memory_limit(spec(max_replicas=4), 8 * 2**30)
    assert shared.template["spec"]["containers"][0]["resources"]["limits"] == {"memory": "2048Mi"}
    own = spec({"resources": {"limits": {"memory": "1Gi"}}})
    assert with_memory_limit(own, 8 * 2**30) == own


@pytest.mark.parametrize(
    ("pool", "words"),
    [
        (pool_spec(template={}), "there is no container named 'worker'"),
        (pool_spec(template={"spec": {"containers": "worker"}}), "there is no container named 'worker'"),
        (spec({"command": "processingpool worker"}), f"{WHERE}.command: must be a list of texts"),
        (spec({"args": [1]}), f"{WHERE}.args: must be a list of texts"),
        (spec({"env": [{"value": "x"}]}), f"{WHERE}.env: each entry needs a name"),
        (spec({"resources": []}), None),
        (spec({"resources": ["memory"]}), f"{WHERE}.resources: must look like"),
    ],
)
def test_a_template_that_cannot_run_here_is_refused_in_one_sentence(pool, words):
    def use():
        return read_template(with_memory_limit(pool, 2**30))

    if words is None:
        use()
        return
    with pytest.raises(TemplateError) as refused:
        use()
    assert words in str(refused.value)


def test_what_a_replica_is_wins_over_the_template_and_the_callers_environment():
    pool = pool_object(queues=("urgent", "default"), redis={"host": "127.0.0.1", "port": 7000, "keyPrefix": "media"})
    template = read_template(
        spec(
            {
                "env": [
                    {"name": "PROCESSINGPOOL_REPLICA", "value": "mine"},
                    {"name": "PROCESSINGPOOL_MODEL", "value": "x"},
                ]
            }
        )
    )
    inherited = {"PATH": "/bin", "PROCESSINGPOOL_REDIS_PASSWORD": "another's", "PROCESSINGPOOL_CPU_THREADS": "7"}
    environment = base_environment(inherited, cores=8, replicas=4) | worker_environment(
        pool, template, replica="local-1", grace_seconds=10.0, credentials=Credentials(password="secret")
    )
    assert environment["PROCESSINGPOOL_REPLICA"] == "local-1"
    assert environment["PROCESSINGPOOL_MODEL"] == "x"
    assert environment["PROCESSINGPOOL_POOL"] == "test/pool"
    assert environment["PROCESSINGPOOL_POOL_UID"] == pool.uid
    assert environment["PROCESSINGPOOL_QUEUES"] == "urgent,default"
    assert environment["PROCESSINGPOOL_REDIS_URL"] == "redis://127.0.0.1:7000/0"
    assert environment["PROCESSINGPOOL_REDIS_PASSWORD"] == "secret"
    assert environment["PROCESSINGPOOL_KEY_PREFIX"] == environment["RQ_KEY_PREFIX"] == "media"
    assert environment["PROCESSINGPOOL_GRACE_SECONDS"] == "10"
    assert environment["PROCESSINGPOOL_CPU_THREADS"] == "7", "the caller's own choice stays"
    assert environment["PATH"].endswith(":/bin")


@pytest.mark.parametrize(("cores", "replicas", "threads"), [(8, 4, "2"), (2, 10, "1"), (16, 1, "16"), (4, 0, "4")])
def test_the_cores_are_shared_out(cores, replicas, threads):
    assert base_environment({}, cores=cores, replicas=replicas)["PROCESSINGPOOL_CPU_THREADS"] == threads
