"""Did Redis forget? Then "no claims" may be a lie, and nobody is sent home on it.

FLUSHALL, a restart without persistence and a fail-over all look like an empty, healthy server. What we notice: our own
settings are gone, or the server started anew. From then on every living replica is a suspect, until it has reported
again and its own report names no job, or Redis shows its claims.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from pool_contract.scripts import HEARTBEAT_SECONDS, EndpointState, PoolState, ReplicaState

LONGEST_DOUBT_SECONDS: Final = 2 * HEARTBEAT_SECONDS
SAME_START_SECONDS: Final = 3.0  # uptime comes in whole seconds, and clocks are stepped


@dataclass(slots=True)
class Suspicion:
    """For one pool; times are unix seconds of this machine."""

    server_started: float | None = None
    since: float | None = None
    replicas: set[str] = field(default_factory=set)
    silent: set[str] = field(default_factory=set)  # those that have not reported since

    def look(
        self, state: EndpointState, known: PoolState, alive: Iterable[str], *, asked: float, settings_lost: bool
    ) -> bool:
        """Take a reading (asked for at `asked`) in; True: do not trust it yet.

        `alive` are the backend's replicas that are not starting; `settings_lost`: what we published for the pool is
        not there any more.
        """
        living = set(alive)
        started = state.at - state.uptime_seconds
        anew = self.server_started is not None and abs(started - self.server_started) > SAME_START_SECONDS
        self.server_started = started
        if anew or settings_lost:
            self.since, self.replicas, self.silent = asked, set(living), set(living)
        if self.since is None:
            return False
        self.replicas &= living
        self.silent &= living
        for replica in tuple(self.replicas):
            self._judge(replica, known.replicas.get(replica), asked)
        if not self.replicas:
            self.since = None
            return False
        return bool(self.silent) and asked - self.since < LONGEST_DOUBT_SECONDS

    def _judge(self, replica: str, state: ReplicaState | None, asked: float) -> None:
        assert self.since is not None
        if state is None or state.report is None or state.age_seconds is None:
            return
        if asked - state.age_seconds <= self.since:
            return  # said before the loss
        self.silent.discard(replica)
        if state.claims or not state.report.jobs:
            self.replicas.discard(replica)
