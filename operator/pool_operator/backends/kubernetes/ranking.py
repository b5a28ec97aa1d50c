"""The order in which the ReplicaSet controller removes pods.

Pure; a transcription of `ActivePodsWithRanks.Less` in Kubernetes' pkg/controller/controller_utils.go (v1.35). We must
know it, because lowering `replicas` names a number and the controller picks the pods: only if its first k picks are
exactly the drained ones may k pods go.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from functools import cmp_to_key
from math import log2

from pool_operator.backends.kubernetes.objects import PodFact

_PHASES = {"Pending": 0, "Unknown": 1, "Running": 2}


def deletion_order(
    pods: Iterable[PodFact], *, related: Iterable[PodFact], now: float, equal_cost: bool = False
) -> list[PodFact]:
    """Sort the pods of one ReplicaSet, the first to be removed first.

    Args:
        pods: active pods of the ReplicaSet.
        related: active pods of all ReplicaSets of the Deployment (doubled-up nodes are counted over them).
        now: unix seconds.
        equal_cost: leave the deletion cost out, to learn what it would have to overcome.
    """
    on_node = Counter(pod.node for pod in related)

    def compare(left: PodFact, right: PodFact) -> int:
        for side in (_class, _cost if not equal_cost else _nothing):
            a, b = side(left), side(right)
            if a != b:
                return -1 if a < b else 1
        if on_node[left.node] != on_node[right.node]:
            return -1 if on_node[left.node] > on_node[right.node] else 1
        return _by_age(left, right, now)

    return sorted(pods, key=cmp_to_key(compare))


def _class(pod: PodFact) -> tuple[int, ...]:
    """Unassigned, then by phase, then not ready: these go before any cost is looked at."""
    return (1 if pod.node else 0, _PHASES.get(pod.phase, 2), 1 if pod.ready else 0)


def _cost(pod: PodFact) -> tuple[int, ...]:
    return (pod.cost or 0,)


def _nothing(_: PodFact) -> tuple[int, ...]:
    return ()


def _by_age(left: PodFact, right: PodFact, now: float) -> int:
    if left.ready and right.ready and left.ready_at != right.ready_at:
        return _younger_first(left, right, left.ready_at or 0.0, right.ready_at or 0.0, now)
    if left.restarts != right.restarts:
        return -1 if left.restarts > right.restarts else 1
    if left.created_at != right.created_at:
        return _younger_first(left, right, left.created_at, right.created_at, now)
    return 0


def _younger_first(left: PodFact, right: PodFact, left_at: float, right_at: float, now: float) -> int:
    """Ages are compared by their power of two (LogarithmicScaleDown); within one, the UID decides."""
    difference = _magnitude(now - left_at) - _magnitude(now - right_at)
    if difference == 0:
        return -1 if left.id.uid < right.id.uid else 1
    return difference


def _magnitude(seconds: float) -> int:
    nanoseconds = seconds * 1e9
    return int(log2(nanoseconds)) if nanoseconds > 0 else -1
