"""The state machine of jobs, on a real server: whatever happens in whatever order,

a job is in exactly one place and belongs to at most one replica; a drained replica never gets a job; housekeepers and
RQ's own cleaners never duplicate; an old leader is refused; no claim is given beyond the pool's limits; each loss is
recorded once; in the end nothing is lost.

CONTRACT_EXAMPLES=n runs n examples instead of the default.
"""

from __future__ import annotations

import os
from datetime import timedelta

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, precondition, rule
from rq import Retry
from rq.exceptions import InvalidJobOperation, NoSuchJobError
from rq.group import Group
from rq.job import Dependency
from rq.rate_limit import RateLimit
from rq.registry import clean_registries
from rq.utils import now
from rq.worker_registration import clean_worker_registry
from tests.redis.contract_harness import POOL, PREFIX, Office
from tests.servers import redis_server

from pool_contract import keys, scripts
from pool_contract.messages import PoolSettings
from pool_contract.scripts import Claimed, Refusal, StaleEpochError

settings.register_profile(
    "contract",
    max_examples=int(os.environ.get("CONTRACT_EXAMPLES", "120")),
    stateful_step_count=40,
    deadline=None,
    database=None,
    print_blob=True,
    suppress_health_check=list(HealthCheck),
)

QUEUES = ("high", "low")
REPLICAS = ("r1", "r2")
MAX_LOSSES = 1
LIMIT = RateLimit("vendor", 2)
REGISTRIES = (keys.scheduled, keys.deferred, keys.ready, keys.failed, keys.finished, keys.canceled)
ENDED = {"finished", "failed", "canceled"}

office: Office


