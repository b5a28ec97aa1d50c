"""Bad input on a real API server: one clear sentence in the right place, and nothing else is harmed."""

from __future__ import annotations

import os
import socket
import subprocess

import pytest
import yaml
from tests.apiserver.operator_process import COMMAND, POOL, enqueue, pool_body, steadily, until
from tests.servers import redis_server

from pool_contract import keys

SCHEMA = [
    ({"minReplicas": 5, "maxReplicas": 4}, "spec.minReplicas", "`minReplicas` must not be greater than `maxReplicas`"),
    ({"maxReplicas": -1}, "spec.maxReplicas", "should be greater than or equal to 0"),
    ({"queues": []}, "spec.queues", "should have at least 1 items"),
    ({"queues": [{"name": "a"}, {"name": "a"}]}, "spec.queues[1]", "Duplicate value"),
    ({"queues": [{"name": "two words"}]}, "spec.queues[0].name", "should match"),
    ({"mode": "Sometimes"}, "spec.mode", 'supported values: "Active", "DryRun", "Paused"'),
    ({"noSuchField": 1}, 'unknown field "spec.noSuchField"', "strict decoding error"),
    (
        {"template": {"spec": {"containers": [{"name": "web"}]}}},
        "spec.template",
        "must have a container named 'worker'",
    ),
    ({"template": {"spec": {"containers": ["worker"]}}}, "spec.template.spec.containers[0]", "must be of type object"),
    ({"concurrency": {"memory": {"perJob": "lots"}}}, "spec.concurrency.memory.perJob", "should match"),
    ({"jobs": {"timeoutSeconds": "1h"}}, "spec.jobs.timeoutSeconds", "must be of type integer"),
]


@pytest.mark.parametrize(("change", "field", "words"), SCHEMA)
def test_a_wrong_spec_is_refused_by_the_schema_with_field_and_sentence(namespace, kubectl, change, field, words):
    text = yaml.safe_dump(pool_body(6379, **change))
    with pytest.raises(AssertionError) as told:
        kubectl("create", "--namespace", namespace, "-f", "-", stdin=text)
    assert field in str(told.value)
    assert words in str(told.value)


def test_a_name_that_makes_too_long_a_label_is_refused(namespace, kubectl):
    with pytest.raises(AssertionError, match="must not be longer than 52 characters"):
        kubectl("create", "--namespace", namespace, "-f", "-", stdin=yaml.safe_dump(pool_body(6379, name="x" * 53)))


def test_what_no_schema_can_judge_becomes_a_condition_and_a_good_pool_beside_it_is_served(it, queue, workers):
    """One operator, one bad pool of each kind, and a good one that must not notice."""

    def bad(name, *, redis=None, container=None, **more):
        body = pool_body(queue.port, name=name, container=container, **{"queues": [{"name": name}]} | more)
        body["spec"]["redis"] |= redis or {}
        it.apply(body)

    it.start("--allowed-redis-hosts", "127.0.0.1,localhost")
    it.apply(pool_body(queue.port))
    it.wait_ready()
    queue.set(keys.queue("rq", "wrong-type"), "no list")
    memory = {"memory": {"base": "4Gi", "perJob": "4Gi"}}
    bad("no-room", concurrency=memory)
    bad("mistyped", container={"resourcez": {}})
    bad("host-access", template={"spec": {"hostNetwork": True, "containers": [{"name": "worker", "image": "w:1"}]}})
    bad(
        "account",
        template={"spec": {"serviceAccountName": "admin", "containers": [{"name": "worker", "image": "w:1"}]}},
    )
    bad("foreign-host", redis={"host": "elsewhere"})
    bad("no-server", redis={"port": 1})
    bad("no-secret", redis={"credentialsSecretRef": {"name": "absent"}})
    bad("wrong-type")
    bad("no-database", redis={"database": 999})
    bad("nowhere", budget={"pricePerReplicaHour": "1", "timeZone": "Mars/Base"})
    bad("shared", queues=[{"name": "default"}])

    assert "spec.concurrency.memory: not one job fits" in it.told("Ready", "SpecInvalid", "no-room")
    nowhere = "spec.budget.timeZone: 'Mars/Base' is no time zone; write it like Europe/Berlin or UTC"
    assert nowhere in it.told("Ready", "SpecInvalid", "nowhere")
    assert "spec.template.spec.containers" in it.told("TemplateValid", "TemplateRefused", "mistyped")
    assert "spec.template.spec.hostNetwork" in it.told("TemplateValid", "TemplateRefused", "host-access")
    assert "--allow-service-accounts" in it.told("TemplateValid", "TemplateRefused", "account")
    for name in ("mistyped", "host-access", "account"):
        assert it.condition("Ready", name)["reason"] == "TemplateRefused"
    assert "'elsewhere' is not among the hosts" in it.told("Ready", "HostNotAllowed", "foreign-host")
    assert "127.0.0.1:1/0 refuses connections" in it.told("QueueReachable", "QueueUnreachable", "no-server")
    assert "there is no Secret 'absent'" in it.told("Ready", "SecretNotFound", "no-secret")
    assert "rq:queue:wrong-type" in it.told("QueueReachable", "QueueWrongType", "wrong-type")
    assert "spec.redis.database" in it.told("QueueReachable", "QueueUnreachable", "no-database")
    assert "endpoint=elsewhere" not in it.log(), "connected to a host that is not allowed"
    assert f"the older pool '{it.namespace}/{POOL}'" in it.told("Ready", "QueueShared", "shared")

    jobs = enqueue(queue, 3)
    until(lambda: len(workers.done) == len(jobs), what="the good pool works")
    assert it.condition("Ready")["status"] == "True"
    assert {one["metadata"]["labels"]["processingpool.dev/pool"] for one in it.items("pods")} <= {POOL}


