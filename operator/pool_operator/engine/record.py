"""The ledger's records: steps of a pool in, JSON-able records out, and back.

    checkpoint  memory, spec and fingerprint: here a replay can begin; the step after it has its whole snapshot
    step        one call of `decide`: what is new in the snapshot, a check sum of the decision, and the decision itself
                where it changes something
    calls       a quiet stretch: [now, check sum, time of the reading, oldest waits] of each call, as far as new
    gap         steps that were not recorded, and why

A pool that has 5 jobs waiting and the same decision for an hour is one step and an hour's `calls`.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from pool_operator.engine.change import change, patch
from pool_operator.engine.checkpoint import FORMAT, UnreadableError, from_data, to_data, to_text
from pool_operator.engine.state import Memory
from pool_operator.engine.types import Decision, Observed, PoolSpec

Record = dict[str, Any]
CHECKPOINT_SECONDS: Final = 300.0
QUIET_CHECKPOINT_SECONDS: Final = 3600.0  # where only calls were recorded since
CHECKPOINT_STEPS: Final = 100  # a new leader decides so many again, of each pool, before it begins


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One call of `decide`: `decide(spec, observed, before, decision.at) == (decision, after)`."""

    spec: PoolSpec
    observed: Observed
    before: Memory
    decision: Decision
    after: Memory


def check_sum(decision: Decision) -> int:
    """Of every bit of a decision, its words and inputs included; 5 and 5.0 are the same number."""
    return zlib.crc32(to_text(_same_numbers(to_data(Decision, decision))).encode("utf-8", "surrogatepass"))


def _same_numbers(data: Any) -> Any:
    """An int in the place of a float comes back from JSON as a float."""
    if isinstance(data, float):
        return int(data) if data.is_integer() else data
    if isinstance(data, dict):
        return {key: _same_numbers(value) for key, value in data.items()}
    if isinstance(data, (list, tuple)):
        return [_same_numbers(value) for value in data]
    return data


def changes_something(old: Decision | None, new: Decision) -> bool:
    """Not for other words alone: those of each call can be had again by a replay."""
    return old is None or _essence(old) != _essence(new)


def _essence(one: Decision) -> tuple[object, ...]:
    return (one.replicas, one.slots, one.reason, one.limited_by, frozenset(one.drain), one.acts, one.granted)


# --- in -----------------------------------------------------------------------------------------------------------


class Recording:
    """Turns the steps of one pool, in their order, into records.

    Args:
        about: what each checkpoint tells besides: the pool, the fingerprint, and what the user asked for.
    """

    def __init__(self, about: Mapping[str, Any]) -> None:
        self.about = dict(about)
        self._records: list[Record] = []
        self._last: Step | None = None
        self._checkpoint_at = 0.0
        self._steps = 0
        self._quiet = True

    def take(self, step: Step) -> None:
        """Take in the next step."""
        why = self._why_checkpoint(step)
        if why:
            self._checkpoint(step, why)
        last, self._last = self._last, step
        self._steps += 1
        if why or last is None:
            self._step(step, {"all": to_data(Observed, step.observed)}, decided=step.decision)
            self._quiet = True  # so far
            return
        new = change(last.observed, step.observed)
        decided = step.decision if changes_something(last.decision, step.decision) else None
        row = None if decided else _row(step, new)
        if row is None:
            self._step(step, new, decided=decided)
        elif self._records and self._records[-1]["kind"] == "calls":
            self._records[-1]["rows"].append(row)
        else:
            self._records.append({"kind": "calls", "rows": [row]})

    def lost(self, *, since: float, until: float, steps: int, why: str) -> None:
        """Steps that are not in the ledger; the next one begins anew."""
        self._records.append({"kind": "gap", "at": since, "until": until, "steps": steps, "why": why})
        self._last = None

    def begin_anew(self) -> None:
        """The next step begins with a checkpoint (a new file does)."""
        self._last = None

    def drain(self) -> list[Record]:
        """The records since the last call."""
        records, self._records = self._records, []
        return records

    def _step(self, step: Step, new: Mapping[str, Any], *, decided: Decision | None) -> None:
        record: Record = {
            "kind": "step",
            "at": step.decision.at,
            "observed": new,
            "sum": check_sum(step.decision),
        }
        if decided is not None:
            record["decision"] = to_data(Decision, decided)
        self._records.append(record)
        self._quiet = False

    def _why_checkpoint(self, step: Step) -> str:
        last, age = self._last, step.decision.at - self._checkpoint_at
        if last is None or step.before is not last.after:
            return "start"
        if step.spec != last.spec:
            return "spec"
        if self._steps >= CHECKPOINT_STEPS or age >= (QUIET_CHECKPOINT_SECONDS if self._quiet else CHECKPOINT_SECONDS):
            return "time"
        return ""

    def _checkpoint(self, step: Step, why: str) -> None:
        self._records.append(
            {
                "kind": "checkpoint",
                "format": FORMAT,
                "at": step.decision.at,
                "why": why,
                **self.about,
                "spec": to_data(PoolSpec, step.spec),
                "memory": to_data(Memory, step.before),
            }
        )
        self._checkpoint_at, self._steps = step.decision.at, 0


