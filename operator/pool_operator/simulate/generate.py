"""Traces of our own making: seeded, so that everybody has the same jobs, and free to ship.

They stand for the shapes that a pool meets, not for any real team's numbers: replace them with an export of your own
ledger as soon as there is one.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterable
from typing import Final, NamedTuple

from pool_operator.simulate.trace import Trace

PREFIX: Final = "generate:"
SEED: Final = 20_260_105
DAY_SECONDS: Final = 86_400.0
SHORTEST_SECONDS: Final = 5.0
LONGEST_SECONDS: Final = 7_200.0


class Job(NamedTuple):
    """One generated job; `hint`: seconds of media; `known`: how long before its arrival it was known."""

    arrival: float
    service: float
    hint: float = 0.0
    known: float = 0.0
    queue: str = ""


def generate(name: str, *, seed: int = SEED) -> Trace:
    """The trace of this name.

    Raises:
        KeyError: there is no such generator; GENERATORS has them all.
    """
    jobs = sorted(GENERATORS[name](random.Random(f"{SAME_JOBS.get(name, name)} {seed}")))  # noqa: S311 - a simulation
    first = jobs[0].arrival
    queues = tuple(dict.fromkeys(job.queue for job in jobs))
    return Trace(
        name=name,
        arrivals=[job.arrival - first for job in jobs],
        services=[job.service for job in jobs],
        hints=[job.hint for job in jobs] if any(job.hint for job in jobs) else None,
        queues=[queues.index(job.queue) for job in jobs] if queues != ("",) else None,
        queue_names=queues if queues != ("",) else (),
        known=[max(0.0, job.arrival - first - job.known) for job in jobs] if any(job.known for job in jobs) else None,
    )


def podcast(draw: random.Random) -> Iterable[Job]:
    """Thirty days of steady work: about 40 episodes on a weekday, 8 on others, 20 to 30 minutes each."""
    for day in range(30):
        for at in _arrivals(draw, day * DAY_SECONDS, DAY_SECONDS, (40 if day % 7 < 5 else 8) / DAY_SECONDS, _office):
            yield Job(at, draw.uniform(1_200, 1_800))


def burst(draw: random.Random) -> Iterable[Job]:
    """Two weeks in which four times a day 100 jobs come within a minute; between them next to nothing."""
    for day in range(14):
        for _ in range(4):
            began = (day + draw.random()) * DAY_SECONDS
            for _ in range(100):
                yield Job(began + draw.uniform(0, 60), _length(draw, 180, 0.6))
    for at in _arrivals(draw, 0, 14 * DAY_SECONDS, 20 / DAY_SECONDS):
        yield Job(at, _length(draw, 180, 0.6))


def transcription(draw: random.Random) -> Iterable[Job]:
    """Two weeks of uploads, busy by day and quiet by night; media length is told and predicts run time within 20 %."""
    for day in range(14):
        for at in _arrivals(draw, day * DAY_SECONDS, DAY_SECONDS, 350 / DAY_SECONDS, _office):
            media = _length(draw, 1_800, 0.8, longest=4 * 3_600)
            yield Job(at, 10 + media * 0.15 * draw.lognormvariate(0, 0.2), hint=media)


def transcription_blind(draw: random.Random) -> Iterable[Job]:
    """The very jobs of `transcription`, and nothing is told: what hints are worth is the difference."""
    yield from (job._replace(hint=0.0) for job in transcription(draw))


def transcription_scheduled(draw: random.Random) -> Iterable[Job]:
    """The very jobs of `transcription`; half of them were scheduled 5 to 60 minutes ahead, so they are known to come."""
    jobs = list(transcription(draw))
    yield from (job._replace(known=draw.uniform(300, 3_600) if draw.random() < 0.5 else 0.0) for job in jobs)


def mixed(draw: random.Random) -> Iterable[Job]:
    """One week of two queues: urgent jobs of a minute or two, and a nightly archive of 300 long ones."""
    for day in range(7):
        for at in _arrivals(draw, day * DAY_SECONDS, DAY_SECONDS, 200 / DAY_SECONDS, _office):
            yield Job(at, _length(draw, 90, 0.5), queue="urgent")
        for _ in range(300):
            yield Job((day + 1) * DAY_SECONDS + draw.uniform(3_600, 7_200), _length(draw, 900, 0.4), queue="archive")


def heavy(draw: random.Random) -> Iterable[Job]:
    """50,000 jobs in ten days: for looking at the simulator itself."""
    jobs = _arrivals(draw, 0, 12 * DAY_SECONDS, 5_000 / DAY_SECONDS, _office)
    yield from (Job(at, _length(draw, 60, 0.8)) for at, _ in zip(jobs, range(50_000), strict=False))


def _length(draw: random.Random, median: float, spread: float, *, longest: float = LONGEST_SECONDS) -> float:
    return min(longest, max(SHORTEST_SECONDS, draw.lognormvariate(math.log(median), spread)))


def _office(at: float) -> float:
    """How busy an hour of the day is; 1 on average."""
    return max(0.1, 1 - 1.2 * math.cos((at % DAY_SECONDS - 7_200) / DAY_SECONDS * 2 * math.pi))


def _arrivals(
    draw: random.Random, since: float, seconds: float, rate: float, shape: Callable[[float], float] = lambda _: 1.0
) -> Iterable[float]:
    """A Poisson process whose rate follows a shape, by thinning."""
    most, at = 2.5, since
    while True:
        at += draw.expovariate(rate * most)
        if at >= since + seconds:
            return
        if draw.random() < shape(at) / most:
            yield at


GENERATORS: Final[dict[str, Callable[[random.Random], Iterable[Job]]]] = {
    "podcast": podcast,
    "burst": burst,
    "transcription": transcription,
    "transcription-blind": transcription_blind,
    "transcription-scheduled": transcription_scheduled,
    "mixed": mixed,
    "heavy": heavy,
}
"""Name -> what makes its jobs."""
SAME_JOBS: Final = {"transcription-blind": "transcription", "transcription-scheduled": "transcription"}
"""Traces that are made from another one's jobs draw what it draws."""
