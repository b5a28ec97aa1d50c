"""Money: what replicas have cost this day and this month.

Each replica that exists costs, from its creation until it is gone: while it starts, works, idles and ends. One that no
node has room for costs nothing meanwhile.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from pool_operator.engine.calendar import Span, today
from pool_operator.engine.state import Spend
from pool_operator.engine.types import Blocked, Observed, PoolSpec, Replica

HOUR: Final = 3600.0
_NO_ROOM: Final = Blocked.UNSCHEDULABLE  # by name: looking a member of an enum up is slow, and there are many replicas


def paid(observed: Observed) -> list[Replica]:
    """The replicas that cost."""
    return [one for one in observed.replicas if one.blocked is not _NO_ROOM]


def accrue(spec: PoolSpec, observed: Observed, spend: Spend, now: float) -> Spend:
    """Count the time since the decision before. Replicas that are new since then are billed from their creation.

    For the others, a gap (nobody decided, an operator restarted) is billed at the higher of the two rates, before it
    and after. With nothing known, what is there is billed from its creation, or the beginning of the day and the month.
    A new day or month begins with what was spent in it. A clock that goes back bills nothing twice and forgets nothing.

    2 replicas at 0.60 an hour, half an hour later 3, the third one 10 minutes old: 2 × 0.30 + 0.10 = 0.70.
    """
    if spec.budget is None:
        return spend
    price = spec.budget.price_per_replica_hour
    replicas = paid(observed)
    rate = price * len(replicas)
    calendar = today(now, spec.budget.time_zone)
    tomorrow = today(calendar.day.end, spec.budget.time_zone)
    if spend.at is not None and now < spend.at:
        # by however many days: what was spent goes on as tomorrow's, which is counted today too
        day, month = min(spend.day, tomorrow.day.name), min(spend.month, tomorrow.month.name)
        return replace(spend, at=now, rate_per_hour=rate, day=day, month=month)
    since = spend.at
    new = [one.created_at for one in replicas if since is None or one.created_at > since]
    before = max(spend.rate_per_hour, price * (len(replicas) - len(new)))

    def cost(span: Span) -> float:
        start = span.start if since is None else max(since, span.start)
        young = sum(max(0.0, now - max(created, start)) for created in new)
        return (before * max(0.0, now - start) + price * young) / HOUR

    def amount(span: Span, name: str, counted: float, following: Span) -> tuple[str, float]:
        # after a clock that went back over midnight, the day that had begun goes on
        goes_on = span.name <= name <= following.name
        return (name, counted + cost(span)) if goes_on else (span.name, cost(span))

    day, day_amount = amount(calendar.day, spend.day, spend.day_amount, tomorrow.day)
    month, month_amount = amount(calendar.month, spend.month, spend.month_amount, tomorrow.month)
    return Spend(at=now, rate_per_hour=rate, day=day, day_amount=day_amount, month=month, month_amount=month_amount)
