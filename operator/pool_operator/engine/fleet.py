"""The replicas of a pool, counted by what they can do and what they hold: one pass over them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from pool_operator.engine.starts import begun_at, given_up_at
from pool_operator.engine.state import Memory
from pool_operator.engine.types import Observed, Replica, ReplicaPhase, Run

SILENT_SECONDS: Final = 30.0
"""A replica that has been ready for two heartbeats should have told what it runs."""

# by name, because looking a member of an enum up takes as long as all the rest of a replica's turn
_STARTING: Final = ReplicaPhase.STARTING
_TERMINATING: Final = ReplicaPhase.TERMINATING


@dataclass(slots=True, kw_only=True)
class Fleet:
    """`active`: not told to end. Those that end hold their jobs, but are no capacity and count in no target."""

    active: tuple[Replica, ...]
    claims: int  # jobs that active replicas hold, as far as that is known
    ending_claims: int  # jobs in replicas that are told to end: they need no slot of anybody else
    busy: int  # active replicas that hold a job, or may hold one
    silent: int  # active replicas that should have told what they run, and have not
    stuck_ids: frozenset[str] = frozenset()  # active replicas that do not start: not capacity
    coming: tuple[Replica, ...] = ()  # active replicas that cannot work yet, the stuck ones among them
    blocked: int = 0  # of those, the ones of which the cluster says what keeps them from starting
    had: int = 0  # active replicas that the cluster has given, or gives without a complaint
    marked: int = 0  # active replicas that carry a drain mark
    ready_slots: int = 0  # of replicas that can claim
    free_slots: int = 0  # of those, without a job
    new_slots: int = 0  # of those, in replicas that have just become ready: not known yet whether they hold one
    starting: tuple[float, ...] = ()  # when the starts of those that are on their way began
    runs: tuple[Run, ...] = ()  # jobs whose start is known
    last_ready_at: float | None = None  # when the newest replica became ready

    @property
    def stuck(self) -> int:
        return len(self.stuck_ids)

    @property
    def usable(self) -> int:
        return len(self.active) - len(self.stuck_ids)


def fleet_of(observed: Observed, memory: Memory, now: float) -> Fleet:
    ending = [one for one in observed.replicas if one.phase is _TERMINATING]
    active = tuple([one for one in observed.replicas if one.phase is not _TERMINATING]) if ending else observed.replicas
    starting: list[Replica] = []
    runs: list[Run] = []
    claims = busy = silent = marked = ready_slots = free_slots = new_slots = 0
    last_ready_at: float | None = None
    for one in active:
        held, phase, ready_at = one.claims, one.phase, one.ready_at
        if ready_at is not None and (last_ready_at is None or ready_at > last_ready_at):
            last_ready_at = ready_at
        if one.drained:
            marked += 1
        if held:
            busy += 1
            claims += held
            runs += one.runs
        elif held is None:
            busy += 1
        if phase is _STARTING and not held:
            starting.append(one)
        elif held is None and (ready_at is None or now - ready_at >= SILENT_SECONDS):
            silent += 1
        else:
            slots = one.slots
            ready_slots += slots
            if held is None:
                new_slots += slots
            elif held < slots:
                free_slots += slots - held
    ends = given_up_at(starting, last_ready_at, memory.cold_starts, memory.capacity)
    stuck = frozenset([name for name, at in ends.items() if at <= now])
    return Fleet(
        active=active,
        claims=claims,
        ending_claims=sum([one.claims or 0 for one in ending]),
        busy=busy,
        silent=silent,
        stuck_ids=stuck,
        coming=tuple(starting),
        blocked=sum([one.blocked is not None for one in starting]),
        had=len(active) - sum([one.blocked is not None or one.id in stuck for one in starting]),
        marked=marked,
        ready_slots=ready_slots,
        free_slots=free_slots,
        new_slots=new_slots,
        starting=tuple([begun_at(one) for one in starting if one.id not in stuck]),
        runs=tuple(runs),
        last_ready_at=last_ready_at,
    )
