"""One Redis endpoint: its connection, push, poll, and what was seen last.

Before: Redis. After: runtime, which takes the last reading out of here without waiting, and is told when it changed.
One asyncio task per endpoint, so a slow one delays nobody else.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from typing import Final, TypeVar, cast

from pydantic import ValidationError
from redis.asyncio import Redis as AsyncRedis
from redis.exceptions import InvalidResponse

from pool_contract import keys, scripts
from pool_contract.messages import PoolSettings
from pool_contract.scripts import AsyncScripts, Call, EndpointState
from pool_contract.server_words import server_words
from pool_operator.backends.base import Credentials, Problem
from pool_operator.engine.types import Ended
from pool_operator.names import ConditionReason
from pool_operator.observe.calls import FAILURES, NOT_UNDERSTOOD, Count, Time, counted, in_our_words
from pool_operator.observe.connection import CALL_TIMEOUT_SECONDS, EndpointKey, connect
from pool_operator.observe.ended import START, EndedRuns
from pool_operator.observe.problems import EndpointError, classify, read_only
from pool_operator.observe.push import Push
from pool_operator.observe.readings import changed_pools
from pool_operator.observe.seen import Failure, Seen
from pool_operator.observe.skew import steady_skew

log = logging.getLogger(__name__)
T = TypeVar("T")

COALESCE_SECONDS: Final = 0.005
POLL_WITHOUT_PUSH_SECONDS: Final = 1.0
FIRST_BACKOFF_SECONDS: Final = 0.1
LONGEST_BACKOFF_SECONDS: Final = 10.0
SHORT_SESSION_SECONDS: Final = 1.0


class Endpoint:
    """Reads one endpoint for all pools on it.

    Args:
        key, credentials: where and as whom.
        poll_seconds: period of the poll; without push it is at most POLL_WITHOUT_PUSH_SECONDS.
        stale_seconds: an older reading is no reading.
        changed: told the pool UIDs whose reading changed, and whether more work waits than before.
        count: told the result of each call and its seconds, for metrics.
    """

    def __init__(
        self,
        key: EndpointKey,
        credentials: Credentials,
        *,
        poll_seconds: float,
        stale_seconds: float,
        clock: Time,
        changed: Callable[[Iterable[str], bool], None],
        count: Count = lambda _result, _seconds: None,
    ) -> None:
        self.key = key
        self.push = False
        self._credentials = credentials
        self._poll_seconds = poll_seconds
        self._stale_seconds = stale_seconds
        self._clock = clock
        self._changed = changed
        self._count = count
        self._pools: dict[str, tuple[str, ...]] = {}  # UID -> queues
        self._ended: dict[str, EndedRuns] = {}
        self._skew: float | None = None
        self._poked = asyncio.Event()
        self._client: AsyncRedis | None = None
        self._seen: Seen | None = None
        self._failure: Failure | None = None
        self._strikes = 0

    # --- who is interested ------------------------------------------------------------------------------------

    def attach(self, pool_uid: str, queues: tuple[str, ...], cursor: tuple[int, int] = START) -> None:
        """Read these queues too, from now on, and the runs of the pool that ended after the cursor (Memory.cursor)."""
        known = self._ended.get(pool_uid)
        if known is None or not known.follows(cursor):
            self._ended[pool_uid] = EndedRuns(cursor)
        if self._pools.get(pool_uid) != queues:
            self._pools[pool_uid] = queues
            if self._seen is not None:  # the last reading knows nothing of these queues
                self._seen = self._seen.without(pool_uid)
            self.poke()

    def detach(self, pool_uid: str) -> None:
        self._pools.pop(pool_uid, None)
        self._ended.pop(pool_uid, None)

    @property
    def attached(self) -> Mapping[str, tuple[str, ...]]:
        return self._pools

    @property
    def prefix(self) -> str:
        return self.key.place.prefix

    def queues(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(name for names in self._pools.values() for name in names))

    # --- what is known ------------------------------------------------------------------------------------------

    def latest(self, pool_uid: str) -> Seen | Failure | None:
        """The last reading if it covers the pool and is fresh, else why there is none; None: not read yet."""
        if self._failure is not None:
            return self._failure
        seen = self._seen
        if seen is None or pool_uid not in seen.pools:
            return None
        age = self._clock.monotonic() - seen.asked_monotonic
        if age > self._stale_seconds:
            message = f"Redis at {self.key} has not answered for {self._stale_seconds:g} s"
            problem = Problem(reason=ConditionReason.QUEUE_UNREACHABLE, message=message)
            return Failure(since_unix=self._clock.unix() - age, problem=problem)
        return seen

    def ended_runs(self, pool_uid: str, cursor: tuple[int, int]) -> tuple[Ended, ...]:
        """Runs of the pool that ended after the cursor, oldest first, as far as they were read."""
        runs = self._ended.get(pool_uid)
        return runs.after(cursor) if runs is not None else ()

    def poke(self) -> None:
        """Read again as soon as may be."""
        self._poked.set()

    async def call(self, call: Call[T]) -> T:
        """Run a script of the contract, within CALL_TIMEOUT_SECONDS.

        Raises:
            EndpointError: it did not come through (or perhaps only its answer did not).
            StaleEpochError: a newer leader has acted.
        """
        client = self._client
        if client is None:
            raise EndpointError(self._why_not())
        with in_our_words(str(self.key)), counted(self._count, self._clock):
            async with asyncio.timeout(CALL_TIMEOUT_SECONDS):
                return await AsyncScripts(client).run(call)

    async def published(self) -> Mapping[str, PoolSettings]:
        """Settings of all pools that ever published here, by UID; unreadable ones are left out."""
        client = self._client
        if client is None:
            raise EndpointError(self._why_not())
        with in_our_words(str(self.key)), counted(self._count, self._clock):
            async with asyncio.timeout(CALL_TIMEOUT_SECONDS):
                raw = cast(dict[bytes, bytes], await client.hgetall(keys.pools(self.prefix)))
        found: dict[str, PoolSettings] = {}
        for uid, text in raw.items():
            try:
                found[uid.decode()] = PoolSettings.model_validate_json(text)
            except (ValidationError, UnicodeDecodeError):
                log.warning("endpoint=%s settings of a pool cannot be read, left alone", self.key)
        return found

    def _why_not(self) -> Problem:
        if self._failure is not None:
            return self._failure.problem
        return Problem(reason=ConditionReason.NOT_YET_KNOWN, message=f"Redis at {self.key} is not connected yet")

    # --- the task -----------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Connect, subscribe, read; again and again until cancelled."""
        while True:
            began = self._clock.monotonic()
            # a task of its own: before Python 3.13 a TaskGroup whose child fails leaves its task marked as cancelled, and
            # drops a real cancellation that comes at that moment. Here, whatever this task is told stays told
            session = asyncio.create_task(self._session(), name=f"session {self.key}")
            try:
                await session
            except* FAILURES as group:
                self._failed(_first(group))
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise asyncio.CancelledError
            await self._clock.sleep(self._backoff(self._clock.monotonic() - began))

    async def _session(self) -> None:
        async with self._connected() as client:
            push = Push(client, self.key.place, poke=self.poke, watched=self.queues)
            try:
                subscribed = await push.subscribe()
                async with asyncio.TaskGroup() as tasks:
                    if subscribed:
                        tasks.create_task(push.listen(), name=f"listen {self.key}")
                        tasks.create_task(push.test_forever(self._clock), name=f"push-test {self.key}")
                    tasks.create_task(self._read_forever(client, push), name=f"read {self.key}")
            finally:
                await push.close()

    @asynccontextmanager
    async def _connected(self) -> AsyncIterator[AsyncRedis]:
        client = connect(self.key, self._credentials)
        self._client = client
        try:
            yield client
        finally:
            self._client = None
            self.push = False
            await client.aclose()

    async def _read_forever(self, client: AsyncRedis, push: Push) -> None:
        while True:
            self._poked.clear()  # what happens from here on makes another reading
            started = self._clock.monotonic()
            await self._read(client, started)
            self.push = push.works
            await self._pause(started)

    async def _pause(self, started: float) -> None:
        """Until an event or the period of the poll; events within COALESCE_SECONDS share one reading."""
        period = self._poll_seconds if self.push else min(self._poll_seconds, POLL_WITHOUT_PUSH_SECONDS)
        try:
            async with asyncio.timeout(period):
                await self._poked.wait()
        except TimeoutError:
            return
        rest = COALESCE_SECONDS - (self._clock.monotonic() - started)
        if rest > 0:
            await asyncio.sleep(rest)

    async def _read(self, client: AsyncRedis, started: float) -> None:
        pools = dict(self._pools)
        asked_unix = self._clock.unix()
        known = {uid: runs.cursor for uid, runs in self._ended.items() if runs.cursor is not None}
        call = scripts.read(self.prefix, queues=self.queues(), pools=tuple(pools), runs_after=known)
        try:
            with counted(self._count, self._clock):
                async with asyncio.timeout(CALL_TIMEOUT_SECONDS):
                    state = await AsyncScripts(client).run(call)
        except NOT_UNDERSTOOD as error:
            log.debug("endpoint=%s the reading cannot be understood", self.key, exc_info=True)
            raise InvalidResponse("its data cannot be understood, is it another program's?") from error
        if state.replication_role != "master":
            self._fail(read_only(str(self.key)))
            return
        covered = frozenset(uid for uid, queues in pools.items() if self._pools.get(uid) == queues)
        before, recovered = self._seen, self._failure is not None
        skew = steady_skew(self._skew, asked=asked_unix, answered=self._clock.unix(), at=state.at)
        self._seen = Seen(state=state, asked_unix=asked_unix, asked_monotonic=started, skew_seconds=skew, pools=covered)
        self._skew = skew
        self._take_in(state, skew)
        self._failure, self._strikes = None, 0
        if recovered or before is None:
            self._changed(covered, False)
            return
        changed, grown = changed_pools(before.state, state, {uid: pools[uid] for uid in covered}, known=before.pools)
        if changed:
            self._changed(changed, grown)

    def _take_in(self, state: EndpointState, skew: float) -> None:
        for uid, pool in state.pools.items():
            runs = self._ended.get(uid)
            if runs is not None:
                runs.take_in(pool, skew)
        if any(pool.more for pool in state.pools.values()):
            self.poke()

    def _failed(self, error: BaseException) -> None:
        """One failure after a good reading is answered with a new connection at once; the second is told."""
        self._strikes += 1
        problem = classify(error, str(self.key))
        log.debug("endpoint=%s strike %d: %s %s", self.key, self._strikes, type(error).__name__, server_words(error))
        if self._seen is None or self._strikes > 1:
            self._fail(problem)

    def _fail(self, problem: Problem) -> None:
        old = self._failure
        if old is not None and old.problem.reason == problem.reason:
            return  # sentences may differ from try to try; users see the first
        self._failure = Failure(since_unix=old.since_unix if old else self._clock.unix(), problem=problem)
        log.warning("endpoint=%s %s", self.key, problem.message)
        self._changed(tuple(self._pools), False)

    def _backoff(self, lasted: float) -> float:
        """After a session of so many seconds: at once, unless sessions fail again and again, or right after a reading."""
        if self._strikes <= 1 and self._failure is None and lasted >= SHORT_SESSION_SECONDS:
            return 0.0
        ceiling = min(LONGEST_BACKOFF_SECONDS, max(self._poll_seconds, FIRST_BACKOFF_SECONDS))
        seconds = min(ceiling, FIRST_BACKOFF_SECONDS * 2.0 ** min(self._strikes, 10))
        return seconds * random.uniform(0.5, 1.0)  # noqa: S311 - jitter, not a secret


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
