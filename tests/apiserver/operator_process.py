"""`processingpool operator` as a process with exactly the shipped rights, and what a user does beside it."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from contextlib import contextmanager
from pathlib import Path

import yaml
from rq import Queue
from rq.serializers import JSONSerializer
from tests.apiserver.chart import OPERATOR, operator_kubeconfig, render
from tests.control_plane.process import end_with_parent

COMMAND = [str(Path(sys.executable).with_name("processingpool")), "operator"]
QUICK_LEASE = ("--lease-duration-seconds", "3", "--renew-deadline-seconds", "2", "--retry-period-seconds", "0.5")
PATIENCE_SECONDS = 60.0
POOL = "speech"
KIND = "processingpool"


def stop(process, seconds=20):
    """SIGTERM (and SIGCONT, for one that was frozen), then SIGKILL; returns the exit status."""
    process.terminate()
    process.send_signal(signal.SIGCONT)
    try:
        return process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        raise


def kill(process):
    os.kill(process.pid, signal.SIGKILL)
    process.wait()


def until(condition, *, what, seconds=PATIENCE_SECONDS):
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, f"not within {seconds:g} s: {what}"
        time.sleep(0.1)
    return found


def steadily(condition, *, what, seconds):
    """The condition holds all the time: the only way to see that something does not happen."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        assert condition(), f"not steadily: {what}"
        time.sleep(0.1)


def enqueue(client, number=1, *, queue="default"):
    """Jobs as a producer with RQ enqueues them, all at once; returns their ids."""
    found = Queue(queue, connection=client, serializer=JSONSerializer)
    prepared = [Queue.prepare_data("tests.no.such.function") for _ in range(number)]
    return [job.id for job in found.enqueue_many(prepared)]


def pool_body(port, *, container=None, name=POOL, **more):
    worker = {"name": "worker", "image": "worker:1", "resources": {"limits": {"memory": "4Gi"}}} | (container or {})
    return {
        "apiVersion": "processingpool.dev/v1alpha1",
        "kind": "ProcessingPool",
        "metadata": {"name": name},
        "spec": {
            "redis": {"host": "127.0.0.1", "port": port},
            "queues": [{"name": "default"}],
            "minReplicas": 0,
            "maxReplicas": 4,
            # a replica for each job, and none to spare: what is worth more or less is the engine's tests' business
            "scaling": {"profile": "Economy", "targetWaitSeconds": 1},
            "template": {"spec": {"containers": [worker]}},
            **more,
        },
    }


class Installation:
    """The rights of one namespace's operator, its processes, and kubectl for what a user does there."""

    def __init__(self, namespace, kubeconfig, folder, kubectl):
        self.namespace = namespace
        self.kubeconfig = kubeconfig
        self.folder = Path(folder)
        self._kubectl = kubectl
        self.processes = []

    # --- the operator ---------------------------------------------------------------------------------------------

    def start(self, *flags, quick=False):
        """Start one more operator; it leads at once or follows. Quick: its Lease runs out after 3 s."""
        log = (self.folder / f"operator-{len(self.processes)}.log").open("w", encoding="utf-8")
        fixed = ("--namespaces", self.namespace, "--lease-namespace", OPERATOR, "--health-port", "0")
        process = subprocess.Popen(
            [*COMMAND, *fixed, *(QUICK_LEASE if quick else ()), "--health-host", "127.0.0.1", *flags],
            env={**os.environ, "KUBECONFIG": str(self.kubeconfig)},
            stdout=log,
            stderr=subprocess.STDOUT,
            preexec_fn=end_with_parent,
        )
        log.close()
        self.processes.append(process)
        return process

    def log(self, number=0):
        return (self.folder / f"operator-{number}.log").read_text(encoding="utf-8")

    def leads(self, number=0):
        """Wait until this operator leads."""
        until(lambda: "leading as" in self.log(number), what=f"operator {number} leads")

    def fetch(self, path, number=0):
        """What this operator's health server answers."""
        port = re.findall(r"health and metrics on port (\d+)", self.log(number))[-1]
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as response:
            return response.read().decode()

    # --- the user -------------------------------------------------------------------------------------------------

    def kubectl(self, *arguments, **more):
        return self._kubectl(*arguments, "--namespace", self.namespace, **more)

    def apply(self, body):
        return self.kubectl("apply", "--server-side", "-f", "-", stdin=yaml.safe_dump(body))

    def patch(self, spec, name=POOL):
        self.kubectl("patch", KIND, name, "--type=merge", "-p", json.dumps({"spec": spec}))

    def get(self, kind=KIND, name=POOL):
        text = self.kubectl("get", kind, name, "-o", "json", "--ignore-not-found")
        return json.loads(text) if text else None

    def items(self, kind):
        return json.loads(self.kubectl("get", kind, "-o", "json"))["items"]

    def pods(self):
        return [one for one in self.items("pods") if "deletionTimestamp" not in one["metadata"]]

    def status(self, name=POOL):
        return (self.get(name=name) or {}).get("status") or {}

    def condition(self, kind, name=POOL):
        return next((one for one in self.status(name).get("conditions") or () if one["type"] == kind), {})

    def told(self, kind, reason, name=POOL, *, words=""):
        """Wait for a condition's reason; returns its message."""

        def there():
            found = self.condition(kind, name)
            return found.get("reason") == reason and words in found.get("message", "")

        until(there, what=f"{kind}: {reason} {words}")
        return self.condition(kind, name)["message"]

    def wait_ready(self, name=POOL):
        return self.kubectl("wait", "--for=condition=Ready", f"{KIND}/{name}", "--timeout=60s")


@contextmanager
def installation(namespace, kubectl, folder):
    """Yield an Installation; at the end each process that still runs must end well on SIGTERM."""
    rendered = render("--set", f"operator.namespaces={{{namespace}}}")
    objects = [one for one in yaml.safe_load_all(rendered) if one]
    with operator_kubeconfig(kubectl, objects, folder) as kubeconfig:
        it = Installation(namespace, kubeconfig, folder, kubectl)
        try:
            yield it
        finally:
            ends = [stop(process) for process in it.processes if process.poll() is None]
            for number, _ in enumerate(it.processes):
                print(f"--- operator {number}\n{it.log(number)[-6000:]}")
            assert [end for end in ends if end != 0] == []
