"""Real worker processes, RQ's own client beside them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import contextmanager, suppress
from pathlib import Path

from rq import Queue
from rq.job import Job
from rq.serializers import JSONSerializer

HERE = Path(__file__).parent
COMMAND = Path(sys.executable).with_name("processingpool")
PATIENCE_SECONDS = 60.0
QUICK = ("--heartbeat-seconds", "0.3", "--lease-seconds", "1", "--poll-seconds", "0.05")
LOG = "test:log"


def eventually(condition, what):
    """The first true value; a generous limit, since machines are slow."""
    end = time.monotonic() + PATIENCE_SECONDS
    while not (value := condition()):
        assert time.monotonic() < end, f"never: {what() if callable(what) else what}"
        time.sleep(0.01)
    return value


class Bench:
    """A test's client."""

    def __init__(self, server):
        self.server = server
        self.redis = server.client()

    def queue(self, name="default", **options):
        return Queue(name, connection=self.redis, serializer=JSONSerializer, **options)

    def enqueue(self, function, *arguments, queue="default", **options):
        return self.queue(queue).enqueue(f"worker_jobs.{function}", *arguments, **options)

    def job(self, job_id):
        return Job.fetch(job_id, connection=self.redis, serializer=JSONSerializer)

    def wait(self, job, *statuses):
        """Until the job has one of these statuses; gives it afresh."""
        eventually(lambda: job.get_status() in statuses, lambda: f"{job.id} is {job.get_status()}, not {statuses}")
        return self.job(job.id)

    def finished(self, job):
        found = self.wait(job, "finished", "failed")
        assert found.get_status() == "finished", found.latest_result().exc_string
        return found

    def failed(self, job):
        """The text of its failure."""
        found = self.wait(job, "finished", "failed")
        assert found.get_status() == "failed"
        assert found.id.encode() in self.redis.zrange(f"rq:failed:{found.origin}", 0, -1)
        return found.latest_result().exc_string

    def noted(self):
        """What jobs wrote, without the pids."""
        return [line.decode().rsplit(":", 1)[0] for line in self.redis.lrange(LOG, 0, -1)]

    def until_noted(self, text, times=1):
        eventually(lambda: self.noted().count(text) >= times, lambda: f"{text} in {self.noted()}")

    def nothing_is_left(self):
        """No trace of any claim."""
        eventually(lambda: not self.traces(), lambda: f"these keys go: {self.traces()}")

    def traces(self):
        patterns = (
            "rq:pp:owner:*",
            "rq:pp:claims:*",
            "rq:pp:leases:*",
            "rq:wip:*",
            "rq:execution*",
            "rq:worker:*:executions",
        )
        return [key.decode() for pattern in patterns for key in self.redis.scan_iter(pattern)]


class Worker:
    """One process of `processingpool worker`."""

    def __init__(self, server, folder, *arguments, environment=None, quick=True, before=()):
        self.log_path = folder / f"worker-{time.monotonic_ns()}.log"
        command = [str(COMMAND), "worker", "--url", server.url, "--path", str(HERE), "--allow", "worker_jobs:*"]
        with self.log_path.open("wb") as log:
            self.process = subprocess.Popen(
                [*before, *command, *(QUICK if quick else ()), *arguments],
                stdout=log,
                stderr=log,
                env={**clean_environment(), **(environment or {})},
            )

    @property
    def log(self):
        return self.log_path.read_text()

    @property
    def port(self):
        return int(self.said("health and metrics on port ").split()[0])

    def said(self, text):
        """What follows the text in the log, once it is there."""

        def look():
            assert text in self.log or self.process.poll() is None, self.log
            return text in self.log

        eventually(look, lambda: f"'{text}' in {self.log}")
        return self.log.partition(text)[2].partition("\n")[0] or " "

    def ready(self):
        eventually(lambda: self.get("/readyz")[0] == 200, lambda: self.log)
        return self

    def get(self, path):
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=10) as reply:
                return reply.status, reply.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()

    def signal(self, number):
        self.process.send_signal(number)

    def ended(self):
        """The exit status."""
        return self.process.wait(PATIENCE_SECONDS)

    def stop(self):
        self.signal(signal.SIGTERM)
        return self.ended()

    def close(self):
        with suppress(ProcessLookupError):
            self.process.send_signal(signal.SIGCONT)
            self.process.kill()
        self.process.wait(PATIENCE_SECONDS)


def clean_environment():
    return {
        name: value for name, value in os.environ.items() if not name.startswith(("PROCESSINGPOOL_", "RQ_", "REDIS_"))
    }


@contextmanager
def workers(server, folder):
    """A function that starts workers; all end with the block."""
    started = []

    def start(*arguments, **options):
        started.append(Worker(server, folder, *arguments, **options))
        return started[-1]

    try:
        yield start
    finally:
        for one in started:
            one.close()
