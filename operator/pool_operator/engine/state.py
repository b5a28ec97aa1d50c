"""What one decision hands to the next: everything the engine has learned or keeps count of.

Pure data, JSON-able as it stands (engine/checkpoint.py): the ledger keeps it, a new leader goes on with it. Each part
belongs to one module of the engine, which alone changes it. Times are unix seconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple


@dataclass(frozen=True, slots=True, kw_only=True)
class Histogram:
    """Decayed counts in logarithmic bins (engine/histogram.py)."""

    weights: tuple[float, ...] = ()  # as far as there are any
    total: float = 0.0
    unit: float = 1.0  # weight of the newest sample; it grows, so that older ones need not be made lighter


@dataclass(frozen=True, slots=True, kw_only=True)
class RunTimes:
    """How long jobs run (engine/run_times.py)."""

    jobs: int = 0  # taken in
    mean_seconds: float = 120.0
    seconds: Histogram = field(default_factory=Histogram)
    hinted_jobs: int = 0
    mean_stretch: float = 0.0  # run seconds per hinted second; 0: no hinted job has ended yet
    stretch: Histogram = field(default_factory=Histogram)


@dataclass(frozen=True, slots=True, kw_only=True)
class ColdStarts:
    """From a replica's creation to its first possible claim (engine/cold_start.py)."""

    mean_seconds: float = 60.0
    samples: int = 0
    seconds: Histogram = field(default_factory=Histogram)
    ready_until: float | None = None  # replicas that became ready up to then are taken in; None: no decision yet
    stuck: tuple[str, ...] = ()  # replicas that were stuck and are not ready: they teach nothing


class Growth(NamedTuple):
    """A sample of how the work grows within one cold start, under way."""

    at: float
    jobs: int  # in the system then
    context: int  # traffic then (engine/traffic.py)
    peak: int  # most jobs in the system since then


@dataclass(frozen=True, slots=True, kw_only=True)
class Traffic:
    """How fast work comes, and how much it grows within one cold start (engine/traffic.py)."""

    at: float | None = None  # when it was last brought up to date; None: never
    fast_per_second: float = 0.0  # arrivals, averaged over two minutes
    slow_per_second: float = 0.0  # and over twenty
    in_system: int | None = None  # jobs that wait or run; None: not known
    owed: int = 0  # jobs that went and have not been told to have ended; never above zero
    last_arrival_at: float | None = None
    sampled_at: float = 0.0
    pending: tuple[Growth, ...] = ()  # oldest first
    growth: Mapping[int, Histogram] = field(default_factory=dict)  # by context: growth, in jobs


@dataclass(frozen=True, slots=True, kw_only=True)
class Clocks:
    """A time for each level above a floor: level k is the k-th replica."""

    floor: int = 0
    times: tuple[float, ...] = ()  # of the levels floor + 1, floor + 2 …


@dataclass(frozen=True, slots=True, kw_only=True)
class Levels:
    """When the k-th replica was last needed, and since when it idles (engine/retention.py)."""

    needed: Clocks = field(default_factory=Clocks)  # when last needed, spares that are to be started included
    idle: Clocks = field(default_factory=Clocks)  # since when not needed by work; negative: switched off by the guard


@dataclass(frozen=True, slots=True, kw_only=True)
class Stillness:
    """What the decision before found, as long as nothing has happened since (engine/stillness.py)."""

    scene: tuple[float, ...] = ()
    demand_slots: int = 0
    start: int = 0  # headroom
    hold: int = 0
    replicas: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class CapacityTruth:
    """What the cluster really gives (engine/capacity.py)."""

    ceiling: int | None = None  # replicas that can be had; None: nothing known to be short
    probe: int = 0  # replicas asked for beyond the ceiling, to see whether there are more
    probe_at: float | None = None  # without a probe: when to ask again
    failures: int = 0  # probes that failed in a row
    unasked_since: float | None = None  # a probe may go out, but nobody wants more than there is
    words: str = ""  # the cluster's, when it last was short
    failing: tuple[tuple[str, float], ...] = ()  # replicas whose start fails, and since when we see that
    replacing: tuple[str, ...] = ()  # replicas that do not start, on their way out
    replaced_at: float | None = None  # when the last of them were gone
    replaced: int = 0  # rounds of them in a row without a start that succeeded


@dataclass(frozen=True, slots=True, kw_only=True)
class Spend:
    """Money spent in this day and this month (engine/spend.py)."""

    at: float | None = None  # counted up to here
    rate_per_hour: float = 0.0  # what was running then
    day: str = ""  # "2026-11-25" in the budget's time zone
    day_amount: float = 0.0
    month: str = ""
    month_amount: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """Run times at one number of slots, as logarithms: their number, mean, and sum of squared deviations."""

    jobs: float = 0.0
    mean: float = 0.0
    squares: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """One slot more than proved, to see whether it pays."""

    since: float
    before: Pace  # at one slot less


@dataclass(frozen=True, slots=True, kw_only=True)
class LearnedSlots:
    """Slots of one replica, as memory and throughput have taught (engine/slots.py)."""

    slots: int | None = None  # None: nothing learned yet
    rules: str = ""  # what the pool's spec said of memory when this was learned
    peak_bytes: Histogram = field(default_factory=Histogram)
    gpu_peak_bytes: Histogram = field(default_factory=Histogram)
    out_of_memory_at: float | None = None  # the last one
    out_of_memory: int = 0  # how many in a row
    raise_at: float = 0.0  # no slot more before that
    pace: Pace = field(default_factory=Pace)  # at `slots`
    trial: Trial | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """Everything that survives from decision to decision, and restarts and leader changes."""

    at: float | None = None  # time of the decision before; None: there was none
    cursor: tuple[int, int] = (0, 0)  # id of the last ended run that was taken in
    proposals: tuple[tuple[float, int], ...] = ()  # (time, replicas wished): the scale-down window
    unknown_since: float | None = None
    run_times: RunTimes = field(default_factory=RunTimes)
    cold_starts: ColdStarts = field(default_factory=ColdStarts)
    traffic: Traffic = field(default_factory=Traffic)
    levels: Levels = field(default_factory=Levels)
    stillness: Stillness = field(default_factory=Stillness)
    capacity: CapacityTruth = field(default_factory=CapacityTruth)
    spend: Spend = field(default_factory=Spend)
    met_since: tuple[float | None, ...] = ()  # for each threshold: since when its condition holds
    overflow_since: float | None = None
    learned: LearnedSlots = field(default_factory=LearnedSlots)
