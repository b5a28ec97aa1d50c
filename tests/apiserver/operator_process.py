"""`processingpool operator` as a process with exactly the shipped rights, beside a real Redis."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import yaml
from tests.apiserver.chart import OPERATOR, operator_kubeconfig, render

import redis

COMMAND = [str(Path(sys.executable).with_name("processingpool")), "operator"]
QUICK_LEASE = ("--lease-duration-seconds", "3", "--renew-deadline-seconds", "2", "--retry-period-seconds", "0.5")
PATIENCE_SECONDS = 60.0


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def stop(process, seconds=20):
    """SIGTERM, then SIGKILL; returns the exit status."""
    process.terminate()
    try:
        return process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        raise


@contextmanager
def redis_server():
    """A Redis on loopback with keyspace events; yields a client whose .port is its port."""
    port = free_port()
    flags = ["--save", "", "--appendonly", "no", "--notify-keyspace-events", "Kl", "--bind", "127.0.0.1"]
    command = ["redis-server", "--port", str(port), *flags]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    client = redis.Redis(port=port)
    try:
        until(lambda: _answers(client), what="redis answers")
        client.port = port
        yield client
    finally:
        client.close()
        stop(process)


def _answers(client):
    try:
        return client.ping()
    except redis.ConnectionError:
        return False


def until(condition, *, what, seconds=PATIENCE_SECONDS):
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, f"not within {seconds:g} s: {what}"
        time.sleep(0.2)
    return found


class Installation:
    """The rights of one namespace's operator, and its processes."""

    def __init__(self, namespace, kubeconfig, folder):
        self.namespace = namespace
        self.kubeconfig = kubeconfig
        self.folder = Path(folder)
        self.processes = []

    def start(self, *flags):
        number = len(self.processes)
        log = (self.folder / f"operator-{number}.log").open("w", encoding="utf-8")
        fixed = ("--namespaces", self.namespace, "--lease-namespace", OPERATOR, "--health-port", "0")
        environment = {**os.environ, "KUBECONFIG": str(self.kubeconfig)}
        process = subprocess.Popen(
            [*COMMAND, *fixed, *QUICK_LEASE, "--health-host", "127.0.0.1", *flags],
            env=environment,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        log.close()
        self.processes.append(process)
        return process

    def log(self, number=0):
        return (self.folder / f"operator-{number}.log").read_text(encoding="utf-8")


@contextmanager
def installation(namespace, kubectl, folder):
    """Yield an Installation; at the end each process that still runs must end well on SIGTERM."""
    rendered = render("--set", f"operator.namespaces={{{namespace}}}")
    objects = [one for one in yaml.safe_load_all(rendered) if one]
    with operator_kubeconfig(kubectl, objects, folder) as kubeconfig:
        it = Installation(namespace, kubeconfig, folder)
        try:
            yield it
        finally:
            ends = [stop(process) for process in it.processes if process.poll() is None]
            for number, _ in enumerate(it.processes):
                print(f"--- operator {number}\n{it.log(number)[-6000:]}")
            assert [end for end in ends if end != 0] == []


def kill(process):
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
