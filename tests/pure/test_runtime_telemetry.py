"""Metrics go with their pool; health answers over real HTTP; logs keep fields apart."""

from __future__ import annotations

import asyncio
import json
import logging
import platform
import socket
import urllib.error
import urllib.request
from importlib.metadata import version

import pytest
from kubernetes.aio import client

from pool_operator.backends.base import Credentials
from pool_operator.backends.kubernetes import paths
from pool_operator.backends.kubernetes.api import ApiUnavailableError, KubeApi, resource_of
from pool_operator.names import Limit, PassError
from pool_operator.telemetry.health import STUCK_SECONDS, HealthServer, stuck
from pool_operator.telemetry.logs import JsonFormatter
from pool_operator.telemetry.metrics import Metrics

LABELS = {"pool_namespace": "media", "pool": "speech"}
PLAIN = (
    "spec_min_replicas",
    "status_desired_replicas",
    "status_ready_replicas",
    "last_successful_poll_timestamp_seconds",
    "decision_demand_slots",
    "decision_headroom_slots",
    "decision_wish_replicas",
    "slots_per_replica",
    "wait_estimate_seconds",
    "cold_start_seconds",
    "run_seconds",
    "allowance_granted",
    "allowance_used",
)
"""Gauges of the same kind as those that `told` sets."""


def told(metrics):
    metrics.pool_seen("media", "speech")
    metrics.pool_gauges(
        "media", "speech", {"status_replicas": 3, "spec_max_replicas": 10, "capacity_ceiling_replicas": 3}
    )
    metrics.limits("media", "speech", {Limit.CAPACITY})
    metrics.money("media", "speech", {"day": 4.5}, {("day", "hard"): 15.0})
    metrics.queue("media", "speech", "default", {"queued": 4}, 123.0)
    metrics.conditions("media", "speech", {"Ready": "True"})
    metrics.decided("media", "speech", direction="up", reason="WorkWaiting")
    metrics.decided("media", "speech", direction="up", reason="HoldUnknown")
    metrics.error("media", "speech", "QueueUnreachable")
    metrics.hit("media", "speech", 2)
    metrics.used("media", "speech", 1800.0, 0.5)
    metrics.used("media", "speech", 1800.0, 0.5)


def test_series_of_a_pool_are_there_and_go_with_the_pool():
    metrics = Metrics()
    told(metrics)
    text = metrics.exposition().decode()
    assert 'processingpool_status_replicas{pool="speech",pool_namespace="media"} 3.0' in text
    assert 'processingpool_queue_jobs{pool="speech",pool_namespace="media",queue="default",state="queued"} 4.0' in text
    assert (
        'processingpool_status_condition{pool="speech",pool_namespace="media",status="True",type="Ready"} 1.0' in text
    )
    assert 'direction="up",pool="speech",pool_namespace="media",reason="WorkWaiting"} 1.0' in text
    assert 'processingpool_replica_seconds_total{pool="speech",pool_namespace="media"} 3600.0' in text
    assert 'processingpool_cost_total{pool="speech",pool_namespace="media"} 0.5' in text
    assert 'processingpool_errors_total{pool="speech",pool_namespace="media",reason="QueueUnreachable"} 1.0' in text
    assert 'processingpool_hits_total{pool="speech",pool_namespace="media"} 2.0' in text
    metrics.forget("media", "speech")
    assert "speech" not in metrics.exposition().decode()
    metrics.forget("media", "speech")


def test_every_metric_of_a_pool_is_told_by_this_test_and_so_goes():
    """A new metric must be told above, or it could stay behind unnoticed."""
    metrics = Metrics()
    told(metrics)
    silent = {
        family.name
        for family in metrics.registry.collect()
        if not family.name.startswith("processingpool_operator_") and not family.samples
    }
    assert silent <= {f"processingpool_{name}" for name in PLAIN}


