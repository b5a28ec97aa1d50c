"""What one run of the simulator measured. After: the table, `summary.json` and the plots."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from pool_operator.simulate.close_up import Moments
from pool_operator.simulate.timeline import Series


@dataclass(frozen=True, slots=True, kw_only=True)
class Day:
    """One calendar day in the budget's time zone, or in UTC."""

    date: str  # "2026-01-05"
    started: int = 0  # jobs
    ended: int = 0
    replica_seconds: float = 0.0  # billed: from creation to exit
    cold_start_seconds: float = 0.0  # of these, before replicas were ready
    work_seconds: float = 0.0  # slots that ran jobs
    cost: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """One policy on one trace.

    Replica-seconds count from a replica's creation to its exit, cold start and drain included. A wait counts from
    arrival to the start of the run, once for each job; of a job that was killed, to the start of its last run.
    """

    trace: str
    policy: str
    cold_start_seconds: float
    slots: int
    waits: list[float]  # seconds, in order of arrival; jobs that never started are not among them
    queue_waits: dict[str, list[float]]
    replica_seconds: float
    work_seconds: float  # run time of all jobs / slots: what no policy can do without
    oracle_seconds: float | None = None  # clairvoyant, no job waits; None: not computed
    profile: str | None = None  # of ours
    wait_value: float | None = None
    pod_starts: int = 0
    unused_starts: int = 0  # replicas that ended without ever running a job
    scale_actions: int = 0
    decisions: int = 0
    jobs: int = 0  # in the trace
    jobs_hit: int = 0  # that ran on a replica which was chosen to go while they ran
    kills: int = 0
    given_up: int = 0  # killed for the fourth time
    killed_seconds: float = 0.0  # run time that was lost by kills
    peak_replicas: int = 0
    ended_at: float = 0.0  # seconds since the trace began, when the last replica was gone
    cold_start_seconds_billed: float = 0.0
    cost: float = 0.0
    unfinished: int = 0  # jobs that had not ended when the run was cut off (nothing could happen any more)
    series: Series = field(default_factory=Series)
    moments: Moments = field(default_factory=Moments)
    days: list[Day] = field(default_factory=list)

    @property
    def mean_wait_seconds(self) -> float:
        return math.fsum(self.waits) / len(self.waits) if self.waits else 0.0

    @property
    def gpu_hours(self) -> float:
        return self.replica_seconds / 3600

    def objective(self, wait_value: float) -> float:
        """J(v) in replica-hours: replicas plus v times the hours that jobs waited."""
        return (self.replica_seconds + wait_value * math.fsum(self.waits)) / 3600

    def summary(self) -> dict[str, Any]:
        """The entry of `summary.json`."""
        half, most, nearly = quantiles(self.waits, (0.5, 0.95, 0.99))
        return {
            "trace": self.trace,
            "policy": self.policy,
            "profile": self.profile,
            "wait_value": self.wait_value,
            "cold_start_seconds": self.cold_start_seconds,
            "slots": self.slots,
            "jobs": self.jobs,
            "wait_seconds": {
                "mean": round(self.mean_wait_seconds, 3),
                "p50": round(half, 3),
                "p95": round(most, 3),
                "p99": round(nearly, 3),
            },
            "gpu_hours": round(self.gpu_hours, 4),
            "work_gpu_hours": round(self.work_seconds / 3600, 4),
            "oracle_gpu_hours": None if self.oracle_seconds is None else round(self.oracle_seconds / 3600, 4),
            "pod_starts": self.pod_starts,
            "unused_starts": self.unused_starts,
            "scale_actions": self.scale_actions,
            "jobs_hit": self.jobs_hit,
        }


def quantiles(values: Sequence[float], shares: Sequence[float]) -> list[float]:
    """Linear between neighbours, as numpy's default.

    Of 0, 10, 20: the median is 10, the 75th percentile 15.
    """
    if not values:
        return [0.0] * len(shares)
    ordered = sorted(values)
    found = []
    for share in shares:
        place = share * (len(ordered) - 1)
        low = math.floor(place)
        high = min(low + 1, len(ordered) - 1)
        found.append(ordered[low] + (place - low) * (ordered[high] - ordered[low]))
    return found
