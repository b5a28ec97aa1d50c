"""A backend without pods or processes: replicas are tasks in this event loop that work through the real contract.

It keeps the promise that it tests: a replica that is removed while it runs a job is counted in `killed`.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field

from redis.asyncio import Redis
from redis.exceptions import RedisError

from pool_contract import keys, scripts
from pool_contract.messages import JobReport, ReplicaReport, RunOutcome, RunRecord
from pool_contract.messages import ReplicaPhase as WorkerPhase
from pool_contract.scripts import AsyncScripts, Claimed
from pool_operator.backends.base import Applied, BackendView, ConflictError, Credentials, PoolObject, Problem
from pool_operator.engine.types import Replica, ReplicaPhase
from pool_operator.names import ConditionReason

QUOTA = Problem(reason=ConditionReason.FAILED_CREATE, message="the cluster refuses new replicas: exceeded quota: gpus")


@dataclass
class FakeReplica:
    """One worker. `running` is the truth that no server knows better."""

    id: str
    pool_uid: str
    queues: tuple[str, ...]
    created_at: float
    ready_at: float | None = None
    terminating: bool = False
    running: dict[str, Claimed] = field(default_factory=dict)
    task: asyncio.Task | None = None


class FakeBackend:
    """Implements backends.base.Backend.

    Args:
        url: the real Redis that replicas claim from; None: replicas do nothing.
        wake: called with the pool's key when a replica changed.
    """

    def __init__(self, url=None, *, prefix="rq", start_seconds=0.02, job_seconds=0.05, work=True):
        self.url = url
        self.prefix = prefix
        self.start_seconds = start_seconds
        self.job_seconds = job_seconds
        self.work = work
        self.wake = lambda key: None
        self.unix = time.time  # a test's clock may be ahead
        self.synced = True
        self.replicas: dict[str, dict[str, FakeReplica]] = {}
        self.wanted: dict[str, int] = {}
        self.exists: set[str] = set()
        self.retired: list[str] = []
        self.applied: list[tuple[str, int]] = []
        self.killed: list[str] = []
        self.done: list[str] = []
        self.hurried: set[str] = set()  # replicas whose job ends now
        self.conflicts = 0  # answer so many applies with a conflict
        self.peak = 0
        self.deadlines: dict[str, float] = {}
        self.excused: tuple[str, ...] = ()
        self.template_problem: Problem | None = None
        self.capacity_problem: Problem | None = None
        self.out_of_memory_at: float | None = None
        self.most: int | None = None  # a quota: no more are created
        self.redis: Redis | None = None

    async def __aenter__(self):
        if self.url:
            self.redis = Redis.from_url(self.url, socket_timeout=None)  # see observe/connection.py
        return self

    async def __aexit__(self, *exc):
        tasks = [one.task for pool in self.replicas.values() for one in pool.values() if one.task]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self.redis is not None:
            await self.redis.aclose()

    # --- the protocol ---------------------------------------------------------------------------------------------

    def view(self, pool: PoolObject) -> BackendView:
        mine = self.replicas.get(pool.uid, {})
        return BackendView(
            synced=self.synced,
            replicas=tuple(self._shown(one) for one in mine.values()),
            wanted=self.wanted.get(pool.uid, 0),
            exists=pool.uid in self.exists,
            template_problem=self.template_problem,
            capacity_problem=self.capacity_problem if not self._refuses(pool) else QUOTA,
            refused=self._refuses(pool),
            out_of_memory_at=self.out_of_memory_at,
            deadlines={uid: at for uid, at in self.deadlines.items() if uid in mine},
            excused_replicas=self.excused,
        )

    def _refuses(self, pool) -> bool:
        return self.most is not None and self.wanted.get(pool.uid, 0) > self.most

    @staticmethod
    def _shown(one: FakeReplica) -> Replica:
        phase = ReplicaPhase.READY if one.ready_at is not None else ReplicaPhase.STARTING
        return Replica(
            id=one.id,
            phase=ReplicaPhase.TERMINATING if one.terminating else phase,
            created_at=one.created_at,
            ready_at=one.ready_at,
        )

    async def apply(self, pool, target) -> Applied:
        await asyncio.sleep(0)
        if self.conflicts:
            self.conflicts -= 1
            raise ConflictError("moved")
        self.exists.add(pool.uid)
        mine = self.replicas.setdefault(pool.uid, {})
        wanted = self.wanted.get(pool.uid, 0)
        if target.replicas > wanted:
            self._raise(pool, target.replicas, mine)
        elif target.replicas < wanted:
            self._lower(pool, target, mine)
        new = self.wanted.get(pool.uid, 0)
        if new != wanted:
            self.applied.append((pool.key.name, new))
            self.peak = max(self.peak, new)
            self.wake(pool.key)
        return Applied(changed=new != wanted, wanted=new)

    async def retire(self, pool) -> None:
        self.retired.append(pool.uid)

    # --- replicas -------------------------------------------------------------------------------------------------

    def _raise(self, pool, number, mine):
        self.wanted[pool.uid] = number
        number = number if self.most is None else min(number, self.most)
        while sum(not one.terminating for one in mine.values()) < number:
            self.start(pool, mine)

    def start(self, pool, mine=None):
        mine = self.replicas.setdefault(pool.uid, {}) if mine is None else mine
        queues = tuple(queue.name for queue in pool.spec.queues)
        one = FakeReplica(id=f"r-{uuid.uuid4()}", pool_uid=pool.uid, queues=queues, created_at=self.unix())
        mine[one.id] = one
        one.task = asyncio.create_task(self._live(pool, one))
        return one

    def _lower(self, pool, target, mine):
        active = [one for one in mine.values() if not one.terminating]
        for one in active:
            if len(active) <= target.replicas:
                break
            if one.id in target.drained:
                self.end(pool, one)
                active = [other for other in active if other is not one]
        self.wanted[pool.uid] = len(active)

    def end(self, pool, one):
        """SIGKILL, as far as the fake is concerned."""
        self.killed += list(one.running)
        one.task.cancel()
        self.replicas[pool.uid].pop(one.id, None)
        self.wake(pool.key)

    async def _live(self, pool, one):
        await asyncio.sleep(self.start_seconds)
        incarnation = uuid.uuid4().hex
        if self.redis is None:
            one.ready_at = self.unix()
            self.wake(pool.key)
            return
        while True:
            with suppress(RedisError, OSError):
                if one.ready_at is None:
                    await self._register(one, incarnation)
                    one.ready_at = self.unix()
                    self.wake(pool.key)
                await self._report(one, incarnation)
                if self.work:
                    await self._work(one, incarnation)
            await asyncio.sleep(0.02)

    async def _register(self, one, incarnation):
        call = scripts.register(self.prefix, pool=one.pool_uid, replica=one.id, incarnation=incarnation, max_losses=2)
        await AsyncScripts(self.redis).run(call)

    async def _report(self, one, incarnation):
        now = self.unix()
        report = ReplicaReport(
            replica=one.id,
            pool=one.pool_uid,
            incarnation=incarnation,
            phase=WorkerPhase.READY,
            at=now,
            started_at=one.created_at,
            ready_at=one.ready_at,
            slots=1,
            jobs=tuple(JobReport(job_id=job, queue=c.queue, started_at=now) for job, c in one.running.items()),
        )
        pipeline = self.redis.pipeline(transaction=True)
        pipeline.set(keys.report(self.prefix, one.id), report.model_dump_json(), ex=45)
        pipeline.zadd(keys.replicas(self.prefix, one.pool_uid), {one.id: now})
        await pipeline.execute()

    async def _work(self, one, incarnation):
        call = scripts.claim(
            self.prefix,
            pool=one.pool_uid,
            replica=one.id,
            incarnation=incarnation,
            worker=one.id,
            queues=one.queues,
            execution_id=uuid.uuid4().hex,
        )
        claimed = (await AsyncScripts(self.redis).run(call)).claimed
        if claimed is None:
            return
        one.running[claimed.job_id] = claimed
        began = time.monotonic()
        end = began + self.job_seconds
        while time.monotonic() < end and one.id not in self.hurried:
            await asyncio.sleep(0.02)
            with suppress(RedisError, OSError):
                await self._report(one, incarnation)
        while True:
            try:
                await self._finish(one, claimed, time.monotonic() - began)
                break
            except (RedisError, OSError):
                await asyncio.sleep(0.05)

    async def _finish(self, one, claimed, seconds):
        """What RQ's success handler and our fence leave behind, as far as the operator can see."""
        run = RunRecord(
            job=claimed.job_id, queue=claimed.queue, replica=one.id, seconds=seconds, outcome=RunOutcome.FINISHED
        )
        pipeline = self.redis.pipeline(transaction=True)
        pipeline.delete(keys.owner(self.prefix, claimed.job_id))
        pipeline.zrem(keys.leases(self.prefix, claimed.queue), claimed.job_id)
        pipeline.srem(keys.claims(self.prefix, one.id), claimed.job_id)
        pipeline.zrem(keys.wip(self.prefix, claimed.queue), f"{claimed.job_id}:{claimed.execution_id}")
        pipeline.hset(keys.job(self.prefix, claimed.job_id), "status", "finished")
        pipeline.xadd(keys.runs(self.prefix, one.pool_uid), {"run": run.model_dump_json()})
        await pipeline.execute()
        one.running.pop(claimed.job_id, None)
        self.done.append(claimed.job_id)


class FakeReporter:
    """Keeps every status and event."""

    def __init__(self):
        self.statuses: dict[str, list[Mapping[str, object]]] = {}
        self.events: list[tuple[str, object]] = []

    async def report(self, pool, status, events):
        kept = self.statuses.setdefault(pool.key.name, [])
        if not kept or kept[-1] != status:
            kept.append(status)
        self.events += [(pool.key.name, event) for event in events]

    def latest(self, name):
        return self.statuses.get(name, [{}])[-1]

    def condition(self, name, kind):
        """(status, reason, message) or None."""
        for one in self.latest(name).get("conditions", ()):
            if one["type"] == kind:
                return one["status"], one["reason"], one["message"]
        return None


class FakeSecrets:
    """Secrets of a namespace, by name; change them at any time."""

    def __init__(self, **secrets: Credentials):
        self.secrets = secrets

    async def credentials(self, namespace, name):
        found = self.secrets.get(name)
        if found is None:
            return Problem(reason=ConditionReason.SECRET_NOT_FOUND, message=f"there is no Secret '{name}'")
        return found
