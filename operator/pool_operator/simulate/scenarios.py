"""The use cases as scenarios: each brings its jobs, its pool and the numbers that must come out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from pool_operator.simulate.ours import Ours
from pool_operator.simulate.result import Result
from pool_operator.simulate.terms import Terms
from pool_operator.simulate.trace import Trace


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One run of a scenario."""

    trace: Trace
    ours: Ours
    terms: Terms


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A number of the use case beside the simulated one."""

    what: str
    expected: str
    simulated: str
    holds: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    name: str
    sentence: str
    parts: Sequence[Part]
    rows: Callable[[Sequence[Result]], list[Row]]


SCENARIOS: Final[Mapping[str, Scenario]] = {}