def test_wrong_usage_of_the_operator_is_one_sentence_and_exit_status_2(control_plane, tmp_path):
    def told(*flags, **environment):
        command = [*COMMAND, "--health-host", "127.0.0.1", *flags]
        done = subprocess.run(
            command, env={**os.environ, **environment}, capture_output=True, text=True, check=False, timeout=60
        )
        assert done.returncode == 2
        assert "Traceback" not in done.stderr
        return done.stderr.splitlines()[-1]

    assert "--pol-seconds" in told("--pol-seconds", "3")
    assert "--poll-seconds 'abc'" in told("--poll-seconds", "abc")
    assert "set KUBECONFIG" in told("--health-port", "0", KUBECONFIG=str(tmp_path / "none"), HOME=str(tmp_path))
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert f"--health-port {port}: cannot listen" in told("--health-port", str(port))


def test_a_password_is_asked_for_and_a_secret_is_read_when_it_comes_and_when_it_changes(it):
    def secret(password):
        text = it.kubectl(
            "create",
            "secret",
            "generic",
            "redis",
            f"--from-literal=password={password}",
            "--dry-run=client",
            "-o",
            "yaml",
        )
        it.kubectl("apply", "-f", "-", stdin=text)

    with redis_server("valkey") as server:
        with server.client() as client:
            client.config_set("requirepass", "good")
        it.start("--poll-seconds", "0.5")
        it.apply(pool_body(server.port))
        message = it.told("QueueReachable", "AuthenticationFailed")
        assert "spec.redis.credentialsSecretRef" in message
        it.patch({"redis": {"credentialsSecretRef": {"name": "redis"}}})
        it.told("Ready", "SecretNotFound")
        secret("bad")
        it.told("Ready", "AuthenticationFailed")
        secret("good")
        it.wait_ready()
        assert "good" not in it.log()


def test_without_redis_nothing_is_lowered_and_it_goes_on_when_redis_is_back(it, workers, queue, redis_process):
    """Redis stops while pods work; what it lost at the restart is doubted until the workers have told."""
    server, _ = redis_process
    workers.draw = lambda _: 1.0
    it.start("--poll-seconds", "0.5")
    it.apply(pool_body(queue.port))
    it.wait_ready()
    enqueue(queue, 40)
    until(lambda: len(it.pods()) == 4 and len(workers.done) > 2, what="four replicas at work")
    before = {one["metadata"]["uid"] for one in it.pods()}
    server.kill()
    try:
        message = it.told("QueueReachable", "QueueUnreachable")
        assert "refuses connections" in message
        assert it.condition("ScalingActive")["reason"] == "HoldUnknown"
        steadily(lambda: {one["metadata"]["uid"] for one in it.pods()} == before, what="all held", seconds=2)
    finally:
        server.start()
    it.wait_ready()
    jobs = enqueue(queue, 2)
    until(lambda: set(jobs) <= set(workers.done), what="new work is done")
    assert workers.hits == []
