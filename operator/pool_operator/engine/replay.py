"""The same function once more over what was recorded: what was decided, bit for bit, and what had been learned by then."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from pool_operator.engine.decide import decide
from pool_operator.engine.record import Call, Checkpoint, Entry, check_sum
from pool_operator.engine.state import Memory
from pool_operator.engine.types import Decision, PoolSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class Replayed:
    """A recorded call and what deciding again gives."""

    call: Call
    spec: PoolSpec
    decision: Decision
    memory: Memory  # after the decision
    equal: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Drifted:
    """At a checkpoint within a stretch the memory is another than the recorded one; the replay goes on with that."""

    at: float
    recorded: Memory
    replayed: Memory


def replay(entries: Iterable[Entry]) -> Iterator[Replayed | Drifted]:
    """Decide again from each checkpoint on. Calls before the first one, or after a gap, are passed over."""
    spec: PoolSpec | None = None
    memory: Memory | None = None
    for entry in entries:
        if isinstance(entry, Checkpoint):
            if entry.why != "start" and memory is not None and memory != entry.memory:
                yield Drifted(at=entry.at, recorded=entry.memory, replayed=memory)
            spec, memory = entry.spec, entry.memory
        elif isinstance(entry, Call):
            if spec is None or memory is None:
                continue
            decision, memory = decide(spec, entry.observed, memory, entry.at)
            equal = check_sum(decision) == entry.check_sum
            yield Replayed(call=entry, spec=spec, decision=decision, memory=memory, equal=equal)
        else:
            spec = memory = None


def remembered(entries: Iterable[Entry]) -> Memory | None:
    """What had been learned at the end: the last checkpoint and the steps after it; None without a checkpoint."""
    memory: Memory | None = None
    spec: PoolSpec | None = None
    for entry in entries:
        if isinstance(entry, Checkpoint):
            spec, memory = entry.spec, entry.memory
        elif isinstance(entry, Call) and spec is not None and memory is not None:
            memory = decide(spec, entry.observed, memory, entry.at)[1]
        # a gap: what was learned up to it is still the best there is
    return memory
