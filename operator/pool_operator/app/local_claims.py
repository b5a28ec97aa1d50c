"""What replicas hold in Redis, seen by the one who knows when their processes are surely dead.

Then what they held is handed back at once, instead of at the end of its lease.
"""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import Collection
from typing import Any, Final

from redis.asyncio import Redis as AsyncRedis
from redis.exceptions import RedisError

from pool_contract import keys, scripts
from pool_contract.messages import ReplicaPhase, ReplicaReport
from pool_contract.scripts import AsyncScripts
from pool_operator.backends.base import PoolObject
from pool_operator.backends.local.state import StateFolder

log = logging.getLogger(__name__)
CALL_SECONDS: Final = 5.0


class LocalClaims:
    """For one pool; never raises for Redis' troubles: then leases end what this does not."""

    def __init__(self, redis: AsyncRedis, prefix: str, pool_uid: str, state: StateFolder) -> None:
        self._redis = redis
        self._prefix = prefix
        self._pool_uid = pool_uid
        self._state = state

    async def ready(self, _pool: PoolObject, replicas: Collection[str]) -> Collection[str]:
        """Those that report to be ready."""
        try:
            async with asyncio.timeout(CALL_SECONDS):
                texts = await self._redis.mget([keys.report(self._prefix, one) for one in replicas])
            reports = [ReplicaReport.model_validate_json(text) for text in texts if text]
        except (RedisError, OSError, TimeoutError, ValueError) as error:
            log.debug("reports cannot be read: %s", error)
            return ()
        return [one.replica for one in reports if one.phase is ReplicaPhase.READY]

    async def ended(self, pool: PoolObject, replica: str) -> None:
        """Its process is dead: what it still held goes back at once, as a loss."""
        self._state.forget(replica)
        assert pool.spec is not None
        call = scripts.register(
            self._prefix,
            pool=pool.uid,
            replica=replica,
            incarnation=uuid.uuid4().hex,
            max_losses=pool.spec.jobs.max_losses,
        )
        try:
            async with asyncio.timeout(CALL_SECONDS):
                for back in await AsyncScripts(self._redis).run(call):
                    log.warning("job=%s taken back from replica=%s, loss %d", back.job_id, back.replica, back.losses)
                await self._forget(replica)
        except (RedisError, OSError, TimeoutError) as error:
            log.warning("replica=%s its jobs go back when their leases end: %s", replica, error)

    async def recover(self) -> None:
        """Hand back what replicas of an earlier run held that was killed; none of their processes lives any more."""
        members: Any = await self._redis.zrange(keys.replicas(self._prefix, self._pool_uid), 0, -1)
        await self.hand_back([one.decode() for one in members])

    async def hand_back(self, replicas: Collection[str]) -> None:
        """Release what these dead replicas hold: it was our doing and not the jobs' fault, so it is no loss."""
        try:
            async with asyncio.timeout(CALL_SECONDS + len(replicas) / 10):
                for replica in replicas:
                    for job in await self._members(keys.claims(self._prefix, replica)):
                        await self._release(replica, job)
                    await self._forget(replica)
        except (RedisError, OSError, TimeoutError) as error:
            log.warning("jobs of ended replicas go back when their leases end: %s", error)
        for replica in replicas:
            self._state.forget(replica)

    async def _members(self, key: str) -> list[str]:
        found: Any = await self._redis.smembers(key)
        return sorted(one.decode() for one in found)

    async def _release(self, replica: str, job: str) -> None:
        owner: Any = await self._redis.hgetall(keys.owner(self._prefix, job))
        if owner.get(b"replica", b"").decode() != replica:
            return
        call = scripts.release(
            self._prefix, queue=owner[b"queue"].decode(), job_id=job, execution_id=owner[b"execution"].decode()
        )
        await AsyncScripts(self._redis).run(call)

    async def _forget(self, replica: str) -> None:
        pipeline = self._redis.pipeline(transaction=True)
        pipeline.zrem(keys.replicas(self._prefix, self._pool_uid), replica)
        pipeline.delete(
            keys.report(self._prefix, replica),
            keys.drain(self._prefix, replica),
            keys.incarnation(self._prefix, replica),
            keys.reserved(self._prefix, replica),
        )
        await pipeline.execute()
