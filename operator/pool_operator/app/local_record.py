"""What happened in a run on one machine: changes of replicas, with their reasons, and what is wrong now."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pool_operator.backends.base import Applied, Event, PoolObject
from pool_operator.engine.state import Spend
from pool_operator.engine.types import Decision, Observed, Reading
from pool_operator.names import Condition
from pool_operator.runtime.measure import headroom_slots
from pool_operator.runtime.spending import restored

TOLD = (
    Condition.READY,
    Condition.QUEUE_REACHABLE,
    Condition.TEMPLATE_VALID,
    Condition.CAPACITY_AVAILABLE,
    Condition.BUDGET_AVAILABLE,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """A decision that asked for another number of replicas than the one before."""

    at: float  # unix seconds
    before: int
    after: int
    reason: str
    message: str


class Record:
    """A hook of the controller and its Reporter: keeps, writes nothing."""

    def __init__(self) -> None:
        self.changes: list[Change] = []
        self.decision: Decision | None = None
        self.observed: Observed | None = None
        self.problems: dict[str, str] = {}
        """Condition type -> sentence, of what is wrong now."""
        self.spend: Spend | None = None
        """As of the last checkpoint; None without a price."""

    def on_decision(self, _pool: PoolObject, decision: Decision, observed: Observed, _applied: Applied) -> None:
        before = self.decision.replicas if self.decision else observed.wanted
        if decision.replicas != before:
            self.changes.append(
                Change(
                    at=decision.at,
                    before=before,
                    after=decision.replicas,
                    reason=str(decision.reason),
                    message=decision.message,
                )
            )
        self.decision, self.observed = decision, observed

    @property
    def headroom_slots(self) -> int:
        """Slots kept ready for work that is not there yet."""
        return headroom_slots(self.decision) if self.decision else 0

    async def report(self, _pool: PoolObject, status: Mapping[str, Any], _events: Sequence[Event]) -> None:
        """Keep the sentences of the conditions that are not as they should be, and the money."""
        self.spend = restored(status.get("spend"))
        self.problems = {
            str(one["type"]): str(one["message"])
            for one in status.get("conditions", ())
            if one["type"] in TOLD and one["status"] == "False"
        }

    def done(self, min_replicas: int) -> bool:
        """Nothing waits, runs or is planned, and no more replicas are left than the minimum."""
        if self.observed is None or not isinstance(self.observed.reading, Reading):
            return False
        work = sum(
            one.waiting + one.running + one.expired + one.intermediate + one.due + one.scheduled
            for one in self.observed.reading.queues.values()
        )
        replicas = self.observed.replicas
        return work == 0 and len(replicas) <= min_replicas and all(one.claims == 0 for one in replicas)
