"""Money: what is counted, how days and months begin, and what is allowed before it is spent."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from tests.pure.budget_world import World
from tests.pure.engine_builders import NOW, ending, reading, replica, seen, spec, starting, unknown

from pool_operator.engine.calendar import today
from pool_operator.engine.decide import decide
from pool_operator.engine.spend import accrue
from pool_operator.engine.state import Memory, RunTimes, Spend
from pool_operator.engine.types import Blocked, Budget, Run
from pool_operator.names import EXIT_SECONDS, Limit, Mode, OnExhausted, OnUnknown, Reason

BERLIN, ANGELES = "Europe/Berlin", "America/Los_Angeles"


def at(text, zone="UTC", fold=0):
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone), fold=fold).timestamp()


NOON = at("2026-11-10T12:00")


def pool(price=0.60, **changes):
    zone = changes.pop("time_zone", "UTC")
    budget = Budget(price_per_replica_hour=price, time_zone=zone, **changes.pop("budget", {}))
    return spec(budget=budget, **changes)


def counted(spend, *replicas, now=NOON, **changes):
    return accrue(pool(**changes), seen(reading(), *replicas), spend, now)


def spent(day=0.0, month=0.0, *, now=NOON, rate=0.0, runs=120.0, **changes):
    name = datetime.fromtimestamp(now, ZoneInfo("UTC")).strftime("%Y-%m-%d")
    return Memory(
        at=now,
        spend=Spend(at=now, rate_per_hour=rate, day=name, day_amount=day, month=name[:7], month_amount=month),
        run_times=RunTimes(jobs=50, mean_seconds=runs),
        **changes,
    )


# --- counting ------------------------------------------------------------------------------------------------------------


def since(seconds, **changes):
    return replica(created_at=NOON - seconds, **changes)


def test_the_worked_example():
    before = counted(Spend(), since(0), since(0), now=NOON)
    after = counted(before, since(0), since(0), since(-1200), now=NOON + 1800)
    assert (after.day_amount, after.month_amount) == (pytest.approx(0.70), pytest.approx(0.70))
    assert after.rate_per_hour == pytest.approx(1.80)


def test_every_replica_that_exists_costs_and_one_without_a_node_does_not():
    fleet = (
        since(0),
        starting(created_at=NOON),
        ending(created_at=NOON),
        starting(created_at=NOON, blocked=Blocked.FAILING),
        starting(created_at=NOON, blocked=Blocked.UNSCHEDULABLE),
    )
    assert counted(Spend(), *fleet).rate_per_hour == pytest.approx(4 * 0.60)


def test_a_gap_is_billed_at_the_higher_of_the_two_rates():
    old = Spend(at=NOON, rate_per_hour=3.0, day="2026-11-10", month="2026-11")
    assert counted(old, since(60), now=NOON + 3600).day_amount == pytest.approx(3.0)
    assert counted(old, *(since(60) for _ in range(10)), now=NOON + 3600).day_amount == pytest.approx(6.0)


def test_with_nothing_known_what_is_there_is_billed_from_its_creation_at_most_from_the_beginning_of_the_day():
    found = counted(Spend(), since(3600), since(40 * 3600))
    assert found.day_amount == pytest.approx(0.60 * (1 + 12))
    assert found.month_amount == pytest.approx(0.60 * (1 + 40))


def test_a_day_begins_with_what_was_spent_in_it_and_a_month_goes_on():
    late = at("2026-11-10T23:30")
    old = Spend(at=late, rate_per_hour=0.6, day="2026-11-10", day_amount=7.0, month="2026-11", month_amount=50.0)
    found = counted(old, since(3600), now=late + 3600)
    assert (found.day, found.day_amount) == ("2026-11-11", pytest.approx(0.30))
    assert (found.month, found.month_amount) == ("2026-11", pytest.approx(50.60))


def test_a_month_and_a_year_end():
    late = at("2026-12-31T23:00")
    old = Spend(at=late, rate_per_hour=0.6, day="2026-12-31", day_amount=7.0, month="2026-12", month_amount=50.0)
    found = counted(old, replica(created_at=late - 60), now=late + 7200)
    assert (found.day, found.month) == ("2027-01-01", "2027-01")
    assert (found.day_amount, found.month_amount) == (pytest.approx(0.60), pytest.approx(0.60))


def test_a_clock_that_goes_back_over_midnight_forgets_nothing():
    night = at("2026-11-11T00:00")
    old = Spend(at=night + 5, rate_per_hour=0.6, day="2026-11-11", day_amount=1.0, month="2026-11", month_amount=9.0)
    back = counted(old, since(60), now=night - 2)
    assert (back.at, back.day, back.day_amount) == (night - 2, "2026-11-11", 1.0)
    on = counted(back, since(60), now=night - 1)
    assert (on.day, on.day_amount) == ("2026-11-11", pytest.approx(1.0 + 0.6 / 3600))


def test_without_a_price_nothing_is_counted():
    assert accrue(spec(), seen(reading(), replica()), Spend(), NOW) == Spend()


@given(st.lists(st.floats(1.0, 50_000.0), min_size=1, max_size=20), st.integers(0, 5))
def test_however_often_it_is_looked_the_sum_is_the_same(steps, count):
    fleet = [since(0) for _ in range(count)]
    often, now = counted(Spend(), *fleet), NOON
    for step in steps:
        now += step
        often = counted(often, *fleet, now=now)
    once = counted(counted(Spend(), *fleet), *fleet, now=now)
    assert often.day == once.day
    assert often.day_amount == pytest.approx(once.day_amount)
    assert often.month_amount == pytest.approx(once.month_amount)


# --- days and months -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("day", "zone", "hours"),
    [("2026-03-29", BERLIN, 23), ("2026-10-25", BERLIN, 25), ("2026-03-08", ANGELES, 23), ("2026-11-10", BERLIN, 24)],
)
def test_a_day_is_as_long_as_its_clocks_make_it(day, zone, hours):
    found = today(at(f"{day}T12:00", zone), zone).day
    assert (found.name, (found.end - found.start) / 3600) == (day, hours)


@pytest.mark.parametrize(
    ("instant", "month", "days_left"),
    [("2026-02-28T23:59", "2026-02", 1), ("2024-02-01T00:00", "2024-02", 29), ("2026-12-31T12:00", "2026-12", 1)],
)
def test_months_end(instant, month, days_left):
    found = today(at(instant, ANGELES), ANGELES)
    assert (found.month.name, found.days_left) == (month, days_left)


@given(st.floats(0, 4e9), st.sampled_from([BERLIN, ANGELES, "UTC", "Asia/Kathmandu", "Australia/Lord_Howe"]))
def test_every_instant_is_in_its_day_and_its_day_in_its_month(now, zone):
    found = today(now, zone)
    assert found.day.start <= now < found.day.end
    assert found.month.start <= found.day.start < found.day.end <= found.month.end
    assert found.day.name.startswith(found.month.name)


# --- soft ----------------------------------------------------------------------------------------------------------------

DAILY = {"daily_soft": 10.0, "daily_hard": 15.0}


def decided(memory, *fleet, waiting=50, now=NOON, **changes):
    observed = seen(reading(waiting, running=sum(one.claims for one in fleet), at=now), *fleet)
    return decide(pool(**changes), observed, memory, now)[0]


def busy(age=0.0, now=NOON, **changes):
    return replica(claims=1, runs=(Run(now - age),), created_at=now - 600, ready_at=now - 500, **changes)


def test_at_the_soft_limit_nothing_new_starts_and_what_runs_is_finished():
    fleet = [busy(600) for _ in range(3)]
    found = decided(spent(10.0, rate=1.8), *fleet, budget=DAILY)
    assert (found.reason, found.limited_by, found.replicas) == (Reason.BUDGET_EXHAUSTED, Limit.RUNNING, 3)
    assert set(found.drain) == {one.id for one in fleet}
    assert "spec.budget.daily.soft 10 pays for no more work until 2026-11-11 00:00 (UTC)" in found.message
    assert dict(found.without)[Limit.BUDGET] == 10


def test_the_next_day_it_goes_on_by_itself():
    found = decided(spent(10.0), budget=DAILY)
    assert (found.replicas, found.limited_by) == (0, Limit.BUDGET)
    assert found.wake_at == at("2026-11-11T00:00")
    again = decided(spent(10.0), budget=DAILY, now=at("2026-11-11T00:00"))
    assert again.replicas == 10


def test_near_the_soft_limit_as_many_go_on_as_can_be_paid_for_one_more_job_each():
    """9.60 are spent, a job of 20 min costs 0.12 at 0.36 an hour: three and a third are left."""
    memory = spent(9.60, runs=1200.0)
    assert decided(memory, price=0.36, budget=DAILY).replicas == 3, "a fourth start would be paid for a third of a job"
    there = [replica(f"r{one}") for one in range(5)]
    assert decided(memory, *there, price=0.36, budget=DAILY).replicas == 4, "their starts are paid"
    running = [busy(600) for _ in range(3)]  # will cost 0.18 more, of which 1.8 jobs are left
    found = decided(memory, *running, price=0.36, budget=DAILY)
    assert (found.replicas, len(found.drain)) == (3, 1)


def test_a_replica_starts_only_if_its_start_and_a_usual_job_are_paid():
    """A start of 60 s and a job of 120 s cost 18: with 4 a day each day would pay for most of a start."""
    small = decided(spent(0.0), price=360.0, budget={"daily_soft": 4.0})
    assert (small.replicas, small.reason, small.limited_by) == (0, Reason.BUDGET_EXHAUSTED, Limit.BUDGET)
    assert small.message.endswith(
        "spec.budget.daily.soft 4 is less than what one cold start of 60 s and one usual job of 2 min cost (18): "
        "no replica starts until it is raised"
    )
    assert decided(spent(0.0), price=360.0, budget={"daily_soft": 18.0}).replicas == 1
    late = decided(spent(1.0), price=360.0, budget={"daily_soft": 18.0})
    assert (late.replicas, "pays for no more work until" in late.message) == (0, True)


def test_before_the_first_job_has_ended_its_guess_keeps_nothing_from_starting():
    unlearned = replace(spent(0.0), run_times=RunTimes())
    assert decided(unlearned, price=360.0, budget={"daily_soft": 8.0}).replicas == 1
    assert decided(unlearned, price=360.0, budget={"daily_soft": 4.0}).replicas == 0


def test_minimum_keeps_the_minimum_at_the_soft_limit_and_pause_does_not():
    kept = decided(spent(10.0), budget=DAILY | {"on_exhausted": OnExhausted.MINIMUM}, min_replicas=2)
    assert (kept.replicas, kept.limited_by) == (2, Limit.BUDGET)
    assert "daily.soft 10 pays for no more work until 2026-11-11 00:00 (UTC); " in kept.message
    assert kept.message.endswith("; spec.budget.onExhausted Minimum keeps 2")
    assert decided(spent(10.0), budget=DAILY, min_replicas=2).replicas == 0


def test_a_month_is_spread_over_its_days():
    """Twice an equal share of what was left in the morning: 21 of 30 days are left, 300 of them: 28.57 for today."""
    month = {"monthly_soft": 300.0}
    assert decided(spent(28.0, 28.0), budget=month).limited_by is not Limit.BUDGET
    found = decided(spent(28.58, 28.58), budget=month)
    assert (found.replicas, found.limited_by) == (0, Limit.BUDGET)
    assert "spec.budget.monthly.soft 28.5714 pays for no more work until 2026-11-11 00:00" in found.message
    last = at("2026-11-30T12:00")
    assert decided(spent(200.0, 200.0, now=last), budget=month, now=last).replicas == 10, "all of it on the last day"


def test_a_daily_soft_limit_is_the_users_own_way_to_spread_a_month():
    assert decided(spent(28.58, 28.58), budget={"monthly_soft": 300.0, "daily_soft": 100.0}).replicas == 10


# --- hard ----------------------------------------------------------------------------------------------------------------


def test_a_claim_fits_with_its_time_out_or_is_not_granted():
    """3 are left of 15; two replicas run, each up to an hour less what it ran, and a moment to go."""
    memory = spent(12.0)
    fleet = [busy(600), busy(1800)]
    found = decided(memory, *fleet, price=1.0, budget={"daily_hard": 15.0}, job_timeout_seconds=3600.0, waiting=5)
    committed = (3000 + 1800 + 2 * EXIT_SECONDS) / 3600
    more = int((3.0 - committed) / ((3600 + EXIT_SECONDS) / 3600))
    assert (more, found.replicas, found.limited_by) == (1, 3, Limit.BUDGET)
    assert found.granted == pytest.approx(3.0 - committed - EXIT_SECONDS / 3600), "what starts needs its share"


def test_what_claims_took_before_is_not_taken_again():
    seen_now = seen(replace(reading(5, at=NOON), allowance_used=7.0))
    found = decide(pool(price=1.0, budget={"daily_hard": 15.0}), seen_now, spent(12.0), NOON)[0]
    assert found.granted > 7.0
    assert decided(spent(12.0)).granted is None, "no hard limit"


def test_an_unknown_reading_lifts_to_no_minimum_that_cannot_be_paid():
    rules = pool(price=1.0, budget={"daily_hard": 15.0}, min_replicas=3, on_unknown=OnUnknown.MINIMUM)
    found = [decide(rules, seen(unknown()), spent(day), NOON)[0] for day in (0.0, 12.0, 15.0)]
    assert [(one.replicas, one.limited_by) for one in found] == [
        (3, Limit.MINIMUM),
        (1, Limit.BUDGET),
        (0, Limit.BUDGET),
    ]
    assert "raised to 1 replica for spec.minReplicas 3 (spec.budget pays for no more)" in found[1].message
    assert "0 replicas held (spec.budget pays for no more)" in found[2].message
    held = decide(rules, seen(unknown(), *(replica() for _ in range(2))), spent(15.0), NOON)[0]
    assert (held.replicas, held.drain) == (2, ())


def test_a_job_whose_start_is_not_known_may_have_just_begun():
    rules = {"budget": {"daily_hard": 15.0}, "job_timeout_seconds": 3600.0}
    known = decided(spent(1.0), busy(3000), **rules)
    unknown = decided(spent(1.0), replace(busy(3000), runs=()), **rules)
    assert unknown.granted == pytest.approx(known.granted - 3000 * 0.60 / 3600)


def test_an_idle_replica_goes_before_the_money_that_it_needs_to_go_is_spent():
    found = decided(spent(14.9), replica(created_at=NOON - 600), price=1.0, budget={"daily_hard": 15.0})
    assert (found.replicas, len(found.drain), found.reason) == (0, 1, Reason.BUDGET_EXHAUSTED)


def test_a_paused_pool_goes_on_claiming_within_its_budget():
    found = decided(spent(1.0), replica(created_at=NOON), mode=Mode.PAUSED, budget={"daily_hard": 15.0})
    assert found.granted > 0


def test_money_is_set_aside_for_the_minimum():
    """12 hours at 1.0 for two replicas are 24 of 40: 16 are left for others; their claims cost nothing more then."""
    rule = {"daily_hard": 40.0, "on_exhausted": OnExhausted.MINIMUM}
    changes = {"price": 1.0, "budget": rule, "min_replicas": 2, "max_replicas": 50, "job_timeout_seconds": 7200.0}
    found = decided(spent(0.0), **changes)
    assert (found.replicas, found.limited_by) == (7, Limit.BUDGET)
    poor = decided(spent(15.5), replica("a", created_at=NOON), replica("b", created_at=NOON), **changes)
    assert (poor.replicas, poor.drain) == (2, ())
    assert poor.granted >= 2 * 2.0


@settings(
    max_examples=60, deadline=None, phases=(Phase.explicit, Phase.reuse, Phase.generate)
)  # a shrink takes minutes
@given(data=st.data())
def test_a_hard_budget_is_never_exceeded(data):
    """Any arrivals, any run times up to the time-out, restarts, day's end, slots: the truth stays within the limit."""
    price = data.draw(st.sampled_from([0.36, 1.0, 4.0]), "price")
    timeout = data.draw(st.sampled_from([300.0, 1200.0, 3600.0]), "time-out")
    # a few jobs and some moments: so tight that each second of a replica counts
    whole, more = data.draw(st.integers(1, 6), "jobs that fit"), data.draw(st.floats(0, 400), "seconds besides")
    daily = price * (whole * timeout + more) / 3600
    monthly = daily * data.draw(st.sampled_from([1.0, 1.5, 3.0]), "monthly")
    budget = {"daily_hard": daily, "monthly_hard": monthly, "on_exhausted": data.draw(st.sampled_from(OnExhausted))}
    high = data.draw(st.integers(1, 8), "maximum")
    start = at("2026-11-30T22:00")  # the day and the month end two hours later
    length = 3 * 3600
    jobs = [0.0] * data.draw(st.integers(0, 40), "jobs at once")
    jobs += data.draw(st.lists(st.floats(0, length), max_size=20), "arrivals")
    shares = data.draw(st.lists(st.sampled_from([0.01, 0.3, 1.0]) | st.floats(0, 1), min_size=1, max_size=8), "runs")
    world = World(
        spec=pool(
            price,
            budget=budget,
            min_replicas=data.draw(st.integers(0, min(2, high)), "minimum"),
            max_replicas=high,
            slots_per_replica=data.draw(st.integers(1, 3), "slots"),
            job_timeout_seconds=timeout,
        ),
        now=start,
        arrivals=sorted(start + one for one in jobs),
        run_seconds=[max(1.0, share * timeout) for share in shares],
        cold_seconds=data.draw(st.sampled_from([5.0, 60.0, 120.0]), "cold"),
        exit_seconds=data.draw(st.sampled_from([1.0, 30.0]), "exit"),
        away=[
            (start + one, start + one + 50.0) for one in data.draw(st.lists(st.floats(60, length), max_size=5), "away")
        ],
    )
    world.run(start + length)
    for name, amount in world.paid.items():
        assert amount <= (daily if len(name) == 10 else monthly) + 1e-6


