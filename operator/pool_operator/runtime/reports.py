"""Step 5 behind the reconciler's back: the newest status of each pool is handed to the Reporter, never waited for."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Final

from pool_operator.backends.base import Event, PoolObject, Reporter
from pool_operator.runtime.clock import Clock
from pool_operator.runtime.keyed_queue import KeyedQueue

log = logging.getLogger(__name__)
WRITERS: Final = 4
MOST_EVENTS: Final = 20


class Reports:
    """A pool's newer status replaces the one still waiting; events add up."""

    def __init__(self, reporter: Reporter, clock: Clock) -> None:
        self._reporter = reporter
        self._queue: KeyedQueue[str] = KeyedQueue(clock)
        self._waiting: dict[str, tuple[PoolObject, Mapping[str, object], list[Event]]] = {}

    def put(self, pool: PoolObject, status: Mapping[str, object], events: Sequence[Event]) -> None:
        earlier = self._waiting.get(pool.uid)
        gathered = [*(earlier[2] if earlier else ()), *events][-MOST_EVENTS:]
        self._waiting[pool.uid] = (pool, status, gathered)
        self._queue.add(pool.uid)

    def forget(self, uid: str) -> None:
        self._waiting.pop(uid, None)
        self._queue.forget(uid)

    async def write_forever(self) -> None:
        """One of WRITERS; a Reporter that fails is a supervision point of its own: scaling goes on."""
        while True:
            uid = await self._queue.get()
            waiting = self._waiting.pop(uid, None)
            try:
                if waiting is not None:
                    await self._reporter.report(*waiting)
            except Exception:
                log.exception("pool=%s its report failed", waiting[0].key if waiting else uid)
            finally:
                self._queue.done(uid)
