"""What must hold, what we go for, and what the results say."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import geometric_mean, mean

from benchmarks.policy import metrics
from benchmarks.policy.metrics import DEFAULT_WAIT_VALUE, RUNPOD, Cell, Place, Results

WORTHS = (1.0, 4.0, 16.0)
COLD_STARTS = (10.0, 60.0, 180.0)
REGRET_GOALS = {1.0: 1.10, 4.0: 1.25, 16.0: 1.55}


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One figure. `holds`: what must hold; `reached`: what we go for; None: there is no such bar."""

    measure: str
    value: str
    must: str = ""
    holds: bool | None = None
    goal: str = ""
    reached: bool | None = None


def judge(results: Results, cells: Sequence[Cell]) -> list[Line]:
    middle = results.places(lambda place: (place.cold_start_seconds, place.slots) == (60, 1))
    return [*_pareto(cells), *_gap(results), *_regret(results, middle), *_default(results, middle), _hits(results)]


def _pareto(cells: Sequence[Cell]) -> list[Line]:
    within, strict = metrics.share([one.within for one in cells]), metrics.share([one.strict for one in cells])
    counted = f"{sum(one.within for one in cells)} of {len(cells)} cells"
    strictly = f"{sum(one.strict for one in cells)} of {len(cells)} cells"
    return [
        Line(
            measure="eps-Pareto coverage (p95 at most 1 s longer, GPU-hours at most 1 % more, for some v)",
            value=f"{within:.1%} ({counted})",
            must=">= 97 %",
            holds=within >= 0.97,
            goal=">= 98 %",
            reached=within >= 0.98,
        ),
        Line(
            measure="strict Pareto coverage (no worse in p95 and GPU-hours, for some v)",
            value=f"{strict:.1%} ({strictly})",
            must=">= 87 %",
            holds=strict >= 0.87,
            goal=">= 93 %",
            reached=strict >= 0.93,
        ),
    ]


def gaps(results: Results) -> list[tuple[float, float, float, str, float, float]]:
    """(cold start, v, our regret, best peer, its regret, part of the gap closed), c = 1."""
    found = []
    for cold in COLD_STARTS:
        places = results.places(lambda place, cold=cold: (place.cold_start_seconds, place.slots) == (cold, 1))
        for worth in WORTHS if places else ():
            ours = metrics.mean_regret(results, places, worth)
            name, peer = metrics.best_peer(results, places, worth)
            found.append((cold, worth, ours, name, peer, metrics.gap_closed(peer, ours)))
    return found


def _gap(results: Results) -> list[Line]:
    found = gaps(results)
    if not found:
        return []
    closed = mean(one[-1] for one in found)
    return [
        Line(
            measure=f"gap from the best peer to the clairvoyant closed (mean of {len(found)} cells: cold start x v, 1 slot)",
            value=f"{closed:.1%}",
            must=">= 33 %",
            holds=closed >= 0.33,
            goal=">= 45 %",
            reached=closed >= 0.45,
        )
    ]


def _regret(results: Results, middle: Sequence[Place]) -> list[Line]:
    return [
        Line(
            measure=f"J over the clairvoyant's, cold start 60 s, 1 slot, v = {worth:g}",
            value=f"{(found := metrics.mean_regret(results, middle, worth)):.3f}",
            goal=f"<= {goal:.2f}",
            reached=found <= goal,
        )
        for worth, goal in REGRET_GOALS.items()
        if middle
    ]


def _default(results: Results, middle: Sequence[Place]) -> list[Line]:
    worse = metrics.worse_than_a_peer(results)
    lines = [
        Line(
            measure="default v = 2: cells where a peer strictly dominates",
            value="; ".join([str(len(worse)), *(f"{peer.policy} {named(place)}" for place, peer in worse[:3])]),
            must="0",
            holds=not worse,
        )
    ]
    if not middle or any(RUNPOD not in {one.policy for one in results.peers[place]} for place in middle):
        return lines
    waits, gpu = metrics.against(results, middle, RUNPOD, DEFAULT_WAIT_VALUE)
    unused = metrics.unused_share([results.at(place) for place in middle])
    lines += [
        Line(
            measure="default v = 2: mean wait against runpod (60 s, 1 slot)",
            value=f"{waits - 1:+.1%}",
            must="<= -20 %",
            holds=waits <= 0.80,
            goal="<= -25 %",
            reached=waits <= 0.75,
        ),
        Line(
            measure="default v = 2: GPU-hours against runpod (60 s, 1 slot)",
            value=f"{gpu - 1:+.1%}",
            must="<= -2 %",
            holds=gpu <= 0.98,
            goal="<= -3 %",
            reached=gpu <= 0.97,
        ),
        Line(
            measure="default v = 2: replicas started and never used (60 s, 1 slot)",
            value=f"{unused:.1%}",
            goal="<= 15 %",
            reached=unused <= 0.15,
        ),
    ]
    return lines


def _hits(results: Results) -> Line:
    hits = sum(one.jobs_hit for rows in results.ours.values() for one in rows)
    runs = sum(len(rows) for rows in results.ours.values())
    return Line(measure=f"running jobs hit by ours, in {runs} runs", value=str(hits), must="0", holds=hits == 0)


def named(place: Place) -> str:
    return f"{place.trace} {place.cold_start_seconds:g} s x{place.slots}"


def left_out(results: Results) -> list[tuple[float, float, float, float, Counter[float]]]:
    """(v, regret at the matching setting, at the one chosen on five, at the best in hindsight, settings chosen), 60 s, 1 slot."""
    middle = results.places(lambda place: (place.cold_start_seconds, place.slots) == (60, 1))
    if len(middle) < 2:
        return []
    found = []
    for worth in WORTHS:
        rows = metrics.leave_one_out(results, middle, worth)
        found.append(
            (
                worth,
                metrics.mean_regret(results, middle, worth),
                geometric_mean(one.chosen for one in rows),
                geometric_mean(one.hindsight for one in rows),
                Counter(one.setting for one in rows),
            )
        )
    return found
