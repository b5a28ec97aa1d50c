"""What a scenario is: a use case's jobs, its pool, and the numbers that must come out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pool_operator.engine.types import PoolSpec
from pool_operator.simulate.ours import Ours
from pool_operator.simulate.result import Result
from pool_operator.simulate.terms import EPOCH, Terms
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
    """`make_parts` builds the runs; `rows` judges their results, in the same order."""

    name: str
    sentence: str
    pool: PoolSpec
    make_parts: Callable[[], Sequence[Part]]
    rows: Callable[[Sequence[Result]], list[Row]]


def part(
    name: str,
    pool: PoolSpec,
    arrivals: Sequence[float],
    services: Sequence[float],
    *,
    cold_start_seconds: float,
    queues: Sequence[int] | None = None,
    epoch: float = EPOCH,
) -> Part:
    """A run of a pool on jobs in order of arrival; `queues` are places in the pool's own list."""
    names = tuple(queue.name for queue in pool.queues)
    first = arrivals[0]
    return Part(
        trace=Trace(
            name=name,
            arrivals=[one - first for one in arrivals],
            services=list(services),
            queues=None if queues is None else list(queues),
            queue_names=() if queues is None else names,
        ),
        ours=Ours(spec=pool),
        terms=Terms(
            cold_start_seconds=cold_start_seconds,
            slots=pool.slots_per_replica,
            min_replicas=pool.min_replicas,
            max_replicas=pool.max_replicas,
            price_per_replica_hour=pool.budget.price_per_replica_hour if pool.budget else 0.0,
            time_zone=pool.budget.time_zone if pool.budget else "UTC",
            epoch=epoch + first,
        ),
    )


def equal(what: str, expected: float, simulated: float, unit: str = "") -> Row:
    """Must come out exactly."""
    return Row(
        what=what, expected=f"{expected:,g}{unit}", simulated=f"{simulated:,g}{unit}", holds=simulated == expected
    )


def at_most(what: str, most: float, simulated: float, unit: str = "") -> Row:
    return Row(
        what=what, expected=f"at most {most:,g}{unit}", simulated=f"{simulated:,.4g}{unit}", holds=simulated <= most
    )


def about(what: str, expected: float, simulated: float, *, within: float, unit: str = "") -> Row:
    """Must come out within a share of what is expected."""
    return Row(
        what=what,
        expected=f"about {expected:,g}{unit}",
        simulated=f"{simulated:,.4g}{unit}",
        holds=abs(simulated - expected) <= within * expected,
    )


def told(what: str, simulated: str) -> Row:
    """For the reader; nothing is expected."""
    return Row(what=what, expected="", simulated=simulated, holds=True)
