"""`processingpool run` as a user starts it, with its state in a folder of the test."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import yaml
from redis import Redis, RedisError
from rq import Queue
from rq.serializers import JSONSerializer

from pool_contract import keys
from pool_contract.local import read_endpoint

COMMAND = str(Path(sys.executable).with_name("processingpool"))
HERE = Path(__file__).parent
PATIENCE_SECONDS = 60.0


def until(condition, what, seconds=PATIENCE_SECONDS):
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, f"never: {what}"
        time.sleep(0.02)
    return found


def alive(pid):
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


@dataclass
class Machine:
    """One user's machine: a folder with a pool's file and the state of its runs."""

    folder: Path
    name: str = "quick"
    runs: list[subprocess.Popen] = field(default_factory=list)

    @property
    def file(self) -> Path:
        return self.folder / "pool.yaml"

    @property
    def state(self) -> Path:
        return self.folder / "state" / "processingpool" / "default" / self.name

    @property
    def environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("PROCESSINGPOOL_", "RQ_"))}
        return {**kept, "XDG_STATE_HOME": str(self.folder / "state"), "PROCESSINGPOOL_RUN_LOG": "1", "COLUMNS": "200"}

    def write(self, *, port=None, container=None, **spec):
        environment = {"PROCESSINGPOOL_ALLOW": "quick_jobs:*", "PROCESSINGPOOL_PATH": str(HERE)}
        worker = {
            "name": "worker",
            "env": [{"name": name, "value": value} for name, value in environment.items()],
            "resources": {"limits": {"memory": "2Gi"}},
        } | (container or {})
        body = {"queues": [{"name": "quick"}], "maxReplicas": 3, "template": {"spec": {"containers": [worker]}}}
        if port is not None:
            body["redis"] = {"host": "127.0.0.1", "port": port}
        pool = {
            "apiVersion": "processingpool.dev/v1alpha1",
            "kind": "ProcessingPool",
            "metadata": {"name": self.name},
            "spec": body | spec,
        }
        self.file.write_text(yaml.safe_dump(pool))

    def start(self, *flags) -> subprocess.Popen:
        log = (self.folder / f"run-{len(self.runs)}.log").open("w")
        with log:
            process = subprocess.Popen(
                [COMMAND, "run", str(self.file), *flags],
                cwd=self.folder,
                env=self.environment,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        self.runs.append(process)
        return process

    def log(self, number=-1):
        return (self.folder / f"run-{number % len(self.runs)}.log").read_text()

    def call(self, *arguments, **more) -> subprocess.CompletedProcess:
        """Any command of ours, to its end."""
        return subprocess.run(
            [COMMAND, *arguments],
            cwd=self.folder,
            env=self.environment | more,
            capture_output=True,
            text=True,
            timeout=PATIENCE_SECONDS,
            check=False,
        )

    def done(self, *flags, status=0) -> dict:
        """Run until all is done; the report."""
        process = self.start("--until-done", "--report", "report.json", *flags)
        assert process.wait(PATIENCE_SECONDS) == status, self.log()
        return json.loads((self.folder / "report.json").read_text())

    def redis(self) -> Redis:
        """The embedded server of the run that goes on."""

        def answers():
            endpoint = read_endpoint(self.state)
            if endpoint is None:
                return None
            client = Redis.from_url(endpoint.url)
            try:
                return client if client.ping() else None
            except RedisError:
                client.close()
                return None

        return until(answers, "the embedded server answers")

    def processes(self) -> list[int]:
        """Pids of everything that runs for the pool, as the state folder notes them."""
        folder = self.state / "processes"
        return [int(path.read_text().split()[0]) for path in folder.iterdir() if path.name != "valkey"]


@contextmanager
def machine(folder, **pool):
    """Whatever runs at the end of the block is ended; nothing of it may be left."""
    it = Machine(Path(folder))
    it.write(**pool)
    try:
        yield it
    finally:
        for process in it.runs:
            if process.poll() is None:
                process.send_signal(signal.SIGINT)
                try:
                    process.wait(PATIENCE_SECONDS)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()
        for number in range(len(it.runs)):
            print(f"--- run {number}\n{it.log(number)[-5000:]}")


def enqueue(redis, function, *arguments, number=1, queue="quick"):
    rq_queue = Queue(queue, connection=redis, serializer=JSONSerializer)
    return [rq_queue.enqueue(f"quick_jobs.{function}", *arguments, job_timeout=60).id for _ in range(number)]


def statuses(redis, jobs):
    return [redis.hget(keys.job("rq", job), "status").decode() for job in jobs]


def finished_runs(redis):
    """Job -> how often its function came to its end."""
    found = {}
    for line in map(json.loads, redis.lrange(keys.run_log("rq"), 0, -1)):
        if line["event"] == "end" and line["outcome"] == "finished":
            found[line["job"]] = found.get(line["job"], 0) + 1
    return found
