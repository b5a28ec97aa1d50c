"""What the main thread of a replica is told."""

from __future__ import annotations

from enum import StrEnum
from queue import SimpleQueue


class Event(StrEnum):
    SIGNAL = "signal"
    STUCK = "stuck"  # a job ignores its time-out
    STALE = "stale"  # another process has registered as this replica
    FAILED = "failed"  # the model cannot be loaded
    DONE = "done"  # --burst: nothing is left


Inbox = SimpleQueue[tuple[Event, str]]
"""Its put may be called from a signal handler: it takes no lock that the interrupted code could hold."""
