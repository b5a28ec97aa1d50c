"""Replica-seconds of one pool, as they pass: what cost is counted from."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from pool_operator.engine.types import Blocked, Replica


@dataclass(slots=True)
class Meter:
    """Counts from its first look on. Times are unix seconds of this machine.

    A replica counts from its creation until it is seen no more; each change of replicas wakes a look, so that the end
    is known to within moments. One that has no node is not counted meanwhile.
    """

    looked_at: float | None = None
    seen: frozenset[str] = field(default_factory=frozenset)

    def look(self, replicas: Iterable[Replica], now: float) -> float:
        """Replica-seconds since the look before this one."""
        since, before = self.looked_at, self.seen
        counted = [one for one in replicas if one.blocked is not Blocked.UNSCHEDULABLE]
        self.looked_at, self.seen = now, frozenset(one.id for one in counted)
        if since is None or now <= since:
            return 0.0
        here = sum(now - (since if one.id in before else min(now, max(since, one.created_at))) for one in counted)
        return here + (now - since) * len(before - self.seen)
