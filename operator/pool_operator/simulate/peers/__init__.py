"""Other autoscalers' rules, by the names that `processingpool simulate --against` takes.

They are models, written from the peers' own sources and documentation; each module says what it models, where that
stands, and what flatters the peer.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from pool_operator.simulate.peers import aws, keda, kpa, naive, runpod, scaledjob, wpa
from pool_operator.simulate.policy import Peer

PEERS: Final[Mapping[str, Callable[[], Peer]]] = {
    **keda.POLICIES,
    **scaledjob.POLICIES,
    **wpa.POLICIES,
    **kpa.POLICIES,
    **runpod.POLICIES,
    **aws.POLICIES,
    **naive.POLICIES,
}
"""Name -> a new one, for one run."""
