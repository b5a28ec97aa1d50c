"""A small office over a real server: RQ's own objects on one side, the scripts of the contract on the other."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta

from rq import Queue, SimpleWorker
from rq.executions import Execution
from rq.job import Job
from rq.serializers import JSONSerializer
from rq.utils import now

from pool_contract import keys, scripts
from pool_contract.messages import DrainOrder
from pool_contract.scripts import Scripts

PREFIX = "rq"
POOL = "pool-uid"
FUNCTION = "pool_worker.jobs.transcribe"  # never imported here


class Office:
    """What a test asks of a server; times of leases can be moved, nothing else is faked."""

    def __init__(self, server):
        self.redis = server.client()
        self._scripts = Scripts(self.redis)

    def run(self, call):
        return self._scripts.run(call)

    # --- RQ's side ------------------------------------------------------------------------------------------------

    def queue(self, name="default"):
        return Queue(name, connection=self.redis, serializer=JSONSerializer)

    def enqueue(self, name="default", **options):
        return self.queue(name).enqueue(FUNCTION, **options).id

    def schedule(self, seconds, name="default", **options):
        return self.queue(name).enqueue_at(now() + timedelta(seconds=seconds), FUNCTION, **options).id

    def job(self, job_id):
        return Job.fetch(job_id, connection=self.redis, serializer=JSONSerializer)

    def status(self, job_id):
        return self.job(job_id).get_status().value

    def worker(self, name="w-r1", queues=("default",)):
        return SimpleWorker(
            [self.queue(one) for one in queues], connection=self.redis, name=name, serializer=JSONSerializer
        )

    # --- the contract's side --------------------------------------------------------------------------------------

    def register(self, replica="r1", incarnation=None, *, max_losses=2):
        call = scripts.register(
            PREFIX, pool=POOL, replica=replica, incarnation=incarnation or f"i-{replica}", max_losses=max_losses
        )
        return self.run(call)

    def ask(self, replica="r1", queues=("default",), *, execution=None, incarnation=None, lease_seconds=60.0):
        """The whole reply to a claim."""
        call = scripts.claim(
            PREFIX,
            pool=POOL,
            replica=replica,
            incarnation=incarnation or f"i-{replica}",
            worker=f"w-{replica}",
            queues=queues,
            execution_id=execution or uuid.uuid4().hex,
            lease_seconds=lease_seconds,
        )
        return self.run(call)

    def claim(self, replica="r1", queues=("default",), **options):
        """The job claimed, or why there was none."""
        reply = self.ask(replica, queues, **options)
        return reply.claimed or reply.refusal

    def renew(self, *claims, replica="r1"):
        call = scripts.renew(PREFIX, replica=replica, claims=[(c.queue, c.job_id, c.execution_id) for c in claims])
        return self.run(call)

    def release(self, claim):
        call = scripts.release(PREFIX, queue=claim.queue, job_id=claim.job_id, execution_id=claim.execution_id)
        return self.run(call)

    def expire(self, claim):
        """Let the lease of a claim have ended a second ago."""
        seconds, _micros = self.redis.time()
        self.redis.zadd(keys.leases(PREFIX, claim.queue), {claim.job_id: seconds - 1}, xx=True)

    def reclaim(self, queues=("default",), *, pools=(), max_losses=2, excused=()):
        call = scripts.reclaim(PREFIX, queues=queues, pools=pools, max_losses=max_losses, excused_replicas=excused)
        return self.run(call)

    def lose(self, claim, **options):
        self.expire(claim)
        (back,) = self.reclaim((claim.queue,), **options)
        return back

    def drain(self, *replicas, epoch=1):
        orders = {one: DrainOrder(reason="Idle", at=0, epoch=epoch) for one in replicas}
        return self.run(scripts.drain(PREFIX, pool=POOL, epoch=epoch, orders=orders))

    def undrain(self, *replicas, epoch=1):
        return self.run(scripts.undrain(PREFIX, pool=POOL, epoch=epoch, replicas=replicas))

    def read(self, queues=("default",), pools=(POOL,), **options):
        return self.run(scripts.read(PREFIX, queues=queues, pools=pools, **options))

    def due(self, *queues):
        return self.run(scripts.due(PREFIX, queues=queues or ("default",)))

    def ready(self, *queues):
        return self.run(scripts.ready(PREFIX, queues=queues or ("default",)))

    def sweep(self, *queues, grace=60.0):
        return self.run(scripts.sweep(PREFIX, queues=queues or ("default",), intermediate_grace_seconds=grace))

    # --- the end of a run, by RQ's own handlers -------------------------------------------------------------------

    def finish(self, claim, replica="r1", *, result=None):
        worker, job, queue, execution = self._running(claim, replica)
        job._result = result
        worker.handle_job_success(job, queue, queue.started_job_registry, execution)
        self.settle(claim, replica)

    def fail(self, claim, replica="r1", *, why="it broke"):
        worker, job, queue, execution = self._running(claim, replica)
        worker.handle_job_failure(job, queue, queue.started_job_registry, exc_string=why, execution=execution)
        self.settle(claim, replica)

    def _running(self, claim, replica):
        worker, job, queue = (
            self.worker(f"w-{replica}", (claim.queue,)),
            self.job(claim.job_id),
            self.queue(claim.queue),
        )
        execution = Execution.fetch(claim.execution_id, claim.job_id, connection=self.redis)
        job.ended_at = now()
        return worker, job, queue, execution

    def settle(self, claim, replica):
        """What a worker adds to the transaction that ends a run."""
        pipeline = self.redis.pipeline(transaction=True)
        pipeline.delete(keys.owner(PREFIX, claim.job_id))
        pipeline.zrem(keys.leases(PREFIX, claim.queue), claim.job_id)
        pipeline.srem(keys.claims(PREFIX, replica), claim.job_id)
        pipeline.execute()

    # --- looking ----------------------------------------------------------------------------------------------------

    def ids(self, name="default"):
        return self.queue(name).get_job_ids()

    def members(self, key):
        return [one.decode() for one in self.redis.zrange(key, 0, -1)]

    def ours(self):
        """Keys of ours that speak of jobs."""
        words = ("owner", "leases", "claims", "reserved")
        return sorted(key.decode() for word in words for key in self.redis.scan_iter(f"{PREFIX}:pp:{word}:*"))

    def traces(self, claim):
        """Keys that a run has left: everything that names its execution."""
        found = [key.decode() for key in self.redis.scan_iter("*") if claim.execution_id.encode() in key]
        member = f"{claim.job_id}:{claim.execution_id}"
        for key in self.redis.scan_iter("*"):
            kind = self.redis.type(key)
            if kind == b"zset" and {member, claim.execution_id} & set(self.members(key)):
                found.append(key.decode())
            if kind == b"set" and self.redis.sismember(key, member):
                found.append(key.decode())
        return found

    def result(self, job_id):
        job = self.job(job_id)
        return [one.type for one in job.results()] if job else []


def unix(text):
    """RQ's date format."""
    return datetime.strptime(text.decode(), "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=UTC).timestamp()


__all__ = ["FUNCTION", "POOL", "PREFIX", "Office", "unix"]
