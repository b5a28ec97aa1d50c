"""The table of a comparison: the same columns on the terminal and on the page."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from pool_operator.simulate.result import Result, quantiles

OURS: Final = "processingpool"
COLUMNS: Final = (
    "policy",
    "mean wait s",
    "p95 wait s",
    "replica hours",
    "over work",
    "starts (unused)",
    "jobs hit",
)
COST: Final = "cost"
MEANING: Final = (
    "replica hours: from a replica's creation to its end, cold start and drain included; over work: how many more "
    "these are than the jobs' own run time; unused: replicas that never ran a job; "
    "jobs hit: jobs that ran on a replica when the policy chose it to go."
)


def label(result: Result) -> str:
    """`processingpool Balanced`, `processingpool v=4`, or a peer's name."""
    if result.policy != OURS:
        return result.policy
    return f"{OURS} {result.profile or f'v={result.wait_value:g}'}"


def ordered(results: Sequence[Result]) -> list[Result]:
    """Ours first, by what a second of waiting is worth; then by replica-hours."""
    return sorted(results, key=lambda one: (one.policy != OURS, one.wait_value or 0.0, one.replica_seconds))


def columns(results: Sequence[Result]) -> list[str]:
    """With money where the pool has a price."""
    return [*COLUMNS, COST] if any(one.cost for one in results) else list(COLUMNS)


def rows(results: Sequence[Result]) -> list[list[str]]:
    """In order, under `columns`."""
    width = len(columns(results))
    return [_row(one)[:width] for one in ordered(results)]


def _row(one: Result) -> list[str]:
    (most,) = quantiles(one.waits, (0.95,))
    return [
        label(one),
        f"{one.mean_wait_seconds:,.1f}",
        f"{most:,.1f}",
        f"{one.gpu_hours:,.{1 if one.gpu_hours >= 10 else 2}f}",
        f"{one.replica_seconds / one.work_seconds - 1:+.1%}" if one.work_seconds else "",
        f"{one.pod_starts:,} ({one.unused_starts:,})",
        f"{one.jobs_hit:,}",
        f"{one.cost:,.2f}",
    ]
