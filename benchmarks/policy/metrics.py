"""The arithmetic of the comparison: rows of results in, figures out. Nothing here runs or prints anything.

A cell is one trace x one peer x one cold start x one number of slots. Ours is a family: the same engine at each setting
of its one knob v. J(v) = GPU-hours + v x hours of waiting, over the same of the best clairvoyant schedule: 1.00 is as
good as knowing the future.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import geometric_mean, mean
from typing import NamedTuple

P95_SLACK_SECONDS = 1.0
GPU_SLACK = 0.01
DEFAULT_WAIT_VALUE = 2.0
OURS = "processingpool"
CLAIRVOYANT = "clairvoyant"
RUNPOD = "runpod"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """What one policy did on one trace. `wait_value`: of ours, None of a peer; of the clairvoyant, the longest wait."""

    trace: str
    policy: str
    wait_value: float | None
    cold_start_seconds: float
    slots: int
    jobs: int
    mean_seconds: float
    p50_seconds: float
    p95_seconds: float
    p99_seconds: float
    gpu_hours: float
    work_gpu_hours: float
    pod_starts: int
    unused_starts: int
    scale_actions: int
    jobs_hit: int

    @property
    def wait_hours(self) -> float:
        return self.mean_seconds * self.jobs / 3600


class Place(NamedTuple):
    """Where policies meet: the same jobs, cold starts and slots."""

    trace: str
    cold_start_seconds: float
    slots: int


class Cell(NamedTuple):
    """One peer at one place, and how near ours came."""

    place: Place
    peer: Row
    strict: bool
    within: bool  # covered with the slack
    nearest: Row  # of ours: the least cost among those with a p95 as short; none such: the shortest p95


class Results:
    """All rows, by place."""

    def __init__(self, rows: Iterable[Row]) -> None:
        self.ours: dict[Place, list[Row]] = defaultdict(list)
        self.peers: dict[Place, list[Row]] = defaultdict(list)
        self.clairvoyant: dict[Place, list[Row]] = defaultdict(list)
        families = {OURS: self.ours, CLAIRVOYANT: self.clairvoyant}
        for one in rows:
            place = Place(one.trace, one.cold_start_seconds, one.slots)
            families.get(one.policy, self.peers)[place].append(one)

    def places(self, keep: Callable[[Place], bool] = lambda _: True) -> list[Place]:
        return sorted(place for place in self.ours if keep(place))

    def at(self, place: Place, wait_value: float = DEFAULT_WAIT_VALUE) -> Row:
        return next(one for one in self.ours[place] if one.wait_value == wait_value)


# --- Pareto: does a setting of ours do as well in both waiting and cost? ---------------------------------------------


def dominates(better: Row, worse: Row) -> bool:
    """No worse in p95 and in GPU-hours, and better in one of them."""
    no_worse = better.p95_seconds <= worse.p95_seconds and better.gpu_hours <= worse.gpu_hours
    return no_worse and (better.p95_seconds < worse.p95_seconds or better.gpu_hours < worse.gpu_hours)


def as_good(ours: Row, peer: Row) -> bool:
    """With the slack: p95 at most a second longer, at most 1 % more GPU-hours."""
    return ours.p95_seconds <= peer.p95_seconds + P95_SLACK_SECONDS and ours.gpu_hours <= peer.gpu_hours * (
        1 + GPU_SLACK
    )


def cells(results: Results) -> list[Cell]:
    return [_cell(place, peer, results.ours[place]) for place in results.places() for peer in results.peers[place]]


def _cell(place: Place, peer: Row, ours: Sequence[Row]) -> Cell:
    quick = [one for one in ours if one.p95_seconds <= peer.p95_seconds + P95_SLACK_SECONDS]
    nearest = (
        min(quick, key=lambda one: one.gpu_hours)
        if quick
        else min(ours, key=lambda one: (one.p95_seconds, one.gpu_hours))
    )
    return Cell(
        place=place,
        peer=peer,
        strict=any(dominates(one, peer) for one in ours),
        within=any(as_good(one, peer) for one in ours),
        nearest=nearest,
    )


def undecided(results: Results, finer: Sequence[float]) -> set[tuple[Place, float]]:
    """Settings that may still cover a cell: between the dearest that is cheap enough and the first that is quick enough.

    Both sides move with v: a larger one waits less and costs more. Of several in between, the middle one.
    """
    found = set()
    for place in results.places():
        rows = sorted(results.ours[place], key=lambda row: row.wait_value or 0.0)
        for peer in results.peers[place]:
            for slack_seconds, slack in ((0.0, 0.0), (P95_SLACK_SECONDS, GPU_SLACK)):
                cheap = [one.gpu_hours <= peer.gpu_hours * (1 + slack) for one in rows]
                quick = [one.p95_seconds <= peer.p95_seconds + slack_seconds for one in rows]
                if any(one and two for one, two in zip(cheap, quick, strict=True)):
                    continue
                low = max((row.wait_value or 0.0 for row, holds in zip(rows, cheap, strict=True) if holds), default=0.0)
                high = min(
                    (row.wait_value or 0.0 for row, holds in zip(rows, quick, strict=True) if holds), default=math.inf
                )
                between = [value for value in finer if low < value < high]
                if between:
                    found.add((place, between[len(between) // 2]))
    return found


def share(found: Sequence[bool]) -> float:
    return sum(found) / len(found) if found else math.nan


def worse_than_a_peer(results: Results, wait_value: float = DEFAULT_WAIT_VALUE) -> list[tuple[Place, Row]]:
    """Places where a peer strictly dominates ours at one setting."""
    return [
        (place, peer)
        for place in results.places()
        for peer in results.peers[place]
        if dominates(peer, results.at(place, wait_value))
    ]


# --- regret: how far from knowing the future? ------------------------------------------------------------------------


def cost(row: Row, worth: float) -> float:
    """J before it is divided: GPU-hours + v x hours of waiting."""
    return row.gpu_hours + worth * row.wait_hours


def regret(results: Results, place: Place, row: Row, worth: float) -> float:
    """J of a row over the best clairvoyant J at the same place."""
    return cost(row, worth) / min(cost(one, worth) for one in results.clairvoyant[place])


def mean_regret(results: Results, places: Sequence[Place], worth: float, setting: float | None = None) -> float:
    """Of ours, at the setting that matches what a second is worth, or at another: geometric mean over the places."""
    chosen = worth if setting is None else setting
    return geometric_mean(regret(results, place, results.at(place, chosen), worth) for place in places)


def best_peer(results: Results, places: Sequence[Place], worth: float) -> tuple[str, float]:
    """The one peer that does best over all places, in hindsight, and its regret."""
    regrets: Mapping[str, list[float]] = defaultdict(list)
    for place in places:
        for peer in results.peers[place]:
            regrets[peer.policy].append(regret(results, place, peer, worth))
    return min(((name, geometric_mean(found)) for name, found in regrets.items()), key=lambda pair: pair[1])


def gap_closed(peer: float, ours: float) -> float:
    """Of the way from the best peer to the clairvoyant, the part that ours goes: peer 1.5, ours 1.3: 0.4."""
    return (peer - ours) / (peer - 1)


# --- the default setting against one peer ----------------------------------------------------------------------------


def against(results: Results, places: Sequence[Place], peer: str, wait_value: float) -> tuple[float, float]:
    """Ours over the peer's: (the mean of the traces' mean waits, the geometric mean of the ratios of GPU-hours)."""
    ours = [results.at(place, wait_value) for place in places]
    others = [next(one for one in results.peers[place] if one.policy == peer) for place in places]
    return (
        mean(one.mean_seconds for one in ours) / mean(one.mean_seconds for one in others),
        geometric_mean(one.gpu_hours / other.gpu_hours for one, other in zip(ours, others, strict=True)),
    )


def unused_share(rows: Sequence[Row]) -> float:
    return sum(one.unused_starts for one in rows) / max(1, sum(one.pod_starts for one in rows))


# --- leave one out: what is lost when v is not chosen on the trace that it is judged on? ----------------------------


class LeftOut(NamedTuple):
    """`setting` has the least regret on the other traces; `chosen` is its regret on this one, `hindsight` the best."""

    place: Place
    worth: float
    setting: float
    chosen: float
    hindsight: float


def common_settings(results: Results, places: Sequence[Place]) -> list[float]:
    """Settings of v that were run at each of these places."""
    values = [{one.wait_value for one in results.ours[place] if one.wait_value is not None} for place in places]
    return sorted(set.intersection(*values)) if values else []


def leave_one_out(results: Results, places: Sequence[Place], worth: float) -> list[LeftOut]:
    settings = common_settings(results, places)
    found = []
    for left_out in places:
        others = [place for place in places if place.trace != left_out.trace]
        setting = min(settings, key=lambda v: mean_regret(results, others, worth, v))
        here = {v: regret(results, left_out, results.at(left_out, v), worth) for v in settings}
        found.append(LeftOut(left_out, worth, setting, here[setting], min(here.values())))
    return found


def covered_when_left_out(results: Results, found: Sequence[Cell]) -> float:
    """Share of cells still covered when v is the setting that covers the peer on most of the other traces.

    Of equally many, the one that stands furthest from the edge: with the least excess over the peer's GPU-hours.
    """
    groups: dict[tuple[str, float, int], list[Cell]] = defaultdict(list)
    for cell in found:
        groups[cell.peer.policy, cell.place.cold_start_seconds, cell.place.slots].append(cell)
    return share([_still_covered(results, cell, group) for group in groups.values() for cell in group])


def _still_covered(results: Results, left_out: Cell, group: Sequence[Cell]) -> bool:
    others = [cell for cell in group if cell.place.trace != left_out.place.trace]
    settings = common_settings(results, [cell.place for cell in group])

    def standing(v: float) -> tuple[int, float]:
        rows = [(results.at(cell.place, v), cell.peer) for cell in others]
        excess = mean(max(0.0, _excess(ours, peer)) for ours, peer in rows) if rows else 0.0
        return sum(as_good(ours, peer) for ours, peer in rows), -excess

    return as_good(results.at(left_out.place, max(settings, key=standing)), left_out.peer)


def _excess(ours: Row, peer: Row) -> float:
    """How far ours is past the slack, in parts of the slack's own size; 0 or less: within."""
    return max(
        (ours.p95_seconds - peer.p95_seconds) / P95_SLACK_SECONDS - 1,
        (ours.gpu_hours / peer.gpu_hours - 1) / GPU_SLACK - 1,
    )
