"""Random faults on a pool's workers, its housekeepers and its Redis, while jobs come; all drawn from one seed."""

from __future__ import annotations

import heapq
import random
import signal
import threading
import time
from collections import Counter
from contextlib import contextmanager, suppress

import redis
from redis.backoff import ConstantBackoff
from redis.retry import Retry as RedisRetry
from rq import Queue, Retry, Worker
from rq.serializers import JSONSerializer
from tests.faults.crew import GRACE_SECONDS, JOBS, LEASE_SECONDS, POOL_UID, QUEUES, Keeper, Member
from tests.faults.keeper import MAX_LOSSES
from tests.faults.results import PREFIX, unfinished

from pool_contract import keys, scripts
from pool_contract.messages import DrainOrder, PoolSettings
from pool_contract.scripts import Scripts

REPLICAS = 4
EPOCH = 1
PACE_SECONDS = (0.3, 1.1)
"""Between two faults."""
SHARES = {
    "kill": 22,
    "terminate": 20,
    "freeze": 20,
    "drain": 20,
    "freeze_keeper": 8,
    "kill_keeper": 4,
    "restart_redis": 6,
}
"""Of a hundred faults."""
BUSY_SECONDS = 5.0
LAST_JOBS_SECONDS = 90.0


class Chaos:
    """Call `run`; `counts` is how many faults of each kind there were, `jobs` the ids of all jobs."""

    def __init__(self, server, folder, *, seed):
        self.server, self.folder = server, folder
        self.dice = random.Random(seed)
        self.counts = Counter()
        self.jobs = []
        patience = RedisRetry(ConstantBackoff(0.1), 200)
        self.redis = server.client(retry=patience, retry_on_error=[redis.ConnectionError, redis.BusyLoadingError])
        self._scripts = Scripts(self.redis)
        self._drained = {}  # replica -> what it held when it was marked
        self._later = []  # heap of (time, number, action)
        self._number = 0
        self._resize()
        self.members = [self._hire() for _ in range(REPLICAS)]
        self.leaving = []
        self.keepers = [Keeper(server, folder) for _ in range(2)]

    def close(self):
        for one in [*self.members, *self.leaving, *self.keepers]:
            with suppress(ProcessLookupError):
                one.close()
        self.redis.close()

    def run(self, *, faults, jobs):
        """All faults, with the jobs spread over them; then peace until every job has ended."""
        self._submit(jobs // 10)
        plan = self._plan(faults)
        for number, kind in enumerate(plan, start=1):
            self._pass_time(self.dice.uniform(*PACE_SECONDS))
            getattr(self, f"_{kind}")()
            self.counts[kind] += 1
            if number % 10 == 0:
                self._resize()
            self._submit(jobs // 10 + (jobs - jobs // 10) * number // len(plan) - len(self.jobs))
        while self._later:
            self._pass_time(0.1)
        end = time.monotonic() + LAST_JOBS_SECONDS + jobs / 20
        while (left := unfinished(self.redis, self.jobs)) and time.monotonic() < end:
            self._pass_time(0.2)
        assert not left, f"{len(left)} jobs are not finished: {self._where(left[:5])}"

    def _plan(self, faults):
        """Each kind by its share and at least once, in random order."""
        plan = [kind for kind, share in SHARES.items() for _ in range(max(1, round(share * faults / 100)))]
        self.dice.shuffle(plan)
        return plan

    def _where(self, jobs):
        return {
            job: (self.redis.hgetall(keys.job(PREFIX, job)), self.redis.hgetall(keys.owner(PREFIX, job)))
            for job in jobs
        }

    # --- time ---------------------------------------------------------------------------------------------------------

    def _pass_time(self, seconds):
        end = time.monotonic() + seconds
        while True:
            now = time.monotonic()
            while self._later and self._later[0][0] <= now:
                heapq.heappop(self._later)[2]()
            if now >= end:
                return
            time.sleep(min(0.05, end - now))

    def _after(self, seconds, action):
        self._number += 1
        heapq.heappush(self._later, (time.monotonic() + seconds, self._number, action))

    # --- work ---------------------------------------------------------------------------------------------------------

    def _submit(self, number):
        for _ in range(number):
            queue = Queue(self.dice.choice(QUEUES), connection=self.redis, serializer=JSONSerializer)
            draw, options = self.dice.random(), {}
            function = "work"
            if draw < 0.1 and self.jobs:
                options["depends_on"] = self.dice.choice(self.jobs[-20:])
            elif draw < 0.2:
                options["at_front"] = True
            elif draw < 0.25:
                function, options["retry"] = "work_at_the_second_attempt", Retry(max=1)
            seconds = self.dice.choice((0.05, 0.3, 1.0, 2.0))
            self.jobs.append(queue.enqueue(f"{JOBS}.{function}", seconds, job_timeout=120, result_ttl=-1, **options).id)

    # --- faults -------------------------------------------------------------------------------------------------------

    def _hire(self, replica=None):
        return Member(self.server, self.folder, replica=replica)

    def _one(self):
        """A replica that works, as soon as there is one; else any."""
        end = time.monotonic() + BUSY_SECONDS
        while True:
            awake = [one for one in self.members if not one.frozen and not one.ended]
            busy = [one for one in awake if self.redis.scard(keys.claims(PREFIX, one.replica))]
            if busy or time.monotonic() > end:
                return self.dice.choice(busy or self.members)
            self._pass_time(0.1)

    def _replace(self, old, *, replica=None):
        self.members[self.members.index(old)] = self._hire(replica)

    def _kill(self):
        """A crash, an OOM or a lost node; half of them come back as the same replica, as a container does."""
        one = self._one()
        one.close()
        self._replace(one, replica=one.replica if self.dice.random() < 0.5 else None)

    def _terminate(self):
        """As a kubelet: SIGTERM, and SIGKILL after the grace period."""
        one = self._one()
        if one.frozen:
            one.thaw()
        one.signal(signal.SIGTERM)
        self.leaving.append(one)
        self._replace(one)
        self._after(GRACE_SECONDS + 1, lambda: self._gone(one))

    def _gone(self, one):
        one.close()
        self.leaving.remove(one)

    def _freeze(self):
        """Longer than the lease: its jobs run elsewhere before it goes on."""
        one = self._one()
        one.freeze()
        self._after(self.dice.uniform(1.2, 2.0) * LEASE_SECONDS, lambda: self._thaw(one))

    def _thaw(self, one):
        if not one.ended:
            one.thaw()

    def _drain(self):
        while not (free := [one for one in self.members if one.replica not in self._drained]):
            self._pass_time(0.1)
        one = self.dice.choice(free)
        order = DrainOrder(reason="Test", at=time.time(), epoch=EPOCH)
        call = scripts.drain(PREFIX, pool=POOL_UID, epoch=EPOCH, orders={one.replica: order})
        self._drained[one.replica] = self._scripts.run(call)[one.replica]
        self._after(self.dice.uniform(0.5, 3.0), lambda: self._undrain(one.replica))

    def _undrain(self, replica):
        if self._drained.pop(replica) == 0:
            held = self.redis.smembers(keys.claims(PREFIX, replica))
            assert not held, f"{replica} was drained and empty, and holds {held}"
        self._scripts.run(scripts.undrain(PREFIX, pool=POOL_UID, epoch=EPOCH, replicas=[replica]))

    def _resize(self):
        settings = PoolSettings(
            namespace="test", name="pool", queues=QUEUES, slots=self.dice.randint(1, 3), max_losses=MAX_LOSSES
        )
        self._scripts.run(scripts.publish_settings(PREFIX, pool=POOL_UID, epoch=EPOCH, settings=settings))

    def _freeze_keeper(self):
        one = self.dice.choice(self.keepers)
        one.signal(signal.SIGSTOP)
        self._after(self.dice.uniform(0.5, 1.5) * LEASE_SECONDS, lambda: self._thaw_keeper(one))

    def _thaw_keeper(self, one):
        if one in self.keepers:
            one.signal(signal.SIGCONT)

    def _kill_keeper(self):
        old = self.dice.choice(self.keepers)
        old.close()
        self.keepers[self.keepers.index(old)] = Keeper(self.server, self.folder)

    def _restart_redis(self):
        """Killed; its append-only file brings back what it has acknowledged."""
        self.server.kill()
        time.sleep(self.dice.uniform(0.1, 1.5))
        self.server.start()


@contextmanager
def readers(server):
    """What `rq info` and dashboards call, all the time: RQ's registries clean up when they are read."""
    stop = threading.Event()

    def read():
        with server.client() as client:
            while not stop.wait(0.3):
                with suppress(redis.RedisError, OSError):
                    for name in QUEUES:
                        queue = Queue(name, connection=client, serializer=JSONSerializer)
                        for registry in (
                            queue.started_job_registry,
                            queue.finished_job_registry,
                            queue.failed_job_registry,
                        ):
                            registry.get_job_ids()
                        Worker.all(queue=queue)
                    Worker.all(connection=client)

    thread = threading.Thread(target=read, name="readers")
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
