"""Did a lowering of ours hit a replica at work? It must never; so it is watched, counted and alerted on. Pure.

A lower number does not name the replicas that go: on Kubernetes the ReplicaSet chooses. What should go are replicas
proved empty under their drain mark. A removal by somebody else (an eviction, `kubectl delete pod`) is none of ours: the
number is kept, another replica comes, and the drained ones go all the same. So a hit is exactly this: a replica that
held a claim went, and of the replicas that our lowering was to take one too few had gone when the number was reached.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field

from pool_operator.engine.types import Replica, ReplicaPhase


@dataclass(slots=True)
class HitWatch:
    """For one pool, from pass to pass.

    Somebody else's removal of a working replica in the moments between our write and its effect cannot be told from a
    hit, and counts as one: an alert too many is better than one too few.
    """

    owed: int = 0  # replicas that our lowerings have yet to take
    drained: set[str] = field(default_factory=set)  # those that may go: marked and proved empty
    struck: set[str] = field(default_factory=set)  # others that went meanwhile, and held a claim
    active: dict[str, bool] = field(default_factory=dict)  # as last seen -> held a claim then

    def lowered(self, to: int, drained: Collection[str]) -> None:
        """We have just asked for this lower number."""
        self.owed = max(self.owed, len(self.active) - to)
        self.drained |= set(drained)

    def look(
        self, replicas: Iterable[Replica], wanted: int, *, unmarked: Collection[str], excused: Collection[str]
    ) -> int:
        """Hits that are certain now.

        Args:
            replicas: as seen now.
            wanted: replicas asked for.
            unmarked: may take jobs again.
            excused: went by an eviction, or with their node.
        """
        shown = {one.id: one for one in replicas}
        active = {one.id: _works(one) for one in shown.values() if one.phase is not ReplicaPhase.TERMINATING}
        self.drained -= set(unmarked)
        for gone in self.active.keys() - active.keys():
            worked = self.active[gone] or (gone in shown and _works(shown[gone]))
            if gone in self.drained:
                self.owed -= self.owed > 0
            elif worked and gone not in excused:
                self.struck.add(gone)
        self.active = active
        if len(active) > wanted:
            return 0
        # the number is reached: what the drained ones did not pay was paid by others
        hits = min(self.owed, len(self.struck))
        self.owed, self.drained, self.struck = 0, set(), set()
        return hits


def _works(one: Replica) -> bool:
    return one.claims is None or one.claims > 0
