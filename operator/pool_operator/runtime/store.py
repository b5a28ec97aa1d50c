"""What this process knows of each pool between two looks at it.

Keyed by UID: a deleted pool that still ends its work and its successor of the same name live side by side.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from pool_contract.messages import PoolSettings
from pool_operator.api.models import ProcessingPoolSpec
from pool_operator.backends.base import PoolKey, PoolObject, Problem
from pool_operator.engine.state import Memory
from pool_operator.engine.types import Decision
from pool_operator.names import ConditionReason
from pool_operator.observe.connection import Place
from pool_operator.observe.endpoint import Endpoint
from pool_operator.runtime.hits import HitWatch
from pool_operator.runtime.meter import Meter
from pool_operator.runtime.suspicion import Suspicion

MOST_EXCUSED: Final = 500


@dataclass(slots=True)
class Marks:
    """Drain marks that we changed, each with the time of the change: a reading asked for earlier does not show them."""

    changes: dict[str, tuple[float, bool]] = field(default_factory=dict)

    def changed(self, replicas: Mapping[str, bool], at_monotonic: float) -> None:
        for replica, drained in replicas.items():
            self.changes[replica] = (at_monotonic, drained)

    def newer_than(self, asked_monotonic: float) -> dict[str, bool]:
        """Marks that the reading cannot know; older ones are dropped."""
        self.changes = {uid: change for uid, change in self.changes.items() if change[0] >= asked_monotonic}
        return {uid: drained for uid, (_, drained) in self.changes.items()}


@dataclass(slots=True)
class Entry:
    """One pool, from the first sight of it until it is retired."""

    pool: PoolObject
    spec: ProcessingPoolSpec | None = None  # the last readable one
    memory: Memory = field(default_factory=Memory)
    endpoint: Endpoint | None = None
    endpoint_problem: tuple[float, Problem] | None = None  # since (unix), why there is no endpoint
    deleted: bool = False
    deleted_at: float = 0.0  # monotonic
    settings: PoolSettings | None = None  # as last published
    settings_at: float = float("-inf")  # monotonic
    write_problem: Problem | None = None  # Redis is read but refuses our writes
    decision: Decision | None = None
    status: Mapping[str, object] = field(default_factory=dict)
    status_at: float = float("-inf")  # monotonic
    meter: Meter = field(default_factory=Meter)
    hits: HitWatch = field(default_factory=HitWatch)
    errors: frozenset[ConditionReason] = frozenset()  # troubles that stand, already counted
    marks: Marks = field(default_factory=Marks)
    suspicion: Suspicion = field(default_factory=Suspicion)
    deadlines_told: dict[str, float] = field(default_factory=dict)
    excused: dict[str, None] = field(default_factory=dict)  # replicas whose losses are no strikes; ids never come again

    def excuse(self, replicas: Iterable[str]) -> None:
        """Remember replicas whose losses are no strikes; of very many the oldest are forgotten."""
        self.excused |= dict.fromkeys(replicas)
        for old in tuple(self.excused)[:-MOST_EXCUSED]:
            del self.excused[old]

    @property
    def ending(self) -> bool:
        return self.deleted or self.pool.deleting

    @property
    def queues(self) -> tuple[str, ...]:
        return tuple(queue.name for queue in self.spec.queues) if self.spec else ()

    @property
    def place(self) -> Place | None:
        """Where the jobs are, as the spec says; None without a spec.redis."""
        redis = self.spec.redis if self.spec else None
        if redis is None:
            return None
        return Place(host=redis.host.lower(), port=redis.port, database=redis.database, prefix=redis.key_prefix)

    @property
    def age_order(self) -> tuple[float, str]:
        return (self.pool.created_at, self.pool.uid)


class Store:
    """All pools; finds those that share a queue."""

    def __init__(self) -> None:
        self._entries: dict[str, Entry] = {}
        self._by_queue: dict[tuple[Place, str], set[str]] = {}

    def __iter__(self) -> Iterator[Entry]:
        return iter(tuple(self._entries.values()))

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, uid: str) -> Entry | None:
        return self._entries.get(uid)

    def named(self, key: PoolKey) -> list[Entry]:
        return [entry for entry in self._entries.values() if entry.pool.key == key]

    def put(self, pool: PoolObject) -> tuple[Entry, set[str]]:
        """Take a pool in, or its change; also the UIDs of others that share, or shared, a queue with it."""
        entry = self._entries.get(pool.uid)
        if entry is None:
            entry = self._entries[pool.uid] = Entry(pool=pool, spec=pool.spec, status=pool.status)
        affected = self._unindex(entry)
        entry.pool = pool
        if pool.spec is not None:
            entry.spec = pool.spec
        return entry, (affected | self._index(entry)) - {pool.uid}

    def deleted(self, uid: str) -> tuple[Entry | None, set[str]]:
        """The pool is gone at its source: it shares with nobody any more."""
        entry = self._entries.get(uid)
        if entry is None:
            return None, set()
        entry.deleted = True
        return entry, self._unindex(entry) - {uid}

    def forget(self, uid: str) -> None:
        entry = self._entries.pop(uid, None)
        if entry is not None:
            self._unindex(entry)

    def sharing(self, entry: Entry) -> tuple[Entry, str] | None:
        """The older pool that serves one of this pool's queues already, and the queue's name."""
        place = entry.place
        if place is None or entry.ending:
            return None
        for queue in entry.queues:
            for uid in self._by_queue.get((place, queue), ()):
                other = self._entries[uid]
                if uid != entry.pool.uid and other.age_order < entry.age_order:
                    return other, queue
        return None

    def _index(self, entry: Entry) -> set[str]:
        place = entry.place
        if place is None or entry.ending:
            return set()
        found: set[str] = set()
        for queue in entry.queues:
            users = self._by_queue.setdefault((place, queue), set())
            users.add(entry.pool.uid)
            found |= users
        return found

    def _unindex(self, entry: Entry) -> set[str]:
        found: set[str] = set()
        place = entry.place
        if place is None:
            return found
        for queue in entry.queues:
            users = self._by_queue.get((place, queue))
            if users is None:
                continue
            users.discard(entry.pool.uid)
            found |= users
            if not users:
                del self._by_queue[place, queue]
        return found
