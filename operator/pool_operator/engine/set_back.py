"""A clock that has been set back: what the memory counts from goes back with it."""

from __future__ import annotations

from dataclasses import replace

from pool_operator.engine.state import Memory


def set_back(memory: Memory, now: float) -> Memory:
    """If the decision before was later than now, its clocks go on from here as if nothing had been between the two.

    A condition held for 200 of 300 seconds when the clock was set back by a day: it holds for long enough in 100
    seconds, and not in a day. Traffic, levels and money look after their own times.
    """
    if memory.at is None or memory.at <= now:
        return memory
    by, truth = memory.at - now, memory.capacity

    def moved(at: float | None) -> float | None:
        return None if at is None else at - by

    return replace(
        memory,
        proposals=tuple((at - by, replicas) for at, replicas in memory.proposals),
        met_since=tuple(moved(at) for at in memory.met_since),
        capacity=replace(
            truth,
            probe_at=moved(truth.probe_at),
            unasked_since=moved(truth.unasked_since),
            replaced_at=moved(truth.replaced_at),
            failing=tuple((name, since - by) for name, since in truth.failing),
        ),
        learned=replace(memory.learned, raise_at=memory.learned.raise_at - by),
    )
