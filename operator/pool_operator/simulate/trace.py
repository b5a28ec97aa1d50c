"""Traces: when jobs came and how long they ran. Read from CSV files, gzipped or not, or from a folder of them."""

from __future__ import annotations

import csv
import gzip
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

REQUIRED: Final = ("arrival_s", "service_s")
OPTIONAL: Final = ("hint_s", "queue", "known_s")
HEADER: Final = "a trace starts with the header line arrival_s,service_s (and may add hint_s, queue, known_s)"
SUFFIXES: Final = (".csv", ".csv.gz")
LONGEST_SECONDS: Final = 1e10


class TraceError(ValueError):
    """A trace that cannot be used: one sentence with file, line and what is wrong."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trace:
    """Jobs in order of arrival; times are seconds, arrivals counted from the trace's own beginning.

    Three jobs, the first of 60 s at second 0: `Trace(name="three", arrivals=[0, 5, 9], services=[60, 30, 30])`.
    """

    name: str
    arrivals: list[float]
    services: list[float]
    hints: list[float] | None = None  # seconds of media, told at submission; 0: not told
    queues: list[int] | None = None  # index into queue_names
    queue_names: tuple[str, ...] = ()
    known: list[float] | None = None  # since when the arrival was known (a scheduled job); = arrival: not before

    @property
    def jobs(self) -> int:
        return len(self.arrivals)

    @property
    def mean_service_seconds(self) -> float:
        return math.fsum(self.services) / len(self.services)


def load(path: Path) -> list[Trace]:
    """One trace of a file, or all of a folder, by name.

    Raises:
        TraceError: it is not there, or not a trace.
    """
    if path.is_dir():
        files = sorted(one for one in path.iterdir() if one.name.endswith(SUFFIXES))
        if not files:
            raise TraceError(f"{path}: no file that ends with .csv or .csv.gz is in this folder")
        return [read(one) for one in files]
    return [read(path)]


def read(path: Path) -> Trace:
    """One trace file.

    Raises:
        TraceError: with file, line and what is wrong.
    """
    try:
        with _open(path) as file:
            return _parse(path, csv.reader(file))
    except OSError as error:  # gzip's BadGzipFile too
        raise TraceError(f"{path}: cannot be read: {error.strerror or error}") from error
    except (EOFError, UnicodeDecodeError) as error:
        raise TraceError(f"{path}: is cut off, or not text: {error}") from error
    except csv.Error as error:
        raise TraceError(f"{path}: is not CSV: {error}") from error


def _open(path: Path) -> IO[str]:
    if path.name.endswith(".gz"):
        return gzip.open(path, "rt", encoding="utf-8", newline="")
    return path.open(encoding="utf-8", newline="")


def _parse(path: Path, rows: Iterator[list[str]]) -> Trace:
    header = [one.strip() for one in next(rows, [])]
    unknown = [one for one in header if one not in (*REQUIRED, *OPTIONAL)]
    if missing := [one for one in REQUIRED if one not in header]:
        raise TraceError(f"{path}:1: has no column {' and no column '.join(missing)}: {HEADER}")
    if unknown:
        raise TraceError(f"{path}:1: does not know the column '{unknown[0]}': {HEADER}")
    columns = {name: header.index(name) for name in header}
    jobs = [_job(path, line, row, columns) for line, row in enumerate(rows, start=2) if row]
    if not jobs:
        raise TraceError(f"{path}: holds no job: {HEADER}, then one line for each job")
    return _trace(path.name.removesuffix(".gz").removesuffix(".csv"), jobs, columns)


def _job(path: Path, line: int, row: list[str], columns: dict[str, int]) -> tuple[float, float, float, str, float]:
    """Arrival, service, hint, queue, known."""
    if len(row) != len(columns):
        raise TraceError(f"{path}:{line}: has {len(row)} values, the header has {len(columns)}")

    def number(name: str, default: float = 0.0) -> float:
        text = row[columns[name]].strip() if name in columns else ""
        if not text and name not in REQUIRED:
            return default
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not 0 <= value <= LONGEST_SECONDS:
            raise TraceError(f"{path}:{line}: {name} is '{text}', but must be a number of seconds, 0 or more")
        return value

    arrival = number("arrival_s")
    known = number("known_s", arrival)
    if known > arrival:
        raise TraceError(f"{path}:{line}: known_s is {known:g}, later than arrival_s, {arrival:g}")
    queue = row[columns["queue"]].strip() if "queue" in columns else ""
    return arrival, number("service_s"), number("hint_s"), queue, known


def _trace(name: str, jobs: list[tuple[float, float, float, str, float]], columns: dict[str, int]) -> Trace:
    jobs.sort(key=lambda one: one[0])
    names = tuple(dict.fromkeys(one[3] for one in jobs)) if "queue" in columns else ()
    index = {one: place for place, one in enumerate(names)}
    return Trace(
        name=name,
        arrivals=[one[0] for one in jobs],
        services=[one[1] for one in jobs],
        hints=[one[2] for one in jobs] if "hint_s" in columns else None,
        queues=[index[one[3]] for one in jobs] if names else None,
        queue_names=names,
        known=[one[4] for one in jobs] if "known_s" in columns else None,
    )
