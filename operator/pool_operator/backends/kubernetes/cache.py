"""The operator's picture of the cluster: pools and the Deployments, ReplicaSets and Pods that are ours.

Before: source.py (watch) and resync.py (LIST). After: view.py, by way of backend.py. Two rules keep it right:
a fact never replaces a newer one (a LIST and the watch race), and a deleted object does not come back at a version that
it had before (a LIST that began before the deletion would otherwise bring it back until the next one). It may come back
at a newer one: to a watch by label, an object whose label is taken away looks deleted, until the label is put back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Final, Generic, TypeVar

from pool_operator.backends.base import PoolKey
from pool_operator.backends.kubernetes.objects import DeploymentFact, PodFact, ReplicaSetFact
from pool_operator.backends.kubernetes.view import Facts

REMEMBER_SECONDS: Final = 900.0
"""How long the cause of a pod's end is kept: longer than any lease, so that reclaim still finds it."""
NEVER: Final = 2**63
"""Above any resourceVersion: an object deleted before it was seen comes back at none."""

F = TypeVar("F", DeploymentFact, ReplicaSetFact, PodFact)


class Shelf(Generic[F]):
    """Facts of one kind, by UID and by pool."""

    def __init__(self) -> None:
        self._by_uid: dict[str, F] = {}
        self._by_pool: dict[str, dict[str, F]] = {}
        self._gone: dict[str, tuple[int, float]] = {}  # UID -> last version, monotonic time of its deletion

    def put(self, fact: F) -> bool:
        """Keep the fact; False if it is older than what is there, or from before the object's deletion."""
        uid = fact.id.uid
        known = self._by_uid.get(uid)
        if fact.id.version <= self._gone.get(uid, (-1, 0.0))[0] or (known and known.id.version > fact.id.version):
            return False
        self._gone.pop(uid, None)
        if known is not None and known.id.pool_uid != fact.id.pool_uid:
            self._take_from_pool(known)  # somebody changed our label
        self._by_uid[uid] = fact
        self._by_pool.setdefault(fact.id.pool_uid, {})[uid] = fact
        return known != fact

    def drop(self, uid: str, at: float) -> F | None:
        fact = self._by_uid.pop(uid, None)
        self._gone[uid] = (NEVER if fact is None else fact.id.version, at)
        if fact is not None:
            self._take_from_pool(fact)
        return fact

    def _take_from_pool(self, fact: F) -> None:
        siblings = self._by_pool.get(fact.id.pool_uid, {})
        siblings.pop(fact.id.uid, None)
        if not siblings:
            self._by_pool.pop(fact.id.pool_uid, None)

    def of(self, pool_uid: str) -> tuple[F, ...]:
        return tuple(self._by_pool.get(pool_uid, {}).values())

    def missing_from(self, listed: Iterable[str], *, version: int) -> list[F]:
        """Facts that a LIST made at `version` should have shown and did not: deleted in a gap of the watch."""
        seen = set(listed)
        return [fact for uid, fact in self._by_uid.items() if uid not in seen and fact.id.version <= version]

    def forget_gone(self, before: float) -> None:
        self._gone = {uid: gone for uid, gone in self._gone.items() if gone[1] >= before}


@dataclass(slots=True)
class _Cost:
    value: int | None
    since: float


@dataclass(slots=True)
class ClusterCache:
    """All shelves, what is known about ended pods, and the wake-up call.

    Args:
        wake: called with the pool's key whenever something about its replicas changed.
        monotonic: clock for "how long has our watch shown this".
    """

    wake: Callable[[PoolKey], None]
    monotonic: Callable[[], float]
    synced: bool = False
    deployments: Shelf[DeploymentFact] = field(default_factory=Shelf)
    sets: Shelf[ReplicaSetFact] = field(default_factory=Shelf)
    pods: Shelf[PodFact] = field(default_factory=Shelf)
    _costs: dict[str, _Cost] = field(default_factory=dict)
    _excused: dict[str, dict[str, tuple[str, float]]] = field(default_factory=dict)  # pool UID -> pod UID -> why, when
    _out_of_memory: dict[str, float] = field(default_factory=dict)  # pool UID -> unix time, beyond the pod's own life

    def put_deployment(self, fact: DeploymentFact) -> None:
        if self.deployments.put(fact):
            self.wake(fact.id.key)

    def put_set(self, fact: ReplicaSetFact) -> None:
        if self.sets.put(fact):
            self.wake(fact.id.key)

    def put_pod(self, fact: PodFact) -> None:
        """Take a pod as the watch (never our own write's answer) showed it: cost ages count from here."""
        if not self.pods.put(fact):
            return
        known = self._costs.get(fact.id.uid)
        if known is None or known.value != fact.cost:
            self._costs[fact.id.uid] = _Cost(fact.cost, self.monotonic())
        self._note(fact)
        self.wake(fact.id.key)

    def _note(self, fact: PodFact) -> None:
        excused = self._excused.setdefault(fact.id.pool_uid, {})
        if fact.excuse:
            excused[fact.id.uid] = (fact.excuse, self.monotonic())
        else:
            excused.pop(fact.id.uid, None)  # the node came back, or the end turned out to be an OOM
        if fact.out_of_memory_at is not None:
            last = self._out_of_memory.get(fact.id.pool_uid, fact.out_of_memory_at)
            self._out_of_memory[fact.id.pool_uid] = max(last, fact.out_of_memory_at)

    def drop_deployment(self, uid: str) -> None:
        self._dropped(self.deployments.drop(uid, self.monotonic()))

    def drop_set(self, uid: str) -> None:
        self._dropped(self.sets.drop(uid, self.monotonic()))

    def drop_pod(self, uid: str) -> None:
        self._costs.pop(uid, None)
        self._dropped(self.pods.drop(uid, self.monotonic()))

    def _dropped(self, fact: DeploymentFact | ReplicaSetFact | PodFact | None) -> None:
        if fact is not None:
            self.wake(fact.id.key)

    def facts(self, pool_uid: str, name: str) -> Facts:
        """What is known of one pool's objects."""
        deployment = next((one for one in self.deployments.of(pool_uid) if one.id.name == name), None)
        owner = deployment.id.uid if deployment else ""
        return Facts(
            deployment=deployment,
            sets=tuple(one for one in self.sets.of(pool_uid) if one.id.owner_uid == owner),
            pods=self.pods.of(pool_uid),
            excused={uid: why for uid, (why, _) in self._excused.get(pool_uid, {}).items()},
            out_of_memory_at=self._out_of_memory.get(pool_uid),
        )

    def cost_seen_at(self) -> dict[str, float]:
        return {uid: cost.since for uid, cost in self._costs.items()}

    def forget_old(self) -> None:
        """Drop what is only kept for a while: tombstones, and causes of ended pods."""
        before = self.monotonic() - REMEMBER_SECONDS
        for shelf in (self.deployments, self.sets, self.pods):
            shelf.forget_gone(before)
        for pool_uid in list(self._excused):
            present = {pod.id.uid for pod in self.pods.of(pool_uid)}
            kept = {
                uid: entry for uid, entry in self._excused[pool_uid].items() if uid in present or entry[1] >= before
            }
            if kept:
                self._excused[pool_uid] = kept
            else:
                self._excused.pop(pool_uid)

    def retire(self, pool_uid: str) -> None:
        """Forget a deleted pool's leftovers."""
        for pod in self.pods.of(pool_uid):
            self._costs.pop(pod.id.uid, None)
        self._excused.pop(pool_uid, None)
        self._out_of_memory.pop(pool_uid, None)
