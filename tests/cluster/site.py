"""What one test has on the cluster, what it does there, and what it sees."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from redis import Redis
from rq import Queue, Retry
from rq.job import Job
from rq.serializers import JSONSerializer
from tests.cluster.runs import Runs
from tests.cluster.waiting import PATIENCE_SECONDS, until
from tests.node.cluster import REDIS_PORT, Cluster

from pool_contract import keys

WORKLOAD = Path(__file__).with_name("workload.py")
WORKER_IMAGE = "processing-pool-worker:0.1.0"
POOL = "pool"
HEARTBEAT_SECONDS = 2
LEASE_SECONDS = 8
MEDIA = "/media"
CODE = "/code"
PREFIX = keys.DEFAULT_PREFIX


@dataclass
class Site:
    """A namespace that enforces the restricted Pod Security standard, a Redis database, a folder for media."""

    cluster: Cluster
    namespace: str
    database: int
    media: Path  # here; in pods it is MEDIA
    redis: Redis

    @property
    def queue(self) -> Queue:
        return Queue("default", connection=self.redis, serializer=JSONSerializer)

    @classmethod
    @contextmanager
    def made(cls, cluster: Cluster, *, database: int) -> Iterator[Site]:
        namespace = f"test-{uuid.uuid4().hex[:8]}"
        media = cluster.run.data / "media" / namespace
        media.mkdir(parents=True)
        media.chmod(0o777)
        redis = Redis(port=cluster.redis_port, db=database)
        it = cls(cluster, namespace, database, media, redis)
        for one in it._objects():
            it.kubectl("apply", "--filename", "-", stdin=json.dumps(one))
        it.kubectl("wait", "--for=jsonpath={.status.phase}=Bound", "persistentvolumeclaim/media", "--timeout=30s")
        try:
            yield it
        finally:
            it._save()
            it.kubectl("delete", "pools", "--all", "--wait=false", check=False)
            # what is still running there must not take the next test's share of two cores
            it.kubectl("delete", "pods", "--all", "--force", "--grace-period=0", "--wait=false", check=False)
            cluster.plane.kubectl("delete", "namespace", namespace, "--wait=false")
            cluster.plane.kubectl("delete", "persistentvolume", namespace, "--wait=false")
            redis.close()

    def _objects(self) -> list[dict[str, Any]]:
        size = {"storage": "1Gi"}
        labels = {"pod-security.kubernetes.io/enforce": "restricted"}
        volume = {
            "capacity": size,
            "accessModes": ["ReadWriteMany"],
            "storageClassName": "",
            "hostPath": {"path": str(self.media)},
            "claimRef": {"namespace": self.namespace, "name": "media"},
        }
        claim = {
            "accessModes": ["ReadWriteMany"],
            "storageClassName": "",
            "resources": {"requests": size},
            "volumeName": self.namespace,
        }
        code = {WORKLOAD.name: WORKLOAD.read_text(encoding="utf-8")}
        return [
            {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": self.namespace, "labels": labels}},
            {"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": self.namespace}, "spec": volume},
            {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "media"}, "spec": claim},
            {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "code"}, "data": code},
        ]

    # --- what a test does -----------------------------------------------------------------------------------------

    def kubectl(self, *arguments: str, stdin: str | None = None, check: bool = True) -> str:
        return self.cluster.plane.kubectl("--namespace", self.namespace, *arguments, stdin=stdin, check=check)

    def pool(
        self,
        *,
        environment: Mapping[str, str] | None = None,
        memory: str = "700Mi",
        limits: Mapping[str, str] | None = None,
        pod: Mapping[str, Any] | None = None,
        **spec: Any,
    ) -> dict[str, Any]:
        """A pool of single-slot workers on this site; keyword arguments are fields of its spec."""
        variables = {
            "PROCESSINGPOOL_RUN_LOG": "1",
            "PROCESSINGPOOL_HEARTBEAT_SECONDS": str(HEARTBEAT_SECONDS),
            "PROCESSINGPOOL_LEASE_SECONDS": str(LEASE_SECONDS),
            "PROCESSINGPOOL_PATH": CODE,
            "PROCESSINGPOOL_ALLOW": "pool_worker.jobs:*,workload:*",
            "PROCESSINGPOOL_CPU_THREADS": "1",
            "PROCESSINGPOOL_OUTPUT": f"{MEDIA}/out",
            **(environment or {}),
        }
        worker = {
            "name": "worker",
            "image": WORKER_IMAGE,
            "env": [{"name": name, "value": value} for name, value in variables.items()],
            "resources": {"limits": {"memory": memory, **(limits or {})}, "requests": {"cpu": "10m", "memory": "64Mi"}},
            "volumeMounts": [{"name": "code", "mountPath": CODE}, {"name": "media", "mountPath": MEDIA}],
        }
        volumes = [
            {"name": "code", "configMap": {"name": "code"}},
            {"name": "media", "persistentVolumeClaim": {"claimName": "media"}},
        ]
        template = {"spec": {"containers": [worker], "volumes": volumes, "dnsPolicy": "Default", **(pod or {})}}
        return {
            "apiVersion": "processingpool.dev/v1alpha1",
            "kind": "ProcessingPool",
            "metadata": {"name": POOL, "namespace": self.namespace},
            "spec": {
                "redis": {"host": self.cluster.redis_host, "port": REDIS_PORT, "database": self.database},
                "queues": [{"name": "default"}],
                "maxReplicas": 3,
                # a replica for each job, and none to spare: the tests count on both
                "scaling": {"profile": "Economy", "targetWaitSeconds": 1},
                "concurrency": {"memory": {"base": "100Mi", "perJob": "100Mi"}},
                "jobs": {"timeoutSeconds": 600},
                "template": template,
                **spec,
            },
        }

    def apply(self, pool: Mapping[str, Any]) -> None:
        self.kubectl("apply", "--filename", "-", stdin=json.dumps(pool))

    def enqueue(self, function: str, *, at: float | None = None, retries: int = 0, **arguments: Any) -> str:
        """Enqueue a job as any producer would, by RQ itself; its id."""
        retry = Retry(max=retries) if retries else None
        if at is None:
            return self.queue.enqueue(function, kwargs=arguments, retry=retry).id
        return self.queue.enqueue_at(datetime.fromtimestamp(at, UTC), function, kwargs=arguments, retry=retry).id

    # --- what a test sees -----------------------------------------------------------------------------------------

    def job(self, job_id: str) -> Job:
        return Job.fetch(job_id, connection=self.redis, serializer=JSONSerializer)

    def statuses(self, ids: list[str]) -> list[str]:
        """The status of each job as RQ tells it."""
        return [str(self.job(one).get_status(refresh=False).value) for one in ids]

    def finished(self, ids: list[str]) -> bool:
        return set(self.statuses(ids)) == {"finished"}

    @property
    def runs(self) -> Runs:
        return Runs.read(self.redis, PREFIX)

    def get(self, kind: str, *arguments: str) -> Any:
        return json.loads(self.kubectl("get", kind, *arguments, "--output", "json"))

    def status(self) -> dict[str, Any]:
        return self.get("pool", POOL).get("status") or {}

    def condition(self, kind: str) -> dict[str, Any]:
        found = [one for one in self.status().get("conditions", ()) if one["type"] == kind]
        return found[0] if found else {}

    def pods(self) -> list[dict[str, Any]]:
        """All worker pods, those that are going included."""
        return self.get("pods")["items"]

    def until(self, condition: Any, *, what: str, seconds: float = PATIENCE_SECONDS) -> Any:
        return until(condition, what=what, seconds=seconds, seen=self.describe)

    def until_finished(self, ids: list[str], *, seconds: float = PATIENCE_SECONDS) -> None:
        self.until(lambda: self.finished(ids), what="every job is finished", seconds=seconds)

    def until_empty(self, *, seconds: float = PATIENCE_SECONDS) -> None:
        self.until(lambda: not self.pods(), what="no pod is left", seconds=seconds)

    def describe(self) -> str:
        pods = self.kubectl("get", "pods", "-o", "wide", check=False)
        pool = self.kubectl("describe", "pool", POOL, check=False)
        events = self.kubectl("get", "events", "--sort-by=.metadata.creationTimestamp", check=False)
        logs = self.kubectl("logs", f"--selector=processingpool.dev/pool={POOL}", "--tail=20", "--prefix", check=False)
        return f"{pods}\n{pool[-2500:]}\n{events[-2500:]}\n{logs[-5000:]}\n{self.runs}"

    def _save(self) -> None:
        """Beside the other logs of the cluster, for whoever looks into a failure."""
        path = Path(self.cluster.folder) / f"{self.namespace}.txt"
        path.write_text(self.describe(), encoding="utf-8")
