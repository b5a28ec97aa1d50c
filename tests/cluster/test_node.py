"""The node itself: what every other test here takes for granted."""

from __future__ import annotations

import json
import os

from tests.cluster.waiting import until
from tests.node.host import clear_leftovers

CODE = """
import os, socket, sys
socket.create_connection((os.environ["KUBERNETES_SERVICE_HOST"], 443), 5)
redis = socket.create_connection((sys.argv[1], 6379), 5)
redis.send(b"PING\\r\\n")
print(os.getuid(), redis.recv(16))
"""


def test_a_restricted_pod_of_our_image_reaches_redis_and_the_api_server(cluster):
    container = {
        "name": "probe",
        "image": "processing-pool-operator:0.1.0",
        "args": ["python", "-c", CODE, cluster.redis_host],
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
    }
    spec = {
        "restartPolicy": "Never",
        "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [container],
    }
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "probe"}, "spec": spec}
    kubectl = cluster.plane.kubectl
    kubectl("apply", "--filename", "-", stdin=json.dumps(pod))

    def phase():
        found = kubectl("get", "pod", "probe", "-o", "jsonpath={.status.phase}")
        return found if found in {"Succeeded", "Failed"} else ""

    end = until(phase, what="the pod has ended", seen=lambda: kubectl("describe", "pod", "probe"))
    said = kubectl("logs", "probe").strip()
    assert (end, said) == ("Succeeded", r"65532 b'+PONG\r\n'")
    kubectl("delete", "pod", "probe", "--grace-period=0", "--force")


def test_a_living_run_is_not_taken_for_leftovers(cluster):
    assert cluster.run.id not in clear_leftovers()
    assert cluster.redis.ping()
    assert os.path.exists(f"/run/netns/{cluster.run.name}")
