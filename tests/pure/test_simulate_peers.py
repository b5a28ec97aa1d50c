"""The peers' rules: their worked examples, and that saving calls changes nothing of what they decide."""

from __future__ import annotations

import random

import pytest
from tests.pure.simulate_builders import terms, trace

from pool_operator.simulate.peers import PEERS
from pool_operator.simulate.peers.keda import Hpa
from pool_operator.simulate.policy import View, Wish
from pool_operator.simulate.ticking import run_peer
from pool_operator.simulate.world import World


def view(now=0.0, **changes):
    found = View()
    values = {
        "waiting": 0,
        "busy": 0,
        "ready": 0,
        "starting": 0,
        "draining_jobs": 0,
        "busy_replicas": 0,
        "oldest_wait_seconds": 0.0,
        "arrived": 0,
        "ended": 0,
        "ended_seconds": 0.0,
        "mean_in_system": 0.0,
        "mean_service_seconds": 100.0,
        "slots": 1,
        "min_replicas": 0,
        "max_replicas": 400,
        "waited_longer_than": lambda _: 0,
        "idle_seconds": list,
    }
    for name, value in (values | changes).items():
        setattr(found, name, value)
    found.now = now
    return found


def test_an_hpa_at_most_doubles_or_adds_four_and_comes_down_when_its_window_is_over():
    hpa = Hpa(300.0)
    assert hpa.sync(0, 2, 20, 1) == 6
    assert hpa.sync(15, 6, 20, 1) == 12
    assert hpa.sync(30, 12, 20, 1) == 20
    assert hpa.sync(45, 20, 5, 1) == 20  # second 30 still says 20
    assert hpa.sync(330, 20, 5, 1) == 20
    assert hpa.sync(345, 20, 5, 1) == 5


def test_an_hpa_leaves_what_is_within_ten_percent():
    assert Hpa(300.0).sync(0, 20, 21, 1) == 20
    assert Hpa(300.0).sync(0, 20, 23, 1) == 23


def test_keda_starts_one_at_a_poll_and_goes_to_zero_from_many_after_the_cooldown():
    keda = PEERS["keda"]()
    assert keda.decide(view(25.0, waiting=40)).replicas == 0  # polls at 0, 30, 60 …
    assert keda.decide(view(30.0, waiting=40)).replicas == 1
    assert keda.decide(view(31.0, waiting=40, starting=1)).replicas == 5  # 8 are recommended: four more at once
    assert keda.decide(view(60.0, waiting=0, ready=8)).replicas == 8
    assert keda.decide(view(330.0, waiting=0, ready=8)).replicas == 8  # seen active at 30
    assert keda.decide(view(360.0, waiting=0, ready=8)).replicas == 0


def test_running_jobs_keep_the_replicas_of_an_experts_keda():
    blind, expert = PEERS["keda-t1-poll1"](), PEERS["keda-inflight"]()
    for now in range(0, 900, 15):
        seen = {"busy": 4, "ready": 4}
        last = [one.decide(view(float(now), **seen)).replicas for one in (blind, expert)]
    assert last == [0, 4]


def test_a_scaled_job_counts_starting_pods_once():
    jobs = PEERS["scaledjob"]()
    assert jobs.decide(view(30.0, waiting=7, starting=3, ready=5, slots=2)).replicas == 8 + 1
    assert jobs.decide(view(60.0, waiting=2, starting=3, ready=5, slots=2)).replicas == 8


def test_wpa_counts_messages_in_flight_and_waits_ten_minutes_to_come_down():
    wpa = PEERS["wpa"]()
    assert wpa.decide(view(20.0, waiting=4, busy=8, ready=10)).replicas == 12
    assert wpa.decide(view(40.0, waiting=0, busy=2, ready=12)).replicas == 12
    assert wpa.decide(view(620.0, waiting=0, busy=2, ready=12)).replicas == 2


def test_wpa_keeps_a_floor_for_the_messages_of_the_last_minute():
    assert PEERS["wpa"]().decide(view(20.0, busy=1, ready=1, arrived=6)).replicas == 10  # 6 a minute of 100 s each


def test_kpa_panics_when_concurrency_doubles_and_does_not_go_down_while_it_does():
    kpa = PEERS["kpa"]()
    for tick in range(30):
        assert kpa.decide(view(2.0 * tick, mean_in_system=7.0, ready=10)).replicas == 10  # 7 / 0.7
    assert kpa.decide(view(60.0, mean_in_system=47.0, ready=10)).replicas == 30  # (7 + 7 + 47) / 3 / 0.7, panic
    assert kpa.decide(view(62.0, mean_in_system=0.0, ready=30)).replicas == 30
    for tick in range(32, 62):
        last = kpa.decide(view(2.0 * tick, mean_in_system=0.0, ready=30)).replicas
    assert last < 30


def test_runpod_starts_for_jobs_that_waited_and_lets_idle_workers_go():
    runpod = PEERS["runpod"]()
    late = view(10.0, waiting=5, starting=1, waited_longer_than=lambda seconds: 3 if seconds == 4 else 0)
    assert runpod.decide(late).replicas == 3
    assert runpod.decide(view(20.0, ready=3, idle_seconds=lambda: [6.0, 5.0])) == Wish(2)
    quiet = runpod.decide(view(20.0, ready=2, idle_seconds=lambda: [1.0, 4.0]))
    assert (quiet.replicas, quiet.quiet_until) == (2, 21.0)


def test_aws_needs_three_points_out_and_fifteen_in():
    aws = PEERS["aws"]()
    out = [aws.decide(view(60.0 * minute, waiting=20, ready=4)).replicas for minute in range(3)]
    assert out == [4, 4, 7]  # 20 / 3
    inward = [aws.decide(view(60.0 * minute, ready=7)).replicas for minute in range(3, 18)]
    assert inward == [7] * 14 + [0]


def test_aws_leaves_zero_at_the_first_point():
    assert PEERS["aws"]().decide(view(60.0, waiting=2)).replicas == 1


def test_the_naive_rule_forgets_what_runs():
    assert PEERS["naive"]().decide(view(5.0, waiting=4, busy=6, ready=10)).replicas == 4


class EachTick:
    """The same peer, never left alone."""

    def __init__(self, peer):
        self._peer = peer
        self.name, self.tick_seconds, self.victim, self.self_exit = (
            peer.name,
            peer.tick_seconds,
            peer.victim,
            peer.self_exit,
        )
        self.idle = peer.idle

    def decide(self, view):
        return Wish(self._peer.decide(view).replicas)


@pytest.mark.parametrize("slots", [1, 2])
@pytest.mark.parametrize("name", PEERS)
def test_a_peer_that_is_left_alone_does_what_it_would_have_done(name, slots):
    draw = random.Random(f"{name} {slots}")
    at, jobs = 0.0, []
    for _ in range(150):
        at += draw.choice([0.0, 0.5, 7.0, 40.0, 400.0, 2_000.0]) * draw.random()
        jobs.append((at, draw.uniform(1, 300)))
    found = []
    for wrap in (lambda peer: peer, EachTick):
        world = World(trace(*jobs), terms(slots=slots, cold_start_seconds=30.0, cold_start_spread=0.2))
        calls = run_peer(world, wrap(PEERS[name]()))
        found.append((world.began, [(pod.created, pod.exited) for pod in world.gone], calls))
    (began, lives, calls), (began_each, lives_each, calls_each) = found
    assert min(began) >= 0.0  # every job ran
    assert began == began_each
    assert lives == lives_each
    assert calls <= calls_each
