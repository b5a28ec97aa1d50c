"""Tables, build/bench/policy.json (of a part of the comparison: policy-part.json), and the plot of cost against wait."""

from __future__ import annotations

import json
import platform
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import geometric_mean, mean
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.policy import metrics, plot
from benchmarks.policy.judge import WORTHS, Line, gaps, left_out, named
from benchmarks.policy.metrics import CLAIRVOYANT, OURS, Cell, Place, Results, Row

OUT = Path("build/bench")
LISTED = 40
SHOWN = (0.05, 0.1, 0.3, 1.0, 2.0, 4.0, 16.0, 64.0)
"""Settings of ours that the table of policies has: of those that were run everywhere."""


def show(results: Results, cells: Sequence[Cell], lines: Sequence[Line]) -> None:
    """What must hold comes last, where it is seen."""
    for title, rows in tables(results, cells).items():
        if rows:
            _print(title, rows)
    _print("what must hold, and what we go for", [_verdict(line) for line in lines])


def write(results: Results, cells: Sequence[Cell], lines: Sequence[Line], *, part: bool) -> None:
    OUT.mkdir(parents=True, exist_ok=True)
    every = [row for family in (results.ours, results.peers) for found in family.values() for row in found]
    content = {
        "name": "policy",
        "part": part,
        "machine": {"python": platform.python_version(), "machine": platform.machine()},
        "rows": [asdict(line) for line in lines],
        "tables": tables(results, cells, listed=None),
        "results": [asdict(row) for row in every],
    }
    name = "policy-part" if part else "policy"
    path = OUT / f"{name}.json"
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    print("written:", ", ".join(map(str, (path, *plot.draw(results, OUT, name)))))


def _verdict(line: Line) -> dict[str, str]:
    return {
        "measure": line.measure,
        "value": line.value,
        "goal": line.goal,
        "reached": {True: "yes", False: "no", None: ""}[line.reached],
        "must": line.must,
        "": {True: "ok", False: "MISSED", None: ""}[line.holds],
    }


def tables(results: Results, cells: Sequence[Cell], *, listed: int | None = LISTED) -> dict[str, list[dict[str, str]]]:
    middle = results.places(lambda place: (place.cold_start_seconds, place.slots) == (60, 1))
    missed = [cell for cell in cells if not cell.within]
    strictly = [cell for cell in cells if cell.within and not cell.strict]
    return {
        "policies on all traces, cold start 60 s, 1 slot": _policies(results, middle),
        "Pareto by cold start and slots": _by_terms(results, cells),
        "Pareto by peer (all cold starts and slots)": _by_peer(cells),
        "J over the clairvoyant's, 1 slot": _gaps(results),
        "v chosen on the other traces (60 s, 1 slot): J over the clairvoyant's": _left_out(results),
        f"what binds: {len(missed)} cells that no v covers": _cells(missed[:listed]),
        f"covered with the slack, not strictly: {len(strictly)} cells": _cells(strictly[:listed]),
    }


# --- tables -----------------------------------------------------------------------------------------------------------


def _policies(results: Results, places: Sequence[Place]) -> list[dict[str, str]]:
    by_name: dict[str, dict[Place, Row]] = defaultdict(dict)
    for place in places:
        for row in (*results.clairvoyant[place], *results.peers[place], *results.ours[place]):
            by_name[_name(row)][place] = row
    return [_policy(results, name, rows) for name, rows in by_name.items() if name]


def _name(row: Row) -> str:
    """Empty: the table does without it."""
    if row.policy == CLAIRVOYANT:
        return f"clairvoyant, wait <= {row.wait_value:g} s" if row.wait_value in {0.0, 60.0, 300.0} else ""
    if row.policy == OURS:
        return f"{OURS} v={row.wait_value:g}" if row.wait_value in SHOWN else ""
    return row.policy


