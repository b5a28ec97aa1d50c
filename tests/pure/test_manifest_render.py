"""The rendered Deployment: what is stamped, what stays the user's, and what makes it change."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.pure.kubernetes_builders import pool

from pool_operator.api.models import Redis
from pool_operator.backends.kubernetes import manifest
from pool_operator.backends.kubernetes.manifest import grace_seconds, is_current, render, stamp


def worker_of(rendered):
    containers = rendered["spec"]["template"]["spec"]["containers"]
    return next(one for one in containers if one["name"] == "worker")


def environment_of(rendered):
    return {entry["name"]: entry for entry in worker_of(rendered)["env"]}


def test_the_apply_leaves_replicas_to_their_own_manager():
    assert "replicas" not in render(pool())["spec"]


def test_an_old_pod_frees_its_gpu_before_a_new_one_asks_for_it():
    assert render(pool())["spec"]["strategy"]["rollingUpdate"] == {"maxSurge": 0, "maxUnavailable": "25%"}


def test_the_pool_owns_its_deployment_and_the_selector_follows_the_pool_uid():
    rendered = render(pool())
    assert rendered["metadata"]["ownerReferences"][0]["uid"] == "pool-1"
    assert rendered["spec"]["selector"]["matchLabels"] == {"processingpool.dev/pool-uid": "pool-1"}
    labels = rendered["spec"]["template"]["metadata"]["labels"]
    assert labels["processingpool.dev/pool-uid"] == "pool-1"
    assert labels["app.kubernetes.io/managed-by"] == "processing-pool"


def test_a_worker_learns_its_pool_queues_and_redis_by_environment():
    environment = environment_of(render(pool(redis={"host": "cache", "port": 6380, "database": 2, "keyPrefix": "own"})))
    assert environment["PROCESSINGPOOL_POOL"]["value"] == "media/speech"
    assert environment["PROCESSINGPOOL_QUEUES"]["value"] == "urgent,default"
    assert environment["PROCESSINGPOOL_REDIS_URL"]["value"] == "redis://cache:6380/2"
    assert environment["PROCESSINGPOOL_KEY_PREFIX"]["value"] == "own"
    assert environment["RQ_KEY_PREFIX"]["value"] == "own"
    assert environment["PROCESSINGPOOL_REPLICA"]["valueFrom"]["fieldRef"]["fieldPath"] == "metadata.uid"


def test_credentials_come_by_reference_and_never_as_text():
    redis = {"host": "cache", "credentialsSecretRef": {"name": "redis"}, "tls": {}}
    rendered = render(pool(redis=redis))
    environment = environment_of(rendered)
    reference = environment["PROCESSINGPOOL_REDIS_PASSWORD"]["valueFrom"]["secretKeyRef"]
    assert reference == {"name": "redis", "key": "password", "optional": True}
    assert environment["PROCESSINGPOOL_REDIS_URL"]["value"] == "rediss://cache:6379/0"
    mount = next(m for m in worker_of(rendered)["volumeMounts"] if m["name"] == manifest.CA_VOLUME)
    assert environment["PROCESSINGPOOL_REDIS_CA_FILE"]["value"] == f"{mount['mountPath']}/ca.crt"


def test_a_service_named_redis_injects_nothing_and_no_token_is_mounted():
    pod = render(pool())["spec"]["template"]["spec"]
    assert pod["enableServiceLinks"] is False
    assert pod["automountServiceAccountToken"] is False
    asking = {**pool().spec.template, "spec": {**pool().spec.template["spec"], "automountServiceAccountToken": True}}
    assert render(pool(template=asking))["spec"]["template"]["spec"]["automountServiceAccountToken"] is True


@pytest.mark.parametrize(
    ("timeout", "chosen", "expected"),
    [(600, None, 630), (7200, None, 7200), (86400, None, 7200), (600, 5, 5)],
    ids=["job fits", "longest grace", "a day is cut", "the user's number wins"],
)
def test_the_grace_period_fits_the_jobs(timeout, chosen, expected):
    pod = {} if chosen is None else {"terminationGracePeriodSeconds": chosen}
    rendered = render(pool(jobs={"timeoutSeconds": timeout}, pod=pod))
    assert rendered["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] == expected
    assert environment_of(rendered)["PROCESSINGPOOL_GRACE_SECONDS"]["value"] == str(expected)


def test_the_users_own_settings_win_over_defaults():
    worker = {
        "command": ["python", "-m", "mine"],
        "env": [{"name": "MINE", "value": "1"}, {"name": "PROCESSINGPOOL_POOL", "value": "forged"}],
        "livenessProbe": {"exec": {"command": ["true"]}},
        "securityContext": {"readOnlyRootFilesystem": False},
    }
    rendered = render(pool(worker=worker, pod={"securityContext": {"runAsNonRoot": False}}))
    container = worker_of(rendered)
    assert container["command"] == ["python", "-m", "mine"]
    assert "args" not in container
    assert container["livenessProbe"] == {"exec": {"command": ["true"]}}
    assert container["securityContext"]["readOnlyRootFilesystem"] is False
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert rendered["spec"]["template"]["spec"]["securityContext"]["runAsNonRoot"] is False
    environment = environment_of(rendered)
    assert environment["MINE"]["value"] == "1"
    assert environment["PROCESSINGPOOL_POOL"]["value"] == "media/speech"


def test_a_container_without_command_runs_the_worker():
    assert worker_of(render(pool()))["args"] == ["processingpool", "worker"]


def test_a_read_only_root_has_a_writable_tmp_unless_the_user_brings_one():
    assert {"name": "processingpool-tmp", "mountPath": "/tmp"} in worker_of(render(pool()))["volumeMounts"]
    own = {"volumeMounts": [{"name": "scratch", "mountPath": "/tmp/"}]}
    rendered = render(pool(worker=own, pod={"volumes": [{"name": "scratch", "emptyDir": {}}]}))
    assert [mount["name"] for mount in worker_of(rendered)["volumeMounts"]] == ["scratch"]


def test_rendering_does_not_touch_the_pool_and_is_the_same_each_time():
    one = pool()
    first = render(one)
    assert render(one) == first
    assert "env" not in one.spec.template["spec"]["containers"][0]


@pytest.mark.parametrize(
    ("change", "same"),
    [
        ({"minReplicas": 3}, True),
        ({"maxReplicas": 99}, True),
        ({"concurrency": {"maxPerReplica": 4}}, True),
        ({"mode": "Paused"}, True),
        ({"queues": [{"name": "other"}]}, False),
        ({"redis": {"host": "other"}}, False),
        ({"jobs": {"timeoutSeconds": 60}}, False),
        ({"worker": {"image": "worker:2"}}, False),
    ],
    ids=["min", "max", "slots", "mode", "queues", "redis", "timeout", "image"],
)
def test_only_what_a_worker_must_know_changes_the_stamp(change, same):
    assert is_current(stamp(pool()), pool(**change)) is same
    assert (render(pool()) == render(pool(**change))) is same


def test_a_newer_operator_leaves_a_deployment_alone_until_the_spec_changes():
    older = stamp(pool(), "0")
    assert older != stamp(pool())
    assert is_current(older, pool())
    assert not is_current(older, pool(worker={"image": "worker:2"}))


def test_a_field_that_a_newer_operator_knows_replaces_no_pod():
    class Newer(Redis):
        sentinel: str | None = None

    redis = Newer.model_validate({"host": "redis"})
    upgraded = replace(pool(), spec=pool().spec.model_copy(update={"redis": redis}))
    assert is_current(stamp(pool()), upgraded)


def test_grace_of_a_spec_without_template_spec():
    assert grace_seconds(pool().spec.model_copy(update={"template": {}})) == 7200
