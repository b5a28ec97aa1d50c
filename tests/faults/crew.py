"""Replicas of one pool as real worker processes with short leases, and two housekeepers, all of which may be harmed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import uuid
from pathlib import Path

from tests.control_plane.process import end_with_parent
from tests.redis.worker_harness import Worker

POOL_UID = "pool-uid"
QUEUES = ("urgent", "default")
LEASE_SECONDS = 3.0
HEARTBEAT_SECONDS = 1.0
GRACE_SECONDS = 2.0
JOBS = "fault_jobs"
HERE = Path(__file__).parent
ROOT = HERE.parents[1]
QUICK = (
    *("--heartbeat-seconds", str(HEARTBEAT_SECONDS), "--lease-seconds", str(LEASE_SECONDS), "--poll-seconds", "0.1"),
    *("--grace-seconds", str(GRACE_SECONDS), "--run-log"),
)


class Member:
    """One replica's process."""

    def __init__(self, server, folder, *flags, replica=None, pool_uid=POOL_UID, queues=QUEUES):
        self.replica = replica or f"replica-{uuid.uuid4().hex[:12]}"
        environment = {
            "PROCESSINGPOOL_POOL": "test/pool",
            "PROCESSINGPOOL_POOL_UID": pool_uid,
            "PROCESSINGPOOL_REPLICA": self.replica,
            "PROCESSINGPOOL_QUEUES": ",".join(queues),
        }
        jobs = ("--path", str(HERE), "--allow", f"{JOBS}:*")
        self.worker = Worker(server, folder, *jobs, *(flags or QUICK), environment=environment, quick=False)
        self.frozen = False

    @property
    def ended(self):
        return self.worker.process.poll() is not None

    def signal(self, number):
        self.worker.signal(number)

    def freeze(self):
        self.signal(signal.SIGSTOP)
        self.frozen = True

    def thaw(self):
        self.frozen = False
        self.signal(signal.SIGCONT)

    def close(self):
        self.worker.close()


class Keeper:
    """A housekeeper's process; see keeper.py."""

    def __init__(self, server, folder):
        arguments = [str(server.port), str(2 * HEARTBEAT_SECONDS), *QUEUES]
        with (folder / f"keeper-{uuid.uuid4().hex[:8]}.log").open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "tests.faults.keeper", *arguments],
                cwd=ROOT,
                stdout=log,
                stderr=log,
                preexec_fn=end_with_parent,
            )

    def signal(self, number):
        self.process.send_signal(number)

    def close(self):
        os.kill(self.process.pid, signal.SIGKILL)
        self.process.wait()