def test_what_did_not_happen_yet_is_told_as_zero():
    metrics = Metrics()
    metrics.conditions("media", "speech", {"Ready": "True"})
    metrics.pool_seen("media", "speech")
    text = metrics.exposition().decode()
    assert 'processingpool_hits_total{pool="speech",pool_namespace="media"} 0.0' in text
    for reason in ("QueueUnreachable", "SpecInvalid", "Unschedulable", "PassFailed"):
        assert f'pool_namespace="media",reason="{reason}"}} 0.0' in text
    assert 'direction="down",pool="speech",pool_namespace="media",reason="Idle"} 0.0' in text
    assert 'reason="NoBudget"' not in text, "no trouble"
    metrics.error("media", "speech", "PassFailed")
    metrics.pool_seen("media", "speech")
    assert 'reason="PassFailed"} 1.0' in metrics.exposition().decode()


def test_queues_that_a_pool_does_not_serve_any_more_go():
    metrics = Metrics()
    for queue in ("urgent", "default"):
        metrics.queue("media", "speech", queue, {"failed": 3}, 123.0)
    metrics.only_queues("media", "speech", ["default"])
    text = metrics.exposition().decode()
    assert "urgent" not in text
    assert 'queue="default",state="failed"} 3.0' in text
    assert "processingpool_queue_oldest_job_timestamp_seconds{" in text


def test_each_limit_tells_whether_it_binds():
    metrics = Metrics()
    told(metrics)
    found = {
        one: metrics.registry.get_sample_value("processingpool_limit_binding", LABELS | {"limit": str(one)})
        for one in Limit
    }
    assert found == {one: float(one is Limit.CAPACITY) for one in Limit}
    metrics.limits("media", "speech", set())
    assert 'limit="Capacity",pool="speech",pool_namespace="media"} 0.0' in metrics.exposition().decode()


def test_what_is_not_known_or_not_limited_is_not_told():
    metrics = Metrics()
    told(metrics)
    text = metrics.exposition().decode()
    assert 'processingpool_spend{period="day",pool="speech",pool_namespace="media"} 4.5' in text
    assert 'processingpool_budget_limit{kind="hard",period="day",pool="speech",pool_namespace="media"} 15.0' in text
    assert 'period="month"' not in text
    assert 'kind="soft"' not in text
    metrics.pool_gauges("media", "speech", {"capacity_ceiling_replicas": None})
    metrics.money("media", "speech", {}, {})
    text = metrics.exposition().decode()
    for name in ("capacity_ceiling_replicas", "spend", "budget_limit"):
        assert f"processingpool_{name}{{" not in text


def test_without_a_price_there_is_no_cost_not_even_zero():
    metrics = Metrics()
    metrics.used("media", "speech", 60.0, None)
    text = metrics.exposition().decode()
    assert 'processingpool_replica_seconds_total{pool="speech"' in text
    assert "processingpool_cost_total{" not in text


def test_counters_are_exported_before_the_first_event():
    text = Metrics().exposition().decode()
    for name in ("reconcile_total", "reconcile_errors_total", "redis_requests_total", "housekeeping_total"):
        assert f"processingpool_operator_{name}{{" in text
    assert f'python_version="{platform.python_version()}"' in text
    assert f'kopf_version="{version("kopf")}"' in text


def test_calls_are_counted_and_timed():
    metrics = Metrics()
    metrics.redis_request("ok", 0.003)
    metrics.kube_request("PATCH", "deployments/scale", "409", 0.02)
    metrics.kube_request("GET", "leases", "none", 10.0)
    metrics.watched("pods", 1234.0)
    metrics.reconcile_failed(PassError.API_REFUSED)
    text = metrics.exposition().decode()
    for line in (
        'redis_request_duration_seconds_bucket{le="0.005",result="ok"} 1.0',
        'kube_requests_total{code="409",resource="deployments/scale",verb="PATCH"} 1.0',
        'kube_requests_total{code="none",resource="leases",verb="GET"} 1.0',
        'kube_request_duration_seconds_bucket{le="0.025",resource="deployments/scale",verb="PATCH"} 1.0',
        'watch_last_event_timestamp_seconds{resource="pods"} 1234.0',
        'reconcile_errors_total{reason="ApiRefused"} 1.0',
        'reconcile_errors_total{reason="Unexpected"} 0.0',
    ):
        assert f"processingpool_operator_{line}" in text


