"""The run log that the job functions write themselves, as what it says about each run."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from redis import Redis

from pool_contract import keys


@dataclass(frozen=True, slots=True)
class Run:
    """One run of one job; without an end it was cut off, or is still on."""

    job: str
    replica: str
    pid: int
    start: float
    end: float | None
    outcome: str | None


@dataclass(frozen=True, slots=True)
class Runs:
    """All runs, in the order of their starts."""

    all: tuple[Run, ...]

    @classmethod
    def read(cls, redis: Redis, prefix: str) -> Runs:
        entries = [json.loads(line) for line in redis.lrange(keys.run_log(prefix), 0, -1)]
        return cls(tuple(_pair(entries)))

    def of(self, job: str) -> list[Run]:
        return [run for run in self.all if run.job == job]

    @property
    def open(self) -> list[Run]:
        return [run for run in self.all if run.end is None]

    def starts(self) -> Counter[str]:
        return Counter(run.job for run in self.all)

    def replicas(self) -> set[str]:
        return {run.replica for run in self.all}

    def once(self, ids: Iterable[str]) -> bool:
        """Each of these jobs started once and ended well, and nothing else ran."""
        wanted = Counter(dict.fromkeys(ids, 1))
        return self.starts() == wanted and all(run.outcome == "finished" for run in self.all)

    def __str__(self) -> str:
        def line(run: Run) -> str:
            length = f"{run.end - run.start:.1f} s, {run.outcome}" if run.end is not None else "no end"
            return f"{run.start:.1f} {run.job} on {run.replica} pid {run.pid}: {length}"

        return "\n".join(line(run) for run in self.all)


def overlap(one: Run, other: Run) -> bool:
    """Whether two runs that have ended ran at the same time."""
    assert one.end is not None
    assert other.end is not None
    return one.start < other.end and other.start < one.end


def _pair(entries: list[dict]) -> list[Run]:
    runs: list[Run] = []
    for entry in entries:
        mark = (entry["job"], entry["replica"], entry["pid"])
        if entry["event"] == "start":
            runs.append(Run(*mark, entry["at"], None, None))
            continue
        # the last one: a restarted container has the same process ids, so an earlier run may be cut off under this mark
        places = [n for n, run in enumerate(runs) if (run.job, run.replica, run.pid) == mark and run.end is None]
        place = places[-1]
        started = runs[place]
        runs[place] = Run(*mark, started.start, entry["at"], entry.get("outcome"))
    return runs
