"""Money in a pool's status: what is left of the budget, and the checkpoint that a new leader counts on from. Pure.

A checkpoint is written when another number of replicas costs money, and never only because time passed: between two of
them what was spent is arithmetic. What a dead leader did not write is billed at the higher of the two rates
(engine/spend.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from math import isfinite
from typing import Any, Final

from pool_operator.engine.state import Spend
from pool_operator.engine.types import Budget, Decision, PoolSpec
from pool_operator.names import EXIT_SECONDS, ConditionReason, Limit

Json = dict[str, Any]
Verdict = tuple[str, str, str]  # status, reason, message
DRIFT: Final = 0.01
"""A checkpoint is written anew when its arithmetic is off by so much of an hour's price: a replica came and went unseen."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Purse:
    """The money of one day or one month."""

    period: str  # "day" | "month"
    name: str  # "2026-11-25", "2026-11"; "" before anything was counted
    spent: float
    soft: float | None
    hard: float | None

    @property
    def limits(self) -> dict[str, float]:
        """What the budget allows in it, by kind."""
        return {kind: amount for kind, amount in (("soft", self.soft), ("hard", self.hard)) if amount is not None}

    def lacks(self, kind: str, job_cost: float) -> bool:
        """Is this limit reached? A hard one as soon as it cannot pay another job, whatever that costs."""
        return self.limits[kind] - self.spent < job_cost if kind == "hard" else self.limits[kind] <= self.spent

    @property
    def field(self) -> str:
        return "daily" if self.period == "day" else "monthly"

    @property
    def ends(self) -> str:
        """The day on which the next period begins; "" before anything was counted.

        `2026-11-25` ends with the beginning of `2026-11-26`, `2026-12` with that of `2027-01-01`.
        """
        if not self.name:
            return ""
        if self.period == "day":
            return str(date.fromisoformat(self.name) + timedelta(days=1))
        year, month = map(int, self.name.split("-"))
        return str(date(year + month // 12, month % 12 + 1, 1))


def purses(budget: Budget, spend: Spend) -> tuple[Purse, Purse]:
    """The day's and the month's."""
    return (
        Purse(period="day", name=spend.day, spent=spend.day_amount, soft=budget.daily_soft, hard=budget.daily_hard),
        Purse(
            period="month",
            name=spend.month,
            spent=spend.month_amount,
            soft=budget.monthly_soft,
            hard=budget.monthly_hard,
        ),
    )


def job_cost(spec: PoolSpec) -> float:
    """What a claim may cost at most: the price of its replica until the job's time-out; 0 without a price.

    A job of at most two hours on a replica of 0.69 an hour: 1.38.
    """
    return 0.0 if spec.budget is None else spec.budget.price_per_replica_hour * spec.job_timeout_seconds / 3600


# --- the condition ------------------------------------------------------------------------------------------------


def start_cost(spec: PoolSpec) -> float:
    """What there must be for a replica to start: a job until its time-out, and the time until the replica is gone."""
    price = spec.budget.price_per_replica_hour if spec.budget else 0.0
    return job_cost(spec) + price * EXIT_SECONDS / 3600


def budget_available(budget: Budget | None, spend: Spend, decision: Decision, *, job_cost: float) -> Verdict:
    """Whether there is money, and when it goes on if not; the sentence holds still for as long as that is so.

    `job_cost`: what one more job may cost at most.
    """
    if budget is None:
        return ("Unknown", str(ConditionReason.NO_PRICE), "spec.budget.pricePerReplicaHour is not set")
    both = purses(budget, spend)
    if not any(one.limits for one in both):
        return ("Unknown", str(ConditionReason.NO_BUDGET), "no budget limits this pool")
    if (small := min((one.hard for one in both if one.hard is not None), default=job_cost)) < job_cost:
        message = (
            f"one job may cost {job_cost:.2f} (spec.budget.pricePerReplicaHour until spec.jobs.timeoutSeconds, and to end), "
            f"more than the hard budget of {small:g}: raise spec.budget or lower spec.jobs.timeoutSeconds"
        )
        return ("False", str(ConditionReason.BUDGET_EXHAUSTED), message)
    gone = [(one, kind, amount) for one in both for kind, amount in one.limits.items() if one.lacks(kind, job_cost)]
    if gone:
        hard = any(kind == "hard" for _, kind, _ in gone)
        reason = ConditionReason.BUDGET_EXHAUSTED if hard else ConditionReason.SOFT_BUDGET_EXHAUSTED
        fields = ", ".join(f"spec.budget.{one.field}.{kind} {amount:g}" for one, kind, amount in gone)
        until = max(one.ends for one, _, _ in gone)
        when = f"; it goes on by itself when {until} begins in {budget.time_zone}" if until else ""
        return ("False", str(reason), f"no money is left for another job: {fields}{when}")
    if Limit.BUDGET not in {decision.limited_by, *(limit for limit, _ in decision.without)}:
        return ("True", str(ConditionReason.OK), "money is left for the day and the month")
    if decision.replicas:
        return ("True", str(ConditionReason.OK), "money is left, but not for as many replicas as the work asks for")
    if budget.daily_soft is not None or not both[1].limits:  # no share of the month
        message = (
            "what is left of the hard budget is kept for replicas that still end; it goes on by itself when they have"
        )
        return ("False", str(ConditionReason.BUDGET_EXHAUSTED), message)
    message = (
        "what is left of spec.budget.monthly is kept for later days of the month; it goes on by itself when "
        f"{both[0].ends} begins in {budget.time_zone}"
    )
    return ("False", str(ConditionReason.SOFT_BUDGET_EXHAUSTED), message)


# --- the checkpoint -----------------------------------------------------------------------------------------------


def checkpoint(budget: Budget | None, spend: Spend, previous: object) -> Json | None:
    """What goes into `status.spend`; the previous one as long as its arithmetic holds.

    One replica at 0.69 an hour since ten o'clock: {"day": {"period": "2026-11-25", "amount": "1.38",
    "ratePerHour": "0.69", "since": "2026-11-25T10:00:00Z"}, …}. It is the same at eleven, when 2.07 are spent.
    """
    if budget is None or spend.at is None:
        return None
    old = restored(previous)
    if old is not None and isinstance(previous, Mapping) and _agree(old, spend, budget):
        return dict(previous)
    whole = float(int(spend.at))  # stamps have whole seconds, and days begin with one
    since = datetime.fromtimestamp(whole, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    rate, later = _money(spend.rate_per_hour), (spend.at - whole) / 3600 * spend.rate_per_hour
    return {
        one.period: {
            "period": one.name,
            "amount": _money(max(0.0, one.spent - later)),
            "ratePerHour": rate,
            "since": since,
        }
        for one in purses(budget, spend)
    }


def restored(stored: object) -> Spend | None:
    """A checkpoint out of a status; None if there is none that can be read."""
    if not isinstance(stored, Mapping):
        return None
    day, month = stored.get("day"), stored.get("month")
    if not isinstance(day, Mapping) or not isinstance(month, Mapping):
        return None
    try:
        return Spend(
            at=datetime.fromisoformat(str(day["since"])).timestamp(),
            rate_per_hour=_amount(day["ratePerHour"]),
            day=str(date.fromisoformat(day["period"])),
            day_amount=_amount(day["amount"]),
            month=str(date.fromisoformat(f"{month['period']}-01"))[:7],
            month_amount=_amount(month["amount"]),
        )
    except (KeyError, TypeError, ValueError):
        return None


def counted_on(spend: Spend, now: float) -> Spend:
    """What was spent until now, by arithmetic, within the same day and month."""
    more = max(0.0, now - (spend.at or now)) / 3600 * spend.rate_per_hour
    return replace(spend, at=now, day_amount=spend.day_amount + more, month_amount=spend.month_amount + more)


def _agree(old: Spend, now: Spend, budget: Budget) -> bool:
    """Does counting on from the old one give the new one? Over a period's end only the rate can tell."""
    if _money(old.rate_per_hour) != _money(now.rate_per_hour):
        return False
    if old.at is None or now.at is None or now.at < old.at:
        return False
    passed = (now.at - old.at) / 3600 * old.rate_per_hour
    near = DRIFT * budget.price_per_replica_hour
    return (old.day != now.day or abs(old.day_amount + passed - now.day_amount) <= near) and (
        old.month != now.month or abs(old.month_amount + passed - now.month_amount) <= near
    )


def _amount(text: str) -> float:
    amount = float(text)
    if not (isfinite(amount) and amount >= 0):
        raise ValueError(f"{text} is no amount")
    return amount


def _money(amount: float) -> str:
    """As a decimal number, at most six places: statuses have no floating-point numbers."""
    return f"{amount:.6f}".rstrip("0").rstrip(".")
