"""What one decision hands to the next: everything the engine has learned or keeps count of.

Pure data, JSON-able as it stands (engine/checkpoint.py): the ledger keeps it, a new leader goes on with it. Each part
belongs to one module of the engine, which alone changes it. Times are unix seconds.
"""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class Histogram:
    """Decayed counts in logarithmic bins (engine/histogram.py)."""

    weights: tuple[float, ...] = ()  # as far as there are any
    total: float = 0.0
    unit: float = 1.0  # weight of the newest sample; it grows, so that older ones need not be made lighter


@dataclass(frozen=True, slots=True, kw_only=True)
class RunTimes:
    """How long jobs run (engine/run_times.py)."""

    mean_seconds: float = 120.0
    seconds: Histogram = field(default_factory=Histogram)
    stretch: Histogram = field(default_factory=Histogram)  # run seconds per hinted second
    mean_stretch: float = 0.0  # 0: no hinted job has ended yet


@dataclass(frozen=True, slots=True, kw_only=True)
class ColdStarts:
    """From a replica's creation to its first possible claim (engine/cold_start.py)."""

    mean_seconds: float = 60.0
    samples: int = 0
    seconds: Histogram = field(default_factory=Histogram)
    starting: tuple[str, ...] = ()  # replicas seen starting, not yet ready


@dataclass(frozen=True, slots=True, kw_only=True)
class Traffic:
    """How fast work comes, and how much it grows within one cold start (engine/traffic.py)."""

    fast_per_second: float = 0.0  # EWMA over two minutes
    slow_per_second: float = 0.0  # EWMA over twenty minutes
    in_system: int | None = None  # waiting + running at the decision before
    last_arrival_at: float | None = None
    sampled_at: float | None = None
    pending: tuple[tuple[float, ...], ...] = ()  # growth samples under way
    growth: tuple[tuple[int, tuple[float, ...]], ...] = ()  # context -> weights by growth, the last is their sum


@dataclass(frozen=True, slots=True, kw_only=True)
class Levels:
    """When the k-th replica was last needed, and how long it has idled (engine/retention.py)."""

    needed_at: tuple[float, ...] = ()
    idle_since: tuple[float, ...] = ()  # negative: switched off by the guard until real demand reaches the level


@dataclass(frozen=True, slots=True, kw_only=True)
class CapacityTruth:
    """What the cluster really gives (engine/capacity.py)."""

    ceiling: int | None = None  # None: nothing known to be short
    probe_at: float | None = None  # when to ask for more again
    failures: int = 0  # probes that failed in a row


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
class LearnedSlots:
    """Slots of one replica, as memory and throughput have taught (engine/slots.py)."""

    slots: int | None = None  # None: nothing learned yet
    peak_bytes: Histogram = field(default_factory=Histogram)
    gpu_peak_bytes: Histogram = field(default_factory=Histogram)
    out_of_memory_at: float | None = None


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
    capacity: CapacityTruth = field(default_factory=CapacityTruth)
    spend: Spend = field(default_factory=Spend)
    met_since: tuple[float | None, ...] = ()  # for each threshold: since when its condition holds
    overflow_since: float | None = None
    learned: LearnedSlots = field(default_factory=LearnedSlots)
