"""What people write first: replicas for the jobs that wait, every five seconds. Running jobs do not count.

What flatters it: a busy victim, and it picks many, may finish what it runs.
"""

from __future__ import annotations

import math
from typing import Final

from pool_operator.simulate.policy import Victim, View, Wish


class Naive:
    tick_seconds = 5.0
    victim = Victim.RANDOM
    self_exit = False

    def __init__(self, name: str) -> None:
        self.name = name

    def decide(self, view: View) -> Wish:
        """4 jobs wait and 6 run, one slot each: 4 replicas, so 6 of the 10 are told to go."""
        wanted = math.ceil(view.waiting / view.slots)
        return Wish(max(view.min_replicas, min(view.max_replicas, wanted)), quiet_until=math.inf)

    def idle(self, ticks: int) -> None:
        """Nothing here counts ticks."""


POLICIES: Final = {"naive": lambda: Naive("naive")}