class Jobs(RuleBasedStateMachine):
    """Rules are what clients, workers, operators and bystanders do."""

    jobs = Bundle("jobs")

    @initialize()
    def fresh(self):
        office.redis.flushall()
        self.number = 0
        self.known = set()  # ids of jobs that nobody deleted
        self.dropped = set()  # cancelled ones
        self.held = {}  # job id -> (claim, replica): what a worker process believes to hold
        self.incarnations = dict.fromkeys(REPLICAS, 0)
        self.drained = set()
        self.epoch = 1
        self.finished = []
        self.lost = 0  # runs that ended as a loss, excused ones aside
        self.limits = PoolSettings(namespace="n", name="p", queues=QUEUES)
        self.granted = 0.0
        for replica in REPLICAS:
            self._register(replica)

    def _register(self, replica):
        self.lost += len(office.register(replica, f"{replica}-{self.incarnations[replica]}", max_losses=MAX_LOSSES))

    def _claim(self, replica):
        """What the pool's limits leave is what it gets, and a job that is only to be ended beyond that."""
        claimed, used = self._claimed(), self._used()
        reply = office.ask(replica, QUEUES, incarnation=f"{replica}-{self.incarnations[replica]}")
        cost = self.limits.commitment
        if reply.claimed is None or reply.claimed.exhausted:
            assert self._used() == used
        else:
            assert self.limits.max_concurrent is None or claimed < self.limits.max_concurrent
            assert cost == 0 or used + cost <= self.granted
            assert self._used() == used + cost
        return reply

    def _claimed(self):
        return sum(office.redis.scard(keys.claims(PREFIX, replica)) for replica in REPLICAS)

    def _used(self):
        return office.read().pools[POOL].allowance_used

    def _new(self):
        self.number += 1
        job = f"job-{self.number}"
        self.known.add(job)
        return job

    def _believed(self, replica):
        return [job for job, (_claim, holder) in self.held.items() if holder == replica]

    # --- clients ----------------------------------------------------------------------------------------------------

    @rule(target=jobs, queue=st.sampled_from(QUEUES), front=st.booleans(), limited=st.booleans(), retries=st.booleans())
    def enqueue(self, queue, front, limited, retries):
        options = {"rate_limit": LIMIT} if limited else {}
        if retries:
            options["retry"] = Retry(max=1)
        office.enqueue(queue, job_id=self._new(), at_front=front, **options)
        return f"job-{self.number}"

    @rule(target=jobs, queue=st.sampled_from(QUEUES), due=st.booleans(), limited=st.booleans())
    def schedule(self, queue, due, limited):
        options = {"rate_limit": LIMIT} if limited else {}
        at = now() + timedelta(seconds=-5 if due else 3600)
        office.queue(queue).enqueue_at(at, "m.f", job_id=self._new(), **options)
        return f"job-{self.number}"

    @rule(target=jobs, queue=st.sampled_from(QUEUES), parent=jobs, lenient=st.booleans())
    def depend(self, queue, parent, lenient):
        if parent not in self.known:
            return parent
        on = Dependency(parent, allow_failure=lenient)
        office.queue(queue).enqueue("m.f", job_id=self._new(), depends_on=on)
        return f"job-{self.number}"

    @rule(job=jobs)
    def cancel(self, job):
        try:
            office.job(job).cancel()
        except (InvalidJobOperation, NoSuchJobError):
            return
        self.dropped.add(job)

    @rule(job=jobs)
    def delete(self, job):
        try:
            office.job(job).delete()
        except NoSuchJobError:
            return
        self.known.discard(job)
        self.dropped.discard(job)

    @rule(job=jobs, queue=st.sampled_from(QUEUES))
    def enqueue_anew_while_it_runs(self, job, queue):
        if office.redis.hget(keys.job(PREFIX, job), "status") == b"started":
            office.enqueue(queue, job_id=job)

    @rule(job=jobs)
    def requeue(self, job):
        try:
            office.job(job).requeue()
        except (InvalidJobOperation, NoSuchJobError):
            return

    # --- workers ----------------------------------------------------------------------------------------------------

    @rule(replica=st.sampled_from(REPLICAS), slots=st.integers(1, 3))
    def claim(self, replica, slots):
        for _ in range(slots):
            reply = self._claim(replica)
            if replica in self.drained:
                assert reply.refusal is Refusal.DRAINED
            if reply.claimed is None:
                return
            claim = reply.claimed
            assert claim.job_id in self.known
            self.held[claim.job_id] = (claim, replica)
            self.who_runs_alone_runs_alone()

    @precondition(lambda self: self.held)
    @rule(
        data=st.data(), how=st.sampled_from(["finish", "fail", "release", "crash after success", "crash after failure"])
    )
    def end(self, data, how):
        """A worker ends a run, whether or not it still holds it: the fence decides."""
        job = data.draw(st.sampled_from(sorted(self.held)))
        claim, replica = self.held.pop(job)
        owner = office.redis.hget(keys.owner(PREFIX, job), "execution")
        mine = owner is not None and owner.decode() == claim.execution_id
        if how == "release":
            released = office.release(claim)
            assert mine or not released
            return
        if not mine or office.redis.hget(keys.job(PREFIX, job), "status") != b"started":
            return  # what the worker's fence refuses
        if how == "finish":
            office.finish(claim, replica)
            self.finished.append(job)
        elif how == "fail":
            office.fail(claim, replica)
        elif how == "crash after success":
            self._crash_after_success(claim, replica)
        else:
            self._crash_after_failure(claim, replica)

    def _crash_after_success(self, claim, replica):
        worker, job, queue, execution = office._running(claim, replica)
        queue.enqueue_ready_jobs_by_queue = lambda _jobs: None
        worker.handle_job_success(job, queue, queue.started_job_registry, execution)
        office.settle(claim, replica)

    def _crash_after_failure(self, claim, replica):
        worker, job, queue, execution = office._running(claim, replica)
        worker._enqueue_dependents_safely = lambda _queue, _job: None
        worker._release_slot_safely = lambda _job: None
        worker.handle_job_failure(job, queue, queue.started_job_registry, exc_string="broke", execution=execution)
        office.settle(claim, replica)

    @rule(replica=st.sampled_from(REPLICAS))
    def heartbeat(self, replica):
        mine = self._believed(replica)
        lost = office.renew(*(self.held[job][0] for job in mine), replica=replica)
        for job in mine:
            owner = office.redis.hget(keys.owner(PREFIX, job), "execution")
            assert (job in lost) == (owner is None or owner.decode() != self.held[job][0].execution_id)
        for job in lost:
            del self.held[job]

    @rule(replica=st.sampled_from(REPLICAS))
    def restart(self, replica):
        """The process dies and its container comes again: what it held is given back when it registers."""
        for job in self._believed(replica):
            del self.held[job]
        self.incarnations[replica] += 1
        self._register(replica)
        assert office.redis.scard(keys.claims(PREFIX, replica)) == 0

    @rule(replica=st.sampled_from(REPLICAS), slots=st.integers(2, 3))
    def crash_and_go_on(self, replica, slots):
        """What was lost stands at the head now, and this replica is empty."""
        self.claim(replica, slots)
        self.restart(replica)
        self.claim(replica, slots)

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def freeze(self, data):
        """A lease runs out while its worker still believes in it."""
        job = data.draw(st.sampled_from(sorted(self.held)))
        office.expire(self.held[job][0])

    @precondition(lambda self: self.held)
    @rule(data=st.data(), number=st.integers(1, 3))
    def die_slowly(self, data, number):
        """Leases run out and are reclaimed at once; the workers have not noticed yet."""
        for job in data.draw(st.lists(st.sampled_from(sorted(self.held)), max_size=number, unique=True)):
            office.expire(self.held[job][0])
        self.reclaim(set())

    # --- operators --------------------------------------------------------------------------------------------------

    @rule(excused=st.sets(st.sampled_from(REPLICAS)))
    def reclaim(self, excused):
        back = office.reclaim(QUEUES, max_losses=MAX_LOSSES, excused=sorted(excused))
        self.lost += sum(one.replica not in excused for one in back)

    @rule(concurrent=st.sampled_from([None, 1, 2, 3]), cost=st.sampled_from([0.0, 0.0, 1.0]))
    def limit(self, concurrent, cost):
        self.limits = self.limits.model_copy(update={"max_concurrent": concurrent, "commitment": cost})
        office.run(scripts.publish_settings(PREFIX, pool=POOL, epoch=self.epoch, settings=self.limits))

    @rule(target=jobs, limits=st.sampled_from([(1, 0.0), (2, 0.0), (None, 1.0), (2, 1.0)]), paid=st.integers(0, 3))
    def more_work_than_the_limits_let_run(self, limits, paid):
        """Both replicas have room for it all."""
        self.limit(*limits)
        self.grant(paid)
        for _ in range(4):
            office.enqueue(QUEUES[0], job_id=self._new(), at_front=True)
        for replica in REPLICAS:
            self.claim(replica, 3)
        return f"job-{self.number}"

    @rule(jobs=st.integers(0, 4))
    def grant(self, jobs):
        self.granted = self._used() + jobs
        office.run(
            scripts.grant(PREFIX, pool=POOL, epoch=self.epoch, granted=self.granted, used=self._used(), ttl_seconds=600)
        )

    @rule()
    def house(self):
        office.due(*QUEUES)
        office.ready(*QUEUES)
        office.sweep(*QUEUES, grace=0)

    @rule(replica=st.sampled_from(REPLICAS))
    def drain(self, replica):
        counts = office.drain(replica, epoch=self.epoch)
        assert counts == {replica: office.redis.scard(keys.claims(PREFIX, replica))}
        self.drained.add(replica)

    @rule(replica=st.sampled_from(REPLICAS))
    def undrain(self, replica):
        assert office.undrain(replica, epoch=self.epoch) == (1 if replica in self.drained else 0)
        self.drained.discard(replica)

    @rule(replica=st.sampled_from(REPLICAS), act=st.sampled_from(["drain", "undrain"]))
    def new_leader_and_a_late_old_one(self, replica, act):
        self.epoch += 1
        office.drain(epoch=self.epoch)
        with pytest.raises(StaleEpochError):
            getattr(office, act)(replica, epoch=self.epoch - 1)

    # --- bystanders -------------------------------------------------------------------------------------------------

    @rule(queue=st.sampled_from(QUEUES))
    def rq_info(self, queue):
        """RQ's registries clean up when they are asked for their size; its maintenance does the same and more."""
        it = office.queue(queue)
        for registry in (
            it.started_job_registry, it.failed_job_registry, it.finished_job_registry, it.deferred_job_registry,
            it.scheduled_job_registry, it.canceled_job_registry,
        ):  # fmt: skip
            registry.get_job_ids()
            assert registry.count >= 0
        clean_registries(it)
        clean_worker_registry(it)
        Group.clean_registries(office.redis)

    @rule(queue=st.sampled_from(QUEUES))
    def foreign_worker_pops_and_dies(self, queue):
        office.redis.lmove(keys.queue(PREFIX, queue), keys.intermediate(PREFIX, queue))

    @rule(queue=st.sampled_from(QUEUES))
    def junk(self, queue):
        office.redis.rpush(keys.queue(PREFIX, queue), "junk")

    # --- always -----------------------------------------------------------------------------------------------------

    def _places(self):
        """Job id -> the places where it stands."""
        found = {}

        def stand(job, place):
            found.setdefault(job.decode(), []).append(place)

        for queue in QUEUES:
            for job in office.redis.lrange(keys.queue(PREFIX, queue), 0, -1):
                stand(job, keys.queue(PREFIX, queue))
            for job in office.redis.lrange(keys.intermediate(PREFIX, queue), 0, -1):
                # RQ's cancel() does not look there; the id is dropped by the next sweep
                if office.redis.hget(keys.job(PREFIX, job.decode()), "status") != b"canceled":
                    stand(job, keys.intermediate(PREFIX, queue))
            for registry in REGISTRIES:
                for job in office.redis.zrange(registry(PREFIX, queue), 0, -1):
                    stand(job, registry(PREFIX, queue))
        for job in office.redis.zrange(keys.rate_limit_waiting(PREFIX, "vendor"), 0, -1):
            stand(job, "waits for a slot")
        for job in self._owned():
            if office.redis.hget(keys.job(PREFIX, job), "status") == b"started":
                stand(job.encode(), "claimed")
        return found

    def _owned(self):
        prefix = keys.owner(PREFIX, "")
        return {key.decode().removeprefix(prefix) for key in office.redis.scan_iter(f"{prefix}*", count=1000)}

    @invariant()
    def every_job_is_in_exactly_one_place(self):
        places = self._places()
        for job in self.known:
            assert len(places.get(job, [])) == 1, (job, places.get(job), office.redis.hgetall(keys.job(PREFIX, job)))

    @invariant()
    def a_job_belongs_to_at_most_one_replica(self):
        holders = {}
        for replica in REPLICAS:
            for job in office.redis.smembers(keys.claims(PREFIX, replica)):
                holders.setdefault(job.decode(), []).append(replica)
        assert all(len(one) == 1 for one in holders.values()), holders
        assert holders.keys() == self._owned()
        for job, (replica,) in holders.items():
            assert office.redis.hget(keys.owner(PREFIX, job), "replica").decode() == replica
        leased = {job for queue in QUEUES for job in office.members(keys.leases(PREFIX, queue))}
        assert leased == holders.keys()

    @invariant()
    def who_runs_alone_runs_alone(self):
        for replica in REPLICAS:
            jobs = office.redis.smembers(keys.claims(PREFIX, replica))
            alone = [office.redis.hget(keys.owner(PREFIX, job.decode()), "alone") for job in jobs]
            assert b"1" not in alone or len(alone) == 1

    @invariant()
    def a_limit_is_kept(self):
        """Slots are for queued and running jobs, so no more than that many of them are claimed."""
        assert office.redis.zcard(keys.rate_limit_allowed(PREFIX, "vendor")) <= LIMIT.concurrency

    @invariant()
    def each_loss_is_recorded_once(self):
        assert office.redis.xlen(keys.runs(PREFIX, POOL)) == self.lost

    @invariant()
    def what_is_read_is_what_is_there(self):
        state = office.read(QUEUES)
        for queue in QUEUES:
            it = state.queues[queue]
            assert it.waiting == office.redis.llen(keys.queue(PREFIX, queue))
            assert it.running + it.expired == office.redis.zcard(keys.leases(PREFIX, queue))
        for replica, it in state.pools[POOL].replicas.items():
            assert it.claims == office.redis.scard(keys.claims(PREFIX, replica))
            assert it.drained == (replica in self.drained)

    # --- in the end -------------------------------------------------------------------------------------------------

    def teardown(self):
        """All workers die; then one works off what there is: nothing is lost, and nothing of ours is left."""
        if not hasattr(self, "known"):
            return
        office.undrain(*REPLICAS, epoch=self.epoch)
        self.limit(None, 0.0)
        for replica in REPLICAS:
            self.restart(replica)
        for queue in QUEUES:
            for job in office.members(keys.scheduled(PREFIX, queue)):
                office.redis.zadd(keys.scheduled(PREFIX, queue), {job: 1})
        for _round in range(200):
            self.house()
            office.reclaim(QUEUES, max_losses=MAX_LOSSES)
            reply = self._claim("r1")
            if isinstance(reply.claimed, Claimed):
                (office.fail if reply.claimed.exhausted else office.finish)(reply.claimed, "r1")
            elif not any(office.redis.llen(keys.intermediate(PREFIX, queue)) for queue in QUEUES):
                break
        self.every_job_is_in_exactly_one_place()
        for job in self.known:
            status = office.status(job)
            assert status in ENDED or (status == "deferred" and self._held_back(job)), (job, status)
        assert office.ours() == []
        for queue in QUEUES:
            assert office.redis.zcard(keys.wip(PREFIX, queue)) == 0
            assert office.ids(queue) == []
        office.sweep(*QUEUES)
        assert office.redis.zcard(keys.rate_limit_allowed(PREFIX, "vendor")) == 0

    def _held_back(self, job):
        """RQ keeps a job deferred for ever when what it depends on failed, was cancelled or is gone."""
        for parent in office.job(job).dependency_ids:
            status = office.redis.hget(keys.job(PREFIX, parent), "status")
            if status is None or status in {b"failed", b"canceled", b"deferred"}:
                return True
        return False


@pytest.mark.timeout(600)  # finding the smallest example of a failure takes its time
def test_any_order_of_events():
    global office
    with redis_server("valkey") as server:
        office = Office(server)
        try:
            from hypothesis.stateful import run_state_machine_as_test

            run_state_machine_as_test(Jobs, settings=settings.get_profile("contract"))
        finally:
            office.redis.close()
