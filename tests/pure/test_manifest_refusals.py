"""What a template may not ask for: named with its field and the setting that allows it."""

from __future__ import annotations

import pytest
from tests.fakes.pools import pool_spec

from pool_operator.backends.kubernetes.api import ApiError
from pool_operator.backends.kubernetes.refusals import Allowed, refusal, servers_refusal

WORKER = {"name": "worker", "image": "worker:1"}


def spec(pod=None, **worker):
    return pool_spec(template={"spec": {"containers": [WORKER | worker], **(pod or {})}})


TOKEN = {"sources": [{"configMap": {"name": "a"}}, {"serviceAccountToken": {"path": "token"}}]}
ACCOUNTS = [
    ({"serviceAccountName": "admin"}, "serviceAccountName"),
    ({"serviceAccount": "admin"}, "serviceAccount"),
    ({"automountServiceAccountToken": True}, "automountServiceAccountToken"),
    ({"volumes": [{"name": "t", "projected": TOKEN}]}, "volumes[0].projected.sources[1].serviceAccountToken"),
]
HOST = [
    ({"hostNetwork": True}, "hostNetwork"),
    ({"hostPID": True}, "hostPID"),
    ({"hostIPC": True}, "hostIPC"),
    ({"volumes": [{"name": "a", "emptyDir": {}}, {"name": "b", "hostPath": {"path": "/"}}]}, "volumes[1].hostPath"),
    (
        {"initContainers": [{"name": "a", "securityContext": {"privileged": True}}]},
        "initContainers[0].securityContext.privileged",
    ),
    ({"securityContext": {"windowsOptions": {"hostProcess": True}}}, "securityContext.windowsOptions.hostProcess"),
]


@pytest.mark.parametrize(("pod", "field"), ACCOUNTS)
def test_another_service_account_needs_the_installations_permission(pod, field):
    told = refusal(spec(pod), Allowed(host_access=True))
    assert told.startswith(f"spec.template.spec.{field}: ")
    assert "--allow-service-accounts" in told
    assert refusal(spec(pod), Allowed(service_accounts=True)) == ""


@pytest.mark.parametrize(("pod", "field"), HOST)
def test_access_to_the_host_needs_the_installations_permission(pod, field):
    told = refusal(spec(pod), Allowed(service_accounts=True))
    assert told.startswith(f"spec.template.spec.{field}: ")
    assert "--allow-host-access" in told
    assert refusal(spec(pod), Allowed(host_access=True)) == ""


@pytest.mark.parametrize(
    ("worker", "field"),
    [
        ({"securityContext": {"privileged": True}}, "containers[0].securityContext.privileged"),
        ({"ports": [{"containerPort": 80, "hostPort": 80}]}, "containers[0].ports"),
        *(
            ({"securityContext": {"capabilities": {"add": [name]}}}, "containers[0].securityContext.capabilities.add")
            for name in ("SYS_ADMIN", "ALL", "NET_RAW")
        ),
    ],
)
def test_the_worker_container_is_judged_too(worker, field):
    assert f"spec.template.spec.{field}" in refusal(spec(**worker), Allowed(service_accounts=True))
    assert refusal(spec(**worker), Allowed(host_access=True)) == ""


@pytest.mark.parametrize(
    "pod",
    [
        {},
        {"serviceAccountName": "default"},
        {"hostNetwork": False, "volumes": [{"name": "a", "emptyDir": {}}]},
        {"automountServiceAccountToken": False},
        {"initContainers": [{"name": "a", "securityContext": {"capabilities": {"add": ["NET_BIND_SERVICE"]}}}]},
        {"volumes": [{"name": "a", "projected": {"sources": [{"secret": {"name": "s"}}]}}]},
        {"volumes": [{"name": "a", "projected": "none"}], "containers": [{"securityContext": {"capabilities": []}}]},
        {"volumes": "no list", "initContainers": ["no object"], "securityContext": []},
    ],
)
def test_the_rest_is_the_users_choice(pod):
    assert refusal(spec(pod), Allowed()) == ""


@pytest.mark.parametrize(
    ("status", "message", "told"),
    [
        (
            422,
            'Deployment.apps "speech" is invalid: spec.template.spec.containers[0].image: Required value',
            "the API server refuses the template: spec.template.spec.containers[0].image: Required value",
        ),
        (
            500,
            "failed to create typed patch object (media/speech; apps/v1, Kind=Deployment): .spec.template.spec.gpu: unknown",
            "the API server refuses the template: spec.template.spec.gpu: unknown",
        ),
        (403, "denied by policy", "the API server refuses the template: denied by policy"),
        (429, "too many requests", ""),
        (500, "etcdserver: request timed out", ""),
        (503, "apiserver is shutting down", ""),
    ],
)
def test_the_servers_sentence_is_told_in_the_pools_own_paths(status, message, told):
    assert servers_refusal(ApiError(status, "", message)) == told
