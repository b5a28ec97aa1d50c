"""What this process knows of each pool between two looks at it.

Keyed by UID: a deleted pool that still ends its work and its successor of the same name live side by side.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from pool_contract.messages import PoolSettings
from pool_operator.api.models import ProcessingPoolSpec
from pool_operator.backends.base import PoolKey, PoolObject, Problem
from pool_operator.engine.state import Memory, Spend
from pool_operator.engine.types import Decision, Primary
from pool_operator.names import ConditionReason
from pool_operator.observe.connection import Place
from pool_operator.observe.endpoint import Endpoint
from pool_operator.runtime.hits import HitWatch
from pool_operator.runtime.meter import Meter
from pool_operator.runtime.spending import restored
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
    remembered: bool = False  # what the last leader had learned was asked for
    forgetful_since: float | None = None  # monotonic: Redis can be read, but does not tell it
    stored_spend: Spend = field(default_factory=Spend)  # of the status, as the last leader left it
    endpoint: Endpoint | None = None
    endpoint_problem: tuple[float, Problem] | None = None  # since (unix), why there is no endpoint
    deleted: bool = False
    deleted_at: float = 0.0  # monotonic
    settings: PoolSettings | None = None  # as last published
    settings_at: float = float("-inf")  # monotonic
    granted: float | None = None  # allowance as last written
    granted_at: float = float("-inf")  # monotonic
    write_problem: Problem | None = None  # Redis is read but refuses our writes
    decision: Decision | None = None
    offered: Primary | None = None  # what pools that overflow for this one are told of it
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

    def start_from(self, status: Mapping[str, object]) -> None:
        """Go on from a status that this process has not written."""
        self.status = status
        self.stored_spend = restored(status.get("spend")) or Spend()
        self.memory = replace(self.memory, spend=self.stored_spend)

    def recall(self, memory: Memory | None) -> None:
        """Go on with what the last leader had learned; of its ledger and the status the newer one knows the money.

        What was counted since then by this process is counted again, from there: a gap is billed (engine/spend.py).
        """
        self.remembered = True
        if memory is None:
            return
        from_ledger = memory.spend.at is not None and memory.spend.at >= (self.stored_spend.at or 0.0)
        self.memory = memory if from_ledger else replace(memory, spend=self.memory.spend)

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
    def helps(self) -> PoolKey | None:
        """The pool that this one overflows for."""
        overflow = self.spec.overflow if self.spec else None
        if overflow is None:
            return None
        return PoolKey(namespace=self.pool.key.namespace, name=overflow.for_pool_ref.name)

    @property
    def age_order(self) -> tuple[float, str]:
        return (self.pool.created_at, self.pool.uid)


class Store:
    """All pools; finds those that share a queue, and those that overflow for another one."""

    def __init__(self) -> None:
        self._entries: dict[str, Entry] = {}
        self._by_queue: dict[tuple[Place, str], set[str]] = {}
        self._by_helped: dict[PoolKey, set[str]] = {}

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
            entry = self._entries[pool.uid] = Entry(pool=pool, spec=pool.spec)
        if entry.decision is None and not entry.remembered:  # until we lead, another process writes the status
            entry.start_from(pool.status)
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
        """The older pool that serves one of this pool's queues already, and the queue's name.

        Pools that overflow for one another, or for the same one, share their queues on purpose.
        """
        place = entry.place
        if place is None or entry.ending:
            return None
        for queue in entry.queues:
            for uid in self._by_queue.get((place, queue), ()):
                other = self._entries[uid]
                if uid != entry.pool.uid and other.age_order < entry.age_order and not _related(entry, other):
                    return other, queue
        return None

    def helped(self, entry: Entry) -> Entry | None:
        """The pool that this one overflows for, if there is one of that name."""
        if entry.helps is None:
            return None
        living = [one for one in self.named(entry.helps) if not one.ending and one is not entry]
        return max(living, key=lambda one: one.age_order, default=None)

    def overflowing(self, entry: Entry) -> list[Entry]:
        """The pools that overflow for this one."""
        return [self._entries[uid] for uid in self._by_helped.get(entry.pool.key, ()) if uid != entry.pool.uid]

    def _index(self, entry: Entry) -> set[str]:
        place = entry.place
        if place is None or entry.ending:
            return set()
        if entry.helps is not None:
            self._by_helped.setdefault(entry.helps, set()).add(entry.pool.uid)
        found: set[str] = set()
        for queue in entry.queues:
            users = self._by_queue.setdefault((place, queue), set())
            users.add(entry.pool.uid)
            found |= users
        return found

    def _unindex(self, entry: Entry) -> set[str]:
        found: set[str] = set()
        if entry.helps is not None and (helpers := self._by_helped.get(entry.helps)) is not None:
            helpers.discard(entry.pool.uid)
            if not helpers:
                del self._by_helped[entry.helps]
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


def _related(one: Entry, other: Entry) -> bool:
    if one.helps is not None and one.helps in {other.pool.key, other.helps}:
        return True
    return other.helps is not None and other.helps == one.pool.key
