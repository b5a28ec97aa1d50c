"""What a pool has done and cost by its ledger: jobs, run times, failures, replica-hours, money."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, tzinfo
from zoneinfo import ZoneInfo

from pool_contract.messages import RunOutcome
from pool_operator.engine.record import Call, Checkpoint, Entry
from pool_operator.engine.state import Spend
from pool_operator.engine.types import Budget, Ended
from pool_operator.runtime.meter import Meter


@dataclass(slots=True, kw_only=True)
class Account:
    """Of one month, or of all that is recorded. Times are unix seconds."""

    month: str | None = None  # "2026-11"
    zone: tzinfo
    since: float | None = None
    until: float | None = None
    decisions: int = 0  # calls of `decide`
    runs: Counter[RunOutcome] = field(default_factory=Counter)
    run_seconds: list[float] = field(default_factory=list)  # of runs that finished
    replica_seconds: float = 0.0
    cost: float = 0.0
    most_replicas: int = 0
    gaps: int = 0
    budget: Budget | None = None  # the last one
    spend: Spend | None = None  # what the budget was held against, at the last checkpoint

    @property
    def ended(self) -> int:
        """Runs that ended by themselves; one that was lost comes again."""
        return sum(number for outcome, number in self.runs.items() if outcome is not RunOutcome.LOST)

    @property
    def failed(self) -> int:
        return self.ended - self.runs[RunOutcome.FINISHED]

    @property
    def mean_run_seconds(self) -> float | None:
        return math.fsum(self.run_seconds) / len(self.run_seconds) if self.run_seconds else None

    @property
    def cost_per_job(self) -> float | None:
        finished = self.runs[RunOutcome.FINISHED]
        return self.cost / finished if finished and self.budget else None


def account(entries: Iterable[Entry], *, month: str | None, zone: tzinfo | None = None) -> Account:
    """Count what the entries tell of; with `month` only what falls into it, in the budget's time zone.

    Money is what replicas cost from their creation until they are seen no more, at the price of that time.
    """
    found = Account(month=month, zone=zone or ZoneInfo("UTC"))
    meter, taken = Meter(), set[tuple[int, int]]()
    price = 0.0
    began: float | None = None
    for entry in entries:
        if isinstance(entry, Checkpoint):
            found.budget = entry.spec.budget or found.budget
            found.spend = entry.memory.spend if _within(found, entry.at) else found.spend
            price = entry.spec.budget.price_per_replica_hour if entry.spec.budget else 0.0
            if zone is None and entry.spec.budget is not None:
                found.zone = ZoneInfo(entry.spec.budget.time_zone)
        elif isinstance(entry, Call):
            seconds = meter.look(entry.observed.replicas, entry.at)
            began = entry.at if began is None else began
            # a ledger's first call is told runs of before: they are learned from, not counted
            new = [one for one in entry.observed.ended if one.id not in taken and one.at >= began]
            taken.update(one.id for one in entry.observed.ended)
            _count_runs(found, new)
            if _within(found, entry.at):
                _count_call(found, entry, seconds, price)
        else:
            found.gaps += _within(found, entry.at or found.until or 0.0)
    return found


def _count_call(found: Account, call: Call, seconds: float, price: float) -> None:
    found.since = call.at if found.since is None else found.since
    found.until = call.at
    found.decisions += 1
    found.replica_seconds += seconds
    found.cost += seconds / 3600 * price
    found.most_replicas = max(found.most_replicas, len(call.observed.replicas))


def _count_runs(found: Account, runs: Iterable[Ended]) -> None:
    for run in runs:
        if _within(found, run.at):
            found.runs[run.outcome] += 1
            if run.outcome is RunOutcome.FINISHED:
                found.run_seconds.append(run.seconds)


def _within(found: Account, at: float) -> bool:
    return found.month is None or datetime.fromtimestamp(at, found.zone).strftime("%Y-%m") == found.month