def _row(step: Step, new: Mapping[str, Any]) -> list[Any] | None:
    """The short form of a call, if nothing but the reading's time and the waits are new."""
    reading = new.get("reading", {})
    if new.keys() - {"reading"} or reading.keys() - {"at", "waits"}:
        return None
    row = [step.decision.at, check_sum(step.decision), reading.get("at"), reading.get("waits")]
    while row[-1] is None:
        row.pop()
    return row


# --- out ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """Where a replay can begin."""

    at: float
    why: str  # "start" | "spec" | "time"; all but "start" go on from the step before
    spec: PoolSpec
    memory: Memory
    about: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One call of `decide`, as recorded."""

    at: float
    observed: Observed
    check_sum: int
    decision: Decision | None  # None: it changed nothing


@dataclass(frozen=True, slots=True, kw_only=True)
class Gap:
    """Steps that were not recorded."""

    at: float
    until: float
    steps: int
    why: str


Entry = Checkpoint | Call | Gap


def read_records(records: Iterable[Record]) -> Iterator[Entry]:
    """What was recorded, from the first checkpoint on.

    Raises:
        UnreadableError: a record is not ours, or of a version that this one does not know.
    """
    observed: Observed | None = None
    begun = False
    for record in records:
        try:
            kind = record["kind"]
            if kind == "checkpoint":
                begun, observed = True, None
                yield _read_checkpoint(record)
            elif kind == "gap":
                begun = False
                yield Gap(at=record["at"], until=record["until"], steps=record["steps"], why=record["why"])
            elif begun and kind == "step":
                observed = _read_observed(observed, record["observed"])
                yield Call(
                    at=record["at"],
                    observed=observed,
                    check_sum=record["sum"],
                    decision=from_data(Decision, record["decision"]) if "decision" in record else None,
                )
            elif begun and kind == "calls":
                for row in record["rows"]:
                    observed, call = _read_row(observed, row)
                    yield call
        except (LookupError, TypeError, ValueError, AttributeError) as error:
            raise UnreadableError(f"a record of the ledger cannot be read: {error}") from error


def _read_checkpoint(record: Record) -> Checkpoint:
    if record["format"] != FORMAT:
        raise UnreadableError(f"the ledger has format {record['format']}, this program reads {FORMAT}")
    return Checkpoint(
        at=record["at"],
        why=record["why"],
        spec=from_data(PoolSpec, record["spec"]),
        memory=from_data(Memory, record["memory"]),
        about={key: record[key] for key in record.keys() - {"kind", "format", "at", "why", "spec", "memory"}},
    )


def _read_observed(before: Observed | None, data: Mapping[str, Any]) -> Observed:
    if "all" in data:
        return from_data(Observed, data["all"])
    if before is None:
        raise UnreadableError("a step of the ledger has no snapshot before it")
    return patch(before, data)


def _read_row(before: Observed | None, row: list[Any]) -> tuple[Observed, Call]:
    at, check, reading_at, waits = (*row, None, None)[:4]
    new = {key: value for key, value in (("at", reading_at), ("waits", waits)) if value is not None}
    observed = _read_observed(before, {"reading": new} if new else {})
    return observed, Call(at=at, observed=observed, check_sum=check, decision=None)
