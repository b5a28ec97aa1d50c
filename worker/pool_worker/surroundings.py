"""What all slots of a replica share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from pool_worker.admission import AllowList
from pool_worker.connection import Link
from pool_worker.interrupts import Watchdog
from pool_worker.run import Run
from pool_worker.settings import Settings
from pool_worker.slot_job import SlotJob


@dataclass(frozen=True, slots=True)
class Surroundings:
    """Built once, by the replica."""

    settings: Settings
    link: Link
    watchdog: Watchdog
    allowed: AllowList
    timeout_cap: Callable[[], float]  # seconds; live
    commitment: Callable[[], float]  # what a claim takes from the pool's grant; live
    slots: Callable[[], int]  # running now
    stuck: Callable[[Run | None], None]  # a job ignores its time-out
    started: Callable[[], None]
    measure: Callable[[], None]  # a job's code has ended: what did it take
    ended: Callable[[Run, SlotJob | None, str], None]  # how the run ended, for counters
