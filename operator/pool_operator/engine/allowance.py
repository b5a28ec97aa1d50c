"""What is left of the budget: for how many replicas, and for which new claims.

A hard limit holds whatever happens: what is spent, and what the replicas that there are will cost in the worst case,
never exceeds it.

- A replica that runs jobs may run until its youngest one meets the time-out, and then needs a moment to go.
- One that idles or starts needs that moment. It stays only if one more job, up to its time-out, can be paid; so it goes
  before the moment's money is gone.
- A claim costs at most price × time-out more. The server refuses claims beyond `granted` (the allowance), so that any
  number of replicas may claim between two decisions.
- A job that runs over midnight is committed in both days.

A soft limit is a mark to end at, with what jobs usually cost: no more replicas go on taking jobs than the money left
pays for one more job each, with what the running ones will still cost. The last one may end beyond the mark. With 10 a
day, 0.36 an hour and 20 min a job, 83 jobs are paid, the 84th is begun, and the rest waits for tomorrow. A new replica
starts only if its cold start and a usual job are paid: else each day would pay for a start and stop before the job.

A month without a daily soft limit is spread: a day may use twice its share of what was left when it began. 300 on the
first of 30 days: 20; if nothing was used until the 16th, 40; on the last day, all that is left.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, NamedTuple

from pool_operator.engine.calendar import Span, today
from pool_operator.engine.fleet import Fleet
from pool_operator.engine.spend import HOUR, paid
from pool_operator.engine.state import Memory
from pool_operator.engine.types import Budget, Observed, PoolSpec, Reading, Replica, ReplicaPhase
from pool_operator.names import EXIT_SECONDS, OnExhausted

SHARES: Final = 2.0
"""Of what is left of a month, in equal shares for its days: how many of them one day may use."""
LOOK_SECONDS: Final = 15.0
"""Not looked at more often while the money runs out."""


class FirstJob(NamedTuple):
    """What a new replica costs until it has done one job, as far as that was measured."""

    cold_seconds: float
    run_seconds: float  # 0: no job has ended yet, so that one start shows how long they take
    price: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Allowance:
    """`replicas`: most that the money allows; `field`: the limit that says so; `wake_at`: when that may change."""

    replicas: int | None = None
    field: str = ""
    amount: float = 0.0  # of that limit, for the day or month
    until: float | None = None  # the end of its day or month
    free: float | None = None  # money for claims; None: no hard limit
    price_per_second: float = 0.0
    wake_at: float | None = None
    paid: int = 0  # replicas that the money pays for; onExhausted Minimum may keep more
    too_small_for: FirstJob | None = None  # not even the whole amount pays for it

    def granted(self, reading: Reading, *, new_replicas: int) -> float | None:
        """`Reading.allowance_used` up to which claims may go; what is about to start needs its share before."""
        if self.free is None:
            return None
        starts = max(0, new_replicas) * EXIT_SECONDS * self.price_per_second
        return reading.allowance_used + max(0.0, self.free - starts)


class _Purse(NamedTuple):
    """One limit, and the money left under it."""

    field: str
    amount: float
    left: float
    span: Span
    is_share: bool = False  # of a month; what is not used makes tomorrow's greater


class _Work(NamedTuple):
    """What the replicas that cost have ahead of them, in seconds."""

    ahead: list[float]  # of each that stays, in the worst case, if it takes nothing new; the longest first
    usual: float  # of all together, as jobs usually run
    idle: int  # that do nothing and are not told to end
    ending: float = 0.0  # of all that end: none of them is one of a minimum


NONE: Final = Allowance()


def allowance(spec: PoolSpec, observed: Observed, fleet: Fleet, memory: Memory, *, slots: int, now: float) -> Allowance:
    """Most replicas that the budget allows, and what claims may still cost."""
    budget = spec.budget
    if budget is None:
        return NONE
    price = budget.price_per_replica_hour / HOUR
    caps: list[tuple[int, int, _Purse]] = []  # most replicas; those that the money pays for; which money
    free: list[float] = []
    if price > 0.0:
        run_seconds = memory.run_times.mean_seconds
        work = _work(paid(observed), spec.job_timeout_seconds, run_seconds, now)
        first, kept = _first_job(memory, price), spec.min_replicas if budget.on_exhausted is OnExhausted.MINIMUM else 0
        for purse in _hard(budget, memory, now):
            cap, rest = _hard_cap(spec, fleet, work, purse, price, slots, now)
            caps.append((cap, cap, purse))
            free.append(rest)
        for purse in _soft(budget, memory, now):
            cap = _soft_cap(work, purse.left / price, first, there=len(fleet.active), run_seconds=run_seconds)
            caps.append((max(cap, kept), cap, purse))
    if not caps:
        return Allowance(free=0.0) if budget.hard else NONE  # at no price claims take nothing from it
    cap, by_money, tightest = min(caps, key=lambda one: one[0])
    hopeless = cap == 0 and not tightest.is_share and tightest.field.endswith("soft") and tightest.amount < first.price
    return Allowance(
        replicas=cap,
        field=tightest.field,
        amount=tightest.amount,
        until=tightest.span.end,
        free=min(free, default=None),
        price_per_second=price,
        wake_at=_wake_at([purse for *_, purse in caps], free, memory.spend.rate_per_hour, now),
        paid=by_money,
        too_small_for=first if hopeless else None,
    )


def _work(replicas: list[Replica], timeout: float, run_seconds: float, now: float) -> _Work:
    ahead, usual, idle, ending = [], 0.0, 0, 0.0
    for one in replicas:
        claims, runs = one.claims, one.runs
        if claims == 0 or (claims is None and one.phase is ReplicaPhase.STARTING):
            if one.phase is ReplicaPhase.TERMINATING:
                ending += EXIT_SECONDS
            else:
                ahead.append(EXIT_SECONDS)
                idle += 1
            continue
        known = claims is not None and len(runs) >= claims  # else one may have begun just now
        age = math.inf  # of the youngest
        for since, _ in runs:
            if now - since < age:  # noqa: PLR1730 - for each of many runs, and min() is a call
                age = now - since
        age = max(0.0, age)
        if age < run_seconds:
            usual += run_seconds - age
        left = timeout - age if known else timeout
        seconds = EXIT_SECONDS + left if left > 0.0 else EXIT_SECONDS
        if one.phase is ReplicaPhase.TERMINATING:
            ending += seconds
        else:
            ahead.append(seconds)
    ahead.sort(reverse=True)
    return _Work(ahead, usual, idle, ending)


def _hard(budget: Budget, memory: Memory, now: float) -> Iterator[_Purse]:
    calendar, spend = today(now, budget.time_zone), memory.spend
    if budget.daily_hard is not None:
        yield _Purse("daily.hard", budget.daily_hard, budget.daily_hard - spend.day_amount, calendar.day)
    if budget.monthly_hard is not None:
        yield _Purse("monthly.hard", budget.monthly_hard, budget.monthly_hard - spend.month_amount, calendar.month)


def _soft(budget: Budget, memory: Memory, now: float) -> Iterator[_Purse]:
    calendar, spend = today(now, budget.time_zone), memory.spend
    if budget.daily_soft is not None:
        yield _Purse("daily.soft", budget.daily_soft, budget.daily_soft - spend.day_amount, calendar.day)
    if budget.monthly_soft is not None:
        yield _Purse("monthly.soft", budget.monthly_soft, budget.monthly_soft - spend.month_amount, calendar.month)
    kind, month = ("soft", budget.monthly_soft) if budget.monthly_soft is not None else ("hard", budget.monthly_hard)
    if budget.daily_soft is None and month is not None:
        left = max(0.0, month - (spend.month_amount - spend.day_amount))
        share = min(left, SHARES * left / calendar.days_left)
        yield _Purse(f"monthly.{kind}", share, share - spend.day_amount, calendar.day, is_share=True)


# --- hard ---------------------------------------------------------------------------------------------------------


def _hard_cap(
    spec: PoolSpec, fleet: Fleet, work: _Work, purse: _Purse, price: float, slots: int, now: float
) -> tuple[int, float]:
    """Most replicas, and the money that claims may take."""
    left = purse.left / price - work.ending  # in replica-seconds
    rest = max(0.0, purse.span.end - now)
    kept = _kept(spec, work.ahead, left, rest)
    free = left - _set_aside(work.ahead, kept, rest)
    more = max(0, math.floor((free + work.idle * EXIT_SECONDS) / (spec.job_timeout_seconds + EXIT_SECONDS)))
    cap = max(fleet.busy + more, kept)
    if len(fleet.active) - fleet.marked <= kept == cap:
        # only the minimum is left: it is paid until the period ends, and what it claims costs nothing more
        free += kept * slots * spec.job_timeout_seconds
    return cap, free * price


def _set_aside(ahead: list[float], kept: int, rest: float) -> float:
    """Replica-seconds ahead, when no fewer than `kept` are left before the period ends."""
    return sum(max(one, rest) for one in ahead[:kept]) + sum(ahead[kept:]) + rest * max(0, kept - len(ahead))


def _kept(spec: PoolSpec, ahead: list[float], left: float, rest: float) -> int:
    """Replicas of the minimum for which money is set aside until the period ends: as many as can be paid.

    One that would have to start needs a moment more, so that it need not go as soon as it is there.
    """
    if spec.budget is None or spec.budget.on_exhausted is not OnExhausted.MINIMUM:
        return 0
    counts = range(spec.min_replicas, 0, -1)
    there = len(ahead)
    return next(
        (count for count in counts if _set_aside(ahead, count, rest) + max(0, count - there) * EXIT_SECONDS <= left),
        0,
    )


# --- soft ---------------------------------------------------------------------------------------------------------


def _first_job(memory: Memory, price: float) -> FirstJob:
    cold = memory.cold_starts.mean_seconds
    run = memory.run_times.mean_seconds if memory.run_times.jobs else 0.0
    return FirstJob(cold_seconds=cold, run_seconds=run, price=price * (cold + run))


def _soft_cap(work: _Work, left: float, first: FirstJob, *, there: int, run_seconds: float) -> int:
    """Replicas that may take one more job each; beside those that are there, only new ones whose start is paid too.

    None is there, 4,000 s are left, a start takes 60 s and a job 1,200 s: 3 start. Of 4 that are there all go on.
    """
    run_seconds = max(1.0, run_seconds)
    left -= work.usual
    jobs = math.ceil(left / run_seconds - 1e-9)
    new = math.floor((left - there * run_seconds) / (first.cold_seconds + run_seconds) + 1e-9)
    if not (there or first.run_seconds) and left >= first.cold_seconds:
        new = max(1, new)
    return max(0, min(jobs, there + max(0, new)))


def _wake_at(purses: list[_Purse], free: list[float], rate_per_hour: float, now: float) -> float:
    """The end of a day or month, or when what is left is gone at this rate."""
    times = [one.span.end for one in purses]
    if rate_per_hour > 0.0:
        left = [one.left for one in purses] + free
        times += [now + max(LOOK_SECONDS, one / rate_per_hour * HOUR) for one in left if 0.0 < one < math.inf]
    return min(times)