@pytest.mark.parametrize(
    ("path", "resource"),
    [
        (paths.scale("n", "d"), "deployments/scale"),
        (paths.deployment("n", "scale"), "deployments"),
        (paths.pod("namespaces", "p"), "pods"),
        (paths.pods(), "pods"),
        (paths.pool_status("n", "p"), "processingpools/status"),
        (paths.secret("n", "s"), "secrets"),
        (paths.lease("n", "l"), "leases"),
        (paths.events("n"), "events"),
    ],
)
def test_a_call_s_resource_names_no_object(path, resource):
    assert resource_of(path) == resource


def test_a_call_without_an_answer_is_told_as_one():
    with socket.create_server(("127.0.0.1", 0)) as closed:
        host = f"http://127.0.0.1:{closed.getsockname()[1]}"

    async def scenario():
        told = []
        api = KubeApi(client.ApiClient(client.Configuration(host=host)))
        api.told = lambda *call: told.append(call[:3])
        with pytest.raises(ApiUnavailableError) as caught:
            await api.get(paths.pod("n", "p"))
        await api.close()
        assert told == [("GET", "pods", "none")]
        assert caught.value.error is PassError.API_UNAVAILABLE

    asyncio.run(scenario())


def get(port, path, method="GET"):
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", method=method)
    try:
        with urllib.request.urlopen(request, timeout=5) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def test_the_health_server_answers():
    trouble = {"alive": "", "ready": "pools have not been listed yet"}

    async def scenario():
        server = HealthServer(
            host="127.0.0.1",
            port=0,
            metrics=Metrics(),
            alive=lambda: trouble["alive"],
            ready=lambda: trouble["ready"],
        )
        await server.start()
        serving = asyncio.create_task(server.run())
        try:
            port = server.port
            assert await asyncio.to_thread(get, port, "/livez") == (200, "ok\n")
            assert await asyncio.to_thread(get, port, "/readyz") == (503, "pools have not been listed yet\n")
            trouble["ready"] = ""
            assert (await asyncio.to_thread(get, port, "/readyz?verbose"))[0] == 200
            assert "processingpool_operator_leader" in (await asyncio.to_thread(get, port, "/metrics"))[1]
            assert (await asyncio.to_thread(get, port, "/nothing"))[0] == 404
            assert (await asyncio.to_thread(get, port, "/livez", "POST"))[0] == 405
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"\x16\x03 nonsense\r\n" + b"x" * 20000)
            await reader.read()
            writer.close()
            assert await asyncio.to_thread(get, port, "/livez") == (200, "ok\n")
            second = HealthServer(host="127.0.0.1", port=port, metrics=Metrics(), alive=str, ready=str)
            with pytest.raises(OSError, match=f"cannot listen on 127.0.0.1:{port}.*choose another one"):
                await second.start()
        finally:
            serving.cancel()
            await asyncio.gather(serving, return_exceptions=True)

    asyncio.run(scenario())


def test_liveness_is_about_the_loop_only():
    assert stuck(lambda: 1.0)() == ""
    assert "event loop" in stuck(lambda: STUCK_SECONDS + 1)()


def test_json_lines_have_their_fields_and_no_secrets():
    password = "a-password-of-the-test"
    record = logging.LogRecord(
        "x.y",
        logging.WARNING,
        "f",
        1,
        "pool=%s endpoint=%s login %r",
        ("media/speech", "h:1/0", Credentials(password=password)),
        None,
    )
    line = json.loads(JsonFormatter().format(record))
    assert (line["namespace"], line["pool"], line["endpoint"], line["level"]) == ("media", "speech", "h:1/0", "warning")
    assert password not in json.dumps(line)
