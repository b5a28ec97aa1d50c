"""Money in a status: a checkpoint that time alone does not change, and a condition that says when it goes on."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.fakes.pools import pool_object

from pool_operator.engine.state import Memory, RunTimes, Spend
from pool_operator.engine.types import Budget, Decision
from pool_operator.names import Limit, Reason
from pool_operator.runtime.spending import Purse, budget_available, checkpoint, counted_on, purses, restored
from pool_operator.runtime.store import Store

TEN = 1_764_064_800.0  # 2025-11-25 10:00 UTC
HOUR = 3600.0
BUDGET = Budget(
    price_per_replica_hour=0.69, daily_soft=10, daily_hard=15, monthly_soft=200, monthly_hard=300, time_zone="UTC"
)
SPEND = Spend(at=TEN, rate_per_hour=0.69, day="2025-11-25", day_amount=1.38, month="2025-11", month_amount=20.7)
DECISION = Decision(at=TEN, replicas=1, slots=1, reason=Reason.WORK_FITS, message="")


def later(seconds, spend=SPEND, **changes):
    """As the engine counts on at an unchanged rate."""
    more = seconds / HOUR * spend.rate_per_hour
    counted = replace(
        spend, at=spend.at + seconds, day_amount=spend.day_amount + more, month_amount=spend.month_amount + more
    )
    return replace(counted, **changes)


# --- the checkpoint -----------------------------------------------------------------------------------------------


def test_a_checkpoint_says_what_was_spent_when_and_at_what_rate():
    assert checkpoint(BUDGET, SPEND, None) == {
        "day": {"period": "2025-11-25", "amount": "1.38", "ratePerHour": "0.69", "since": "2025-11-25T10:00:00Z"},
        "month": {"period": "2025-11", "amount": "20.7", "ratePerHour": "0.69", "since": "2025-11-25T10:00:00Z"},
    }


@pytest.mark.parametrize("rate", [0.0, 0.69, 690.0], ids=["nothing there", "one replica", "a thousand"])
@pytest.mark.parametrize("began", [TEN, TEN + 0.875], ids=["on the second", "in between"])
def test_time_alone_does_not_change_it(rate, began):
    spend = replace(SPEND, at=began, rate_per_hour=rate)
    first = checkpoint(BUDGET, spend, None)
    for seconds in (0.3, 60, HOUR, 5 * HOUR + 0.7):
        assert checkpoint(BUDGET, later(seconds, spend), first) == first
    assert checkpoint(BUDGET, later(HOUR, spend, day="2025-11-26", day_amount=0.0), first) == first


def test_another_number_of_replicas_makes_a_new_one():
    first = checkpoint(BUDGET, SPEND, None)
    second = checkpoint(BUDGET, later(HOUR, rate_per_hour=1.38), first)
    assert second["day"] == {
        "period": "2025-11-25",
        "amount": "2.07",
        "ratePerHour": "1.38",
        "since": "2025-11-25T11:00:00Z",
    }


def test_a_replica_that_came_and_went_unseen_makes_a_new_one():
    first = checkpoint(BUDGET, SPEND, None)
    assert checkpoint(BUDGET, later(HOUR, day_amount=2.5, month_amount=21.82), first)["day"]["amount"] == "2.5"


def test_without_a_price_or_before_the_first_count_there_is_none():
    assert checkpoint(None, SPEND, None) is None
    assert checkpoint(BUDGET, Spend(), None) is None


def test_what_is_written_is_read_again():
    assert restored(checkpoint(BUDGET, SPEND, None)) == SPEND
    between = later(0.875)
    found = restored(checkpoint(BUDGET, between, None))
    assert later(0.875, found).day_amount == pytest.approx(between.day_amount, abs=1e-6)


@pytest.mark.parametrize(
    "stored",
    [
        None,
        "spent",
        {"day": {}},
        {"day": {"period": "x", "amount": "1", "ratePerHour": "1", "since": "2025-11-25T10:00:00Z"}, "month": {}},
        {
            "day": {"period": "2025-11-25", "amount": "nan", "ratePerHour": "1", "since": "2025-11-25T10:00:00Z"},
            "month": {"period": "2025-11", "amount": "1"},
        },
        {"day": {"period": "2025-11-25", "amount": "much", "ratePerHour": "1", "since": "x"}, "month": {"period": 1}},
    ],
)
def test_what_cannot_be_read_is_none(stored):
    assert restored(stored) is None


# --- a new leader -------------------------------------------------------------------------------------------------


def stored(spend):
    return {"spend": checkpoint(BUDGET, spend, None)}


def remembered(ledger, status=SPEND):
    entry, _ = Store().put(pool_object(status=stored(status)))
    assert entry.memory.spend == status
    entry.recall(ledger)
    return entry.memory


def test_a_new_leader_goes_on_with_the_status_where_there_is_no_ledger():
    assert remembered(None).spend == SPEND


def test_a_follower_keeps_up_with_what_the_leader_writes_and_begins_there():
    store = Store()
    entry, _ = store.put(pool_object(uid="u"))
    store.put(pool_object(uid="u", status=stored(SPEND)))
    assert entry.memory.spend == entry.stored_spend == SPEND
    newest = {**stored(later(3600)), "conditions": []}
    store.put(pool_object(uid="u", status=newest))
    assert (entry.status, entry.memory.spend) == (newest, later(3600))
    entry.recall(Memory(spend=SPEND))  # a ledger that ends before
    assert entry.memory.spend == later(3600)


def test_once_we_lead_a_status_that_comes_back_changes_nothing():
    store = Store()
    entry, _ = store.put(pool_object(uid="u", status=stored(SPEND)))
    entry.recall(Memory(spend=later(60)))
    store.put(pool_object(uid="u", status=stored(SPEND)))
    assert entry.memory.spend == later(60)
    entry.remembered, entry.decision = False, DECISION
    store.put(pool_object(uid="u", status=stored(SPEND)))
    assert entry.memory.spend == later(60)


def test_of_ledger_and_status_the_newer_one_knows_the_money():
    learned = RunTimes(mean_seconds=7.0)
    newer, older = later(60, rate_per_hour=1.38), later(-60)
    assert remembered(Memory(run_times=learned, spend=newer)) == Memory(run_times=learned, spend=newer)
    assert remembered(Memory(run_times=learned, spend=older)) == Memory(run_times=learned, spend=SPEND)
    assert remembered(Memory(run_times=learned)) == Memory(run_times=learned, spend=SPEND)


# --- the condition ------------------------------------------------------------------------------------------------


def available(decision=DECISION, budget=BUDGET, job_cost=1.38, **spent):
    return budget_available(budget, replace(SPEND, **spent), decision, job_cost=job_cost)


def test_while_there_is_money_it_is_true():
    assert available() == ("True", "Ok", "money is left for the day and the month")


def test_nothing_limits_it():
    assert available(budget=None)[:2] == ("Unknown", "NoPrice")
    assert available(budget=Budget(price_per_replica_hour=0.69))[:2] == ("Unknown", "NoBudget")


def test_it_says_which_money_is_spent_and_when_it_goes_on():
    assert available(day_amount=10.2) == (
        "False",
        "SoftBudgetExhausted",
        "no money is left for another job: spec.budget.daily.soft 10; it goes on by itself when 2025-11-26 begins in UTC",
    )
    assert available(day_amount=13.7) == (
        "False",
        "BudgetExhausted",
        (
            "no money is left for another job: spec.budget.daily.soft 10, spec.budget.daily.hard 15; "
            "it goes on by itself when 2025-11-26 begins in UTC"
        ),
    )
    assert available(day_amount=10.0, month_amount=300.1)[2].endswith(
        "it goes on by itself when 2025-12-01 begins in UTC"
    )


def test_a_hard_limit_is_reached_as_soon_as_it_cannot_pay_another_job():
    assert available(budget=replace(BUDGET, daily_soft=None), day_amount=13.6)[0] == "True"
    assert available(budget=replace(BUDGET, daily_soft=None), day_amount=13.7)[:2] == ("False", "BudgetExhausted")


def test_a_budget_that_never_pays_a_job_is_told():
    status, _, message = available(job_cost=16.0)
    assert status == "False"
    assert "one job may cost 16.00" in message
    assert "raise spec.budget or lower spec.jobs.timeoutSeconds" in message


def test_where_money_is_left_but_binds_it_is_told_and_so_is_a_day_s_share_that_is_used_up():
    bound = replace(DECISION, reason=Reason.BUDGET_EXHAUSTED, without=((Limit.BUDGET, 4),))
    assert available(bound) == ("True", "Ok", "money is left, but not for as many replicas as the work asks for")
    status, reason, message = available(replace(bound, replicas=0), budget=replace(BUDGET, daily_soft=None))
    assert (status, reason) == ("False", "SoftBudgetExhausted")
    assert message.endswith("kept for later days of the month; it goes on by itself when 2025-11-26 begins in UTC")


@pytest.mark.parametrize(
    ("period", "name", "ends"),
    [
        ("day", "2025-11-30", "2025-12-01"),
        ("day", "2024-02-28", "2024-02-29"),
        ("month", "2025-11", "2025-12-01"),
        ("month", "2025-12", "2026-01-01"),
        ("day", "", ""),
    ],
)
def test_a_period_ends_with_the_beginning_of_the_next(period, name, ends):
    assert Purse(period=period, name=name, spent=0.0, soft=None, hard=None).ends == ends


def test_day_and_month_have_their_own_limits():
    day, month = purses(BUDGET, SPEND)
    assert (day.spent, day.limits) == (1.38, {"soft": 10, "hard": 15})
    assert (month.spent, month.limits) == (20.7, {"soft": 200, "hard": 300})


def test_between_two_checkpoints_arithmetic_says_what_is_spent():
    now = counted_on(SPEND, TEN + HOUR)
    assert (now.day_amount, now.month_amount) == (pytest.approx(2.07), pytest.approx(21.39))
    assert counted_on(Spend(), TEN) == Spend(at=TEN)


def test_without_a_month_s_limit_nothing_is_said_of_the_month():
    bound = replace(DECISION, replicas=0, reason=Reason.BUDGET_EXHAUSTED, without=((Limit.BUDGET, 4),))
    daily = replace(BUDGET, daily_soft=None, monthly_soft=None, monthly_hard=None)
    status, reason, message = available(bound, budget=daily)
    assert (status, reason) == ("False", "BudgetExhausted")
    assert message == (
        "what is left of the hard budget is kept for replicas that still end; it goes on by itself when they have"
    )