def test_a_minimum_starts_once_when_the_rest_of_the_day_can_be_paid_for_it():
    """3,900 s are paid, the first job takes a quarter: one replica of the minimum comes back for the rest of the day, and stays."""
    start = at("2026-11-30T22:00")
    rule = {"daily_hard": 0.39, "monthly_hard": 0.585, "on_exhausted": OnExhausted.MINIMUM}
    world = World(
        spec=pool(0.36, budget=rule, min_replicas=2, max_replicas=8, slots_per_replica=3, job_timeout_seconds=3600.0),
        now=start,
        arrivals=[start] * 13,
        run_seconds=[885.0],
        cold_seconds=60.0,
        exit_seconds=30.0,
    )
    world.run(start + 7200)
    assert world.paid["2026-11-30"] <= 0.39


@pytest.mark.parametrize("seconds", [615, 735, 1500, 2600])
@pytest.mark.parametrize("slots", [1, 3])
def test_jobs_that_run_into_their_time_out_are_within_the_limit_to_the_second(seconds, slots):
    start = at("2026-11-10T00:00")
    daily = 1.0 * seconds / 3600
    world = World(
        spec=pool(1.0, budget={"daily_hard": daily}, job_timeout_seconds=600.0, slots_per_replica=slots),
        now=start,
        arrivals=[start] * 40,
        run_seconds=[600.0],
        cold_seconds=5.0,
        exit_seconds=30.0,
    )
    world.run(start + 6_000)
    assert world.paid["2026-11-10"] <= daily
    assert (world.done > 0) == (seconds > 600 + 5 + EXIT_SECONDS)


