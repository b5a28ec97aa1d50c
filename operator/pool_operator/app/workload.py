"""The jobs that a ledger tells of: when each came, how long it ran, and how long it waited.

A run's length and start are exact: its worker told them. Its arrival is read off the queues: what is there now and has
ended since, less what was there before, has come in between. So it is as exact as readings are close: a few
milliseconds with push, up to the period of the poll without. Within a queue, jobs are taken to start in the order in
which they came. A run that was lost is not a job of its own (its job goes back to the queue); one that is tried again
after a failure is.
"""

from __future__ import annotations

import csv
import gzip
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from pool_contract.messages import RunOutcome
from pool_operator.engine.record import Call, Entry
from pool_operator.engine.types import Ended, QueueReading, Reading
from pool_operator.simulate.trace import Trace


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedJob:
    """Times are unix seconds."""

    arrived_at: float
    run_seconds: float
    wait_seconds: float
    queue: str
    hint_seconds: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """Jobs in order of arrival. `unfinished` came and did not end before the ledger does."""

    began_at: float  # first reading
    jobs: tuple[RecordedJob, ...] = ()
    unfinished: int = 0

    def trace(self, name: str) -> Trace:
        """For the simulator; seconds count from the first reading."""
        queues = tuple(dict.fromkeys(job.queue for job in self.jobs))
        return Trace(
            name=name,
            arrivals=[max(0.0, job.arrived_at - self.began_at) for job in self.jobs],
            services=[job.run_seconds for job in self.jobs],
            hints=[job.hint_seconds for job in self.jobs],
            queues=[queues.index(job.queue) for job in self.jobs],
            queue_names=queues,
        )


@dataclass(slots=True)
class _Queue:
    arrivals: list[float] = field(default_factory=list)
    departed: int = 0
    runs: list[Ended] = field(default_factory=list)
    seen_at: float | None = None

    def look(self, reading: QueueReading, at: float) -> None:
        here = reading.waiting + reading.running + reading.expired + reading.intermediate + reading.due
        new = here + self.departed - len(self.arrivals)
        if new > 0:
            self.arrivals += self._times(new, reading, at)
        self.seen_at = at

    def _times(self, new: int, reading: QueueReading, at: float) -> list[float]:
        """When so many came that the reading before did not show."""
        before = at if self.seen_at is None else self.seen_at
        if reading.waiting > new:
            return _spread(before, at, new)
        if reading.waiting == 0 or reading.oldest_wait_seconds is None:
            return [at] * new  # they have started already: no later than that
        # the head of the queue is one of them, and tells its own time; who came before it has started already
        head = max(min(before, at), at - reading.oldest_wait_seconds) if self.seen_at else at
        started = new - reading.waiting
        return [head] * (started + 1) + _spread(head, at, new - started - 1)


def _spread(since: float, until: float, number: int) -> list[float]:
    """Evenly: two between second 10 and 20 came at 15 and 20."""
    return [since + (until - since) * place / number for place in range(1, number + 1)]


def workload(entries: Iterable[Entry]) -> Workload:
    """What came and ended, by the calls among these entries."""
    queues: dict[str, _Queue] = {}
    taken: set[tuple[int, int]] = set()
    late: list[Ended] = []  # ended after the reading that they came with
    began_at: float | None = None
    for entry in entries:
        if not isinstance(entry, Call):
            continue
        late += [one for one in entry.observed.ended if one.id not in taken]
        taken.update(one.id for one in entry.observed.ended)
        reading = entry.observed.reading
        if not isinstance(reading, Reading):
            continue
        began_at = reading.at if began_at is None else began_at
        for one in [one for one in late if one.at <= reading.at]:
            _take(queues.setdefault(one.queue, _Queue()), one, began_at)
        late = [one for one in late if one.at > reading.at]
        for name, there in reading.queues.items():
            queues.setdefault(name, _Queue()).look(there, reading.at)
    for one in late:
        _take(queues.setdefault(one.queue, _Queue()), one, began_at or 0.0)
    jobs = [job for name, queue in queues.items() for job in _matched(name, queue)]
    jobs.sort(key=lambda job: job.arrived_at)
    unfinished = sum(max(0, len(queue.arrivals) - len(queue.runs)) for queue in queues.values())
    return Workload(began_at=began_at or 0.0, jobs=tuple(jobs), unfinished=unfinished)


def _take(queue: _Queue, run: Ended, began_at: float) -> None:
    if run.outcome is RunOutcome.LOST or run.at < began_at:
        return
    queue.departed += 1
    queue.runs.append(run)


def _matched(name: str, queue: _Queue) -> Iterable[RecordedJob]:
    """The k-th to start is the k-th that came; none starts before it comes."""
    runs = sorted(queue.runs, key=lambda one: one.at - one.seconds)
    arrivals = sorted(queue.arrivals)
    for place, run in enumerate(runs):
        started = run.at - run.seconds
        arrived = min(arrivals[place], started) if place < len(arrivals) else started
        yield RecordedJob(
            arrived_at=arrived,
            run_seconds=run.seconds,
            wait_seconds=started - arrived,
            queue=name,
            hint_seconds=run.hint_seconds,
        )


def write_trace(path: Path, found: Workload) -> None:
    """`arrival_s,service_s,hint_s,queue`, gzip if the name ends with .gz."""
    with (
        gzip.open(path, "wt", encoding="utf-8", newline="")
        if path.suffix == ".gz"
        else path.open("w", encoding="utf-8", newline="") as file
    ):
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(("arrival_s", "service_s", "hint_s", "queue"))
        for job in found.jobs:
            arrival = max(0.0, job.arrived_at - found.began_at)
            rows.writerow((f"{arrival:.3f}", f"{job.run_seconds:.3f}", f"{job.hint_seconds:g}", job.queue))
