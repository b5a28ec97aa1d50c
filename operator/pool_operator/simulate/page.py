"""`report.html` and `summary.json` of a comparison: one self-contained page that opens anywhere."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Final

from pool_operator.simulate import plots
from pool_operator.simulate.result import Result, quantiles

COLUMNS: Final = (
    "policy",
    "mean wait s",
    "p95 wait s",
    "replica-hours",
    "over the work",
    "starts (unused)",
    "jobs hit",
    "cost",
)
OURS_ROW: Final = ' class="ours"'
STYLE: Final = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 76rem; margin: 2rem auto; padding: 0 1rem; color: #1f2328; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.2rem; margin-top: 2.5rem; border-top: 1px solid #d0d7de; padding-top: 1rem; }
table { border-collapse: collapse; margin: 1rem 0; } td, th { padding: .25rem .8rem; text-align: right; }
td:first-child, th:first-child { text-align: left; } tr.ours { font-weight: 600; } thead { border-bottom: 1px solid; }
svg { max-width: 100%; height: auto; } .note { color: #59636e; }
"""


def write(out: Path, results: Sequence[Result], *, notes: Sequence[str] = ()) -> list[Path]:
    """Write both files into a folder, which is made if need be.

    Raises:
        OSError: the folder cannot be written.
    """
    out.mkdir(parents=True, exist_ok=True)
    page, summary = out / "report.html", out / "summary.json"
    page.write_text(html(results, notes=notes), encoding="utf-8")
    summary.write_text(json.dumps([one.summary() for one in results], indent=1) + "\n", encoding="utf-8")
    return [page, summary]


def rows(results: Sequence[Result]) -> list[list[str]]:
    """The table, ours first, then by replica-hours; the columns are COLUMNS."""
    return [_row(one) for one in _ordered(results)]


def html(results: Sequence[Result], *, notes: Sequence[str] = ()) -> str:
    parts = [
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>Simulated</title><style>{STYLE}</style>',
        "<h1>Simulated: what each policy would have done with the same jobs</h1>",
        *(f'<p class="note">{escape(note)}</p>' for note in notes),
    ]
    for (trace, cold, slots), group in _groups(results).items():
        jobs = group[0].jobs
        parts += [
            f"<h2>{escape(trace)}: {jobs:,} jobs, cold start {cold:g} s, {slots} slot{'s' if slots > 1 else ''}</h2>",
            _table(group),
            plots.cost_against_wait(group),
            plots.waits(group),
            plots.over_time(_ordered(group)),
        ]
    return "\n".join([*parts, "</html>"])


def _groups(results: Sequence[Result]) -> Mapping[tuple[str, float, int], list[Result]]:
    found: dict[tuple[str, float, int], list[Result]] = {}
    for one in results:
        found.setdefault((one.trace, one.cold_start_seconds, one.slots), []).append(one)
    return found


def _ordered(results: Sequence[Result]) -> list[Result]:
    return sorted(results, key=lambda one: (one.policy != plots.OURS, one.wait_value or 0.0, one.replica_seconds))


def _row(one: Result) -> list[str]:
    (most,) = quantiles(one.waits, (0.95,))
    return [
        plots.label(one),
        f"{one.mean_wait_seconds:.1f}",
        f"{most:.1f}",
        f"{one.gpu_hours:.1f}",
        f"{one.replica_seconds / one.work_seconds - 1:+.1%}" if one.work_seconds else "",
        f"{one.pod_starts} ({one.unused_starts})",
        str(one.jobs_hit),
        f"{one.cost:.2f}" if one.cost else "",
    ]


def _table(results: Sequence[Result]) -> str:
    head = "".join(f"<th>{escape(name)}</th>" for name in COLUMNS)
    body = "".join(
        f"<tr{OURS_ROW if one.policy == plots.OURS else ''}>"
        + "".join(f"<td>{escape(cell)}</td>" for cell in _row(one))
        + "</tr>"
        for one in _ordered(results)
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
