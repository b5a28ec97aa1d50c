"""Other autoscalers' rules, by the names that `processingpool simulate --against` takes.

They are models, written from the peers' own sources and documentation; each module says what it models, where that
stands, and what flatters the peer.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from pool_operator.simulate.peers.aws import Aws
from pool_operator.simulate.peers.keda import Keda
from pool_operator.simulate.peers.kpa import Kpa
from pool_operator.simulate.peers.naive import Naive
from pool_operator.simulate.peers.runpod import Runpod
from pool_operator.simulate.peers.scaledjob import ScaledJob
from pool_operator.simulate.peers.wpa import Wpa
from pool_operator.simulate.policy import Peer


def _keda() -> Peer:
    """Defaults: five jobs a replica, a poll every 30 s, cooldown and window 300 s."""
    return Keda("keda", jobs_per_replica=5)


def _keda_quick() -> Peer:
    """One job a slot, a poll every second."""
    return Keda("keda-t1-poll1", jobs_per_replica=None, poll_seconds=1)


def _keda_inflight() -> Peer:
    """An expert's: running jobs count too."""
    return Keda("keda-inflight", jobs_per_replica=None, poll_seconds=1, count_running=True)


def _keda_inflight_fast() -> Peer:
    """The same with cooldown and window 60 s."""
    return Keda(
        "keda-inflight-fast",
        jobs_per_replica=None,
        poll_seconds=1,
        count_running=True,
        cooldown_seconds=60,
        window_seconds=60,
    )


PEERS: Final[Mapping[str, Callable[[], Peer]]] = {
    "keda": _keda,
    "keda-t1-poll1": _keda_quick,
    "keda-inflight": _keda_inflight,
    "keda-inflight-fast": _keda_inflight_fast,
    "scaledjob": lambda: ScaledJob("scaledjob"),
    "scaledjob-p5": lambda: ScaledJob("scaledjob-p5", poll_seconds=5),
    "wpa": lambda: Wpa("wpa"),
    "kpa": lambda: Kpa("kpa"),
    "runpod": lambda: Runpod("runpod"),
    "aws": lambda: Aws("aws"),
    "naive": lambda: Naive("naive"),
}
"""Name -> a new one, for one run."""
