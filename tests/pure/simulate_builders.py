"""Traces, terms and policies for tests of the simulator, with only what a test names."""

from __future__ import annotations

from pool_operator.engine.types import PoolSpec, QueueSpec
from pool_operator.simulate.ours import Ours
from pool_operator.simulate.policy import Victim, Wish
from pool_operator.simulate.terms import Terms
from pool_operator.simulate.trace import Trace


def trace(*jobs, **more):
    """Jobs as (arrival, run time)."""
    return Trace(name="small", arrivals=[one[0] for one in jobs], services=[one[1] for one in jobs], **more)


def terms(**changes):
    """Cold starts take exactly 10 s, unless changed."""
    return Terms(**({"cold_start_seconds": 10.0, "cold_start_spread": 0.0, "max_replicas": 10} | changes))


def ours(*queues, **changes):
    found = tuple(QueueSpec(name=name) for name in queues or ("jobs",))
    return Ours(spec=PoolSpec(queues=found, min_replicas=0, max_replicas=10, slots_per_replica=1, **changes))


class Plan:
    """A peer that wants what its plan says: (from second, replicas), and notes when it was called and what it saw."""

    name = "plan"

    def __init__(self, *plan, tick=1.0, victim=Victim.IDLE, self_exit=False, rest=0.0, quiet=0.0):
        self.tick_seconds, self.victim, self.self_exit = tick, victim, self_exit
        self._plan, self._rest, self._quiet = plan, rest, quiet
        self.calls = []
        self.seen = {}
        self.idled = 0

    def decide(self, view):
        self.calls.append(view.now)
        self.seen[view.now] = (view.waiting, view.busy, view.ready, view.starting, view.arrived, view.mean_in_system)
        replicas = [number for since, number in self._plan if since <= view.now][-1]
        return Wish(replicas, rest_until=view.now + self._rest, quiet_until=view.now + self._quiet)

    def idle(self, ticks):
        self.idled += ticks
