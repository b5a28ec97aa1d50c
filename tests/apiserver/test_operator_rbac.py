"""The shipped rights are enough, and no more: the backend works with exactly the RBAC that the chart renders."""

from __future__ import annotations

import asyncio
import base64
from datetime import UTC, datetime

import pytest
import yaml
from tests.apiserver.backend_harness import harness
from tests.apiserver.chart import OPERATOR, operator_kubeconfig, render

from pool_operator.backends.base import Event, Problem
from pool_operator.backends.kubernetes import paths
from pool_operator.backends.kubernetes.api import ApiError, Content, KubeApi
from pool_operator.backends.kubernetes.lease import Elector, Timing
from pool_operator.backends.kubernetes.reporter import KubernetesReporter, event_body
from pool_operator.backends.kubernetes.secrets import KubernetesSecrets

POOL = "speech"


async def make_pool_and_secret(namespace):
    """What a user does, with the user's rights: the session's own kubeconfig is an administrator's."""
    api = await KubeApi.connect()
    worker = {"name": "worker", "image": "worker:1"}
    body = {
        "apiVersion": "processingpool.dev/v1alpha1",
        "kind": "ProcessingPool",
        "metadata": {"name": POOL},
        "spec": {
            "redis": {"host": "redis", "credentialsSecretRef": {"name": "redis"}},
            "queues": [{"name": "default"}],
            "maxReplicas": 9,
            "template": {"spec": {"containers": [worker]}},
        },
    }
    secret = {"metadata": {"name": "redis"}, "data": {"password": base64.b64encode(b"hush\n").decode()}}
    await api.call("POST", f"/api/v1/namespaces/{namespace}/secrets", body=secret)
    await api.call("POST", paths.pools(namespace), body=body)
    await api.close()
    await asyncio.sleep(0.2)


async def work(h):
    """Everything the operator does to the API server."""
    ids = await h.ready(POOL, 3)
    await h.drive(POOL, 2, drained=ids[:1], until=lambda view: len(view.replicas) == 2, what="one gone")
    pool = h.pools[POOL]
    reporter = KubernetesReporter(h.api, instance="test", leading=lambda: True)
    condition = {"type": "Ready", "status": "True", "reason": "Ok", "message": "all is well"}
    await reporter.report(pool, {"replicas": 2, "conditions": [condition]}, [])
    await h.api.call(  # not by the reporter: it would only log a refusal
        "POST",
        paths.events(h.namespace),
        body=event_body(
            pool, Event(type="Normal", reason="WorkWaiting", message="up"), instance="test", at=datetime.now(UTC)
        ),
    )
    await h.until(lambda: h.pools[POOL].status.get("replicas") == 2, what="status written")
    credentials = await KubernetesSecrets(h.api).credentials(h.namespace, "redis")
    assert not isinstance(credentials, Problem)
    assert credentials.password == "hush"
    elector = Elector(h.api, namespace=OPERATOR, name="processingpool-operator", timing=Timing())
    await elector.acquire()
    await elector.release()


async def refused(api, method, path, **more):
    with pytest.raises(ApiError) as caught:
        await api.call(method, path, **more)
    assert caught.value.status == 403, f"{method} {path} is allowed"


@pytest.mark.parametrize("scope", ["cluster", "namespaced"])
def test_the_operator_needs_no_more_than_the_shipped_rights(namespace, scope, monkeypatch, tmp_path, kubectl):
    arguments = ["--set", f"operator.namespaces={{{namespace}}}"] if scope == "namespaced" else []
    objects = [one for one in yaml.safe_load_all(render(*arguments)) if one]
    kinds = {one["kind"] for one in objects}
    assert ("ClusterRoleBinding" in kinds) is (scope == "cluster")

    async def play():
        await make_pool_and_secret(namespace)
        with operator_kubeconfig(kubectl, objects, tmp_path) as kubeconfig:
            monkeypatch.setenv("KUBECONFIG", str(kubeconfig))
            async with harness(namespace, namespaces=[namespace] if scope == "namespaced" else []) as h:
                await h.pool(POOL)
                await work(h)
                secrets = f"/api/v1/namespaces/{namespace}/secrets"
                await refused(h.api, "GET", secrets)
                await refused(h.api, "POST", secrets, body={"metadata": {"name": "x"}})
                await refused(h.api, "DELETE", paths.deployment(namespace, POOL))
                await refused(h.api, "GET", f"{paths.pools(namespace)}/{POOL}")
                await refused(h.api, "DELETE", f"{paths.pools(namespace)}/{POOL}")
                await refused(
                    h.api, "PATCH", f"{paths.pools(namespace)}/{POOL}", body={"spec": {}}, content=Content.MERGE
                )
                await refused(h.api, "GET", "/api/v1/nodes")
                await refused(h.api, "GET", f"/apis/coordination.k8s.io/v1/namespaces/{OPERATOR}/leases")
                if scope == "namespaced":
                    await refused(h.api, "GET", paths.pools())
                    await refused(h.api, "GET", paths.pods("kube-system"))

    asyncio.run(play())