def test_the_world_of_that_test_works_through_its_jobs_and_stops_at_the_limit():
    start = at("2026-11-10T00:00")
    world = World(
        spec=pool(1.0, budget={"daily_hard": 5.0}, job_timeout_seconds=3600.0),
        now=start,
        arrivals=[start + second for second in range(200)],
        run_seconds=[600.0],
    )
    world.run(start + 86_400)
    day = world.paid["2026-11-10"]
    assert 4.0 - 0.2 <= day <= 5.0, day
    assert 15 <= world.done < 200
    world.run(start + 2 * 86_400 + 3600)
    assert world.paid["2026-11-11"] == pytest.approx(day, rel=0.2)


def test_1200_videos_on_10_a_day_take_15_days():
    """Jobs of 20 min at 0.36 an hour, at most 10 at once, 10 a day and 15 at the very most: 83 a day."""
    start = at("2026-11-01T00:00")
    budget = {"daily_soft": 10.0, "daily_hard": 15.0, "monthly_soft": 200.0, "monthly_hard": 300.0}
    world = World(
        spec=pool(0.36, budget=budget, max_concurrent=10, rate_per_minute=50.0),
        now=start,
        arrivals=[start] * 1200,
        run_seconds=[1200.0],
        cold_seconds=60.0,
        resync_seconds=7200.0,
    )
    done = []
    for day in range(1, 16):
        world.run(start + 86_400 * day)
        done.append(world.done)
    assert done[:14] == [83 * day for day in range(1, 15)]
    assert done[14] == 1200
    days = [amount for name, amount in world.paid.items() if len(name) == 10]
    assert max(days) == pytest.approx(10.0, abs=0.12)
    assert world.paid["2026-11"] <= 200