def _policy(results: Results, name: str, rows: dict[Place, Row]) -> dict[str, str]:
    regrets = {
        f"J v={worth:g}": geometric_mean(metrics.regret(results, place, row, worth) for place, row in rows.items())
        for worth in WORTHS
    }
    found = list(rows.values())
    return {
        "policy": name,
        **{
            label: f"{mean(getattr(row, field) for row in found):.0f}"
            for label, field in (
                ("p50 s", "p50_seconds"),
                ("p95 s", "p95_seconds"),
                ("p99 s", "p99_seconds"),
                ("mean s", "mean_seconds"),
            )
        },
        "GPU over work": f"{geometric_mean(row.gpu_hours / row.work_gpu_hours for row in found) - 1:+.0%}",
        "starts": str(sum(row.pod_starts for row in found)),
        "never used": f"{metrics.unused_share(found):.0%}",
        "jobs hit": f"{sum(row.jobs_hit for row in found) / sum(row.jobs for row in found):.0%}",
        **{label: f"{value:.2f}" for label, value in regrets.items()},
    }


def _by_terms(results: Results, cells: Sequence[Cell]) -> list[dict[str, str]]:
    groups: dict[tuple[float, int], list[Cell]] = defaultdict(list)
    for cell in cells:
        groups[cell.place.cold_start_seconds, cell.place.slots].append(cell)
    table = []
    for (cold, slots), group in sorted(groups.items()):
        alone = [metrics.as_good(results.at(cell.place), cell.peer) for cell in group]
        worse = [metrics.dominates(cell.peer, results.at(cell.place)) for cell in group]
        table.append(
            {
                "cold start, slots": f"{cold:g} s, {slots}",
                "cells": str(len(group)),
                "eps-covered": f"{sum(cell.within for cell in group)}",
                "strictly": f"{sum(cell.strict for cell in group)}",
                "by v = 2 alone": str(sum(alone)),
                "peer dominates v = 2": str(sum(worse)),
                "eps-covered, v chosen on the other traces": f"{metrics.covered_when_left_out(results, group):.0%}",
            }
        )
    return table


def _by_peer(cells: Sequence[Cell]) -> list[dict[str, str]]:
    groups: dict[str, list[Cell]] = defaultdict(list)
    for cell in cells:
        groups[cell.peer.policy].append(cell)
    return [
        {
            "peer": peer,
            "cells": str(len(group)),
            "eps-covered": str(sum(cell.within for cell in group)),
            "strictly": str(sum(cell.strict for cell in group)),
            "GPU-hours at a p95 as short": _ratio(
                cell.nearest.gpu_hours / cell.peer.gpu_hours
                for cell in group
                if cell.nearest.p95_seconds <= cell.peer.p95_seconds + metrics.P95_SLACK_SECONDS
            ),
        }
        for peer, group in groups.items()
    ]


def _ratio(values: Iterable[float]) -> str:
    found = list(values)
    return f"{geometric_mean(found) - 1:+.1%} ({len(found)} cells)" if found else ""


def _gaps(results: Results) -> list[dict[str, str]]:
    return [
        {
            "cold start": f"{cold:g} s",
            "v": f"{worth:g}",
            OURS: f"{ours:.3f}",
            "best peer in hindsight": f"{peer:.3f} {name}",
            "gap closed": f"{closed:.0%}",
        }
        for cold, worth, ours, name, peer, closed in gaps(results)
    ]


def _left_out(results: Results) -> list[dict[str, str]]:
    return [
        {
            "v": f"{worth:g}",
            "at the matching v": f"{matching:.3f}",
            "chosen on the other traces": f"{chosen:.3f}",
            "best in hindsight": f"{hindsight:.3f}",
            "chosen": ", ".join(f"{setting:g} ({times}x)" for setting, times in settings.most_common()),
        }
        for worth, matching, chosen, hindsight, settings in left_out(results)
    ]


def _cells(cells: Sequence[Cell]) -> list[dict[str, str]]:
    return [
        {
            "peer": cell.peer.policy,
            "where": named(cell.place),
            "its p95 s": f"{cell.peer.p95_seconds:.1f}",
            "its GPU-hours": f"{cell.peer.gpu_hours:.1f}",
            "nearest v": f"{cell.nearest.wait_value:g}",
            "p95 s": f"{cell.nearest.p95_seconds:.1f}",
            "GPU-hours": f"{cell.nearest.gpu_hours / cell.peer.gpu_hours - 1:+.2%}",
        }
        for cell in cells
    ]


def _print(title: str, rows: Sequence[dict[str, Any]]) -> None:
    table = Table(title=title, title_justify="left")
    for position, column in enumerate(rows[0]):
        table.add_column(
            column, justify="left" if not position or column in {"measure", "where", "value", "chosen"} else "right"
        )
    for row in rows:
        table.add_row(*row.values())
    Console(width=150).print(table)
