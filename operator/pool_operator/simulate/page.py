"""`report.html` and `summary.json` of a comparison: one self-contained page that opens anywhere."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Final

from pool_operator.simulate import plots, table
from pool_operator.simulate.result import Result

REPORT: Final = "report.html"
SUMMARY: Final = "summary.json"
OURS_ROW: Final = ' class="ours"'
STYLE: Final = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 76rem; margin: 2rem auto; padding: 0 1rem; color: #1f2328; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.2rem; margin-top: 2.5rem; border-top: 1px solid #d0d7de; padding-top: 1rem; }
h3 { font-size: 1rem; margin: 1.5rem 0 .25rem; } svg { max-width: 100%; height: auto; } .note { color: #59636e; }
table { border-collapse: collapse; margin: 1rem 0; } td, th { padding: .25rem .8rem; text-align: right; }
td:first-child, th:first-child { text-align: left; } tr.ours { font-weight: 600; } thead { border-bottom: 1px solid; }
"""


def write(out: Path, results: Sequence[Result], *, notes: Sequence[str] = ()) -> list[Path]:
    """Write both files into a folder, which is made if need be.

    Raises:
        OSError: the folder cannot be written.
    """
    out.mkdir(parents=True, exist_ok=True)
    report, summary = out / REPORT, out / SUMMARY
    report.write_text(html(results, notes=notes), encoding="utf-8")
    summary.write_text(json.dumps([one.summary() for one in results], indent=1) + "\n", encoding="utf-8")
    return [report, summary]


def html(results: Sequence[Result], *, notes: Sequence[str] = ()) -> str:
    parts = [
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>Simulated</title><style>{STYLE}</style>',
        "<h1>Simulated: what each policy would have done with the same jobs</h1>",
        *(f'<p class="note">{escape(note)}</p>' for note in (*notes, table.MEANING)),
    ]
    for (trace, cold, slots), group in _groups(results).items():
        heading = f"{trace}: {group[0].jobs:,} jobs, cold start {cold:g} s, {slots} slot{'s' if slots > 1 else ''}"
        parts += [f"<h2>{escape(heading)}</h2>", _table(group), *_pictures(group)]
    return "\n".join([*parts, "</html>"])


def _groups(results: Sequence[Result]) -> Mapping[tuple[str, float, int], list[Result]]:
    found: dict[tuple[str, float, int], list[Result]] = {}
    for one in results:
        found.setdefault((one.trace, one.cold_start_seconds, one.slots), []).append(one)
    return found


def _pictures(group: Sequence[Result]) -> Iterator[str]:
    if len(group) > 1:
        yield "<h3>Cost against wait: towards the lower left is better</h3>" + plots.cost_against_wait(group)
    yield "<h3>How long jobs waited</h3>" + plots.waits(group)
    yield "<h3>Over time: the highest in each moment</h3>" + plots.over_time(group)
    if (stretch := plots.busiest(group)) is not None:
        yield "<h3>The busiest stretch</h3>" + stretch


def _table(group: Sequence[Result]) -> str:
    head = "".join(f"<th>{escape(name)}</th>" for name in table.columns(group))
    body = "".join(
        f"<tr{OURS_ROW if one.policy == table.OURS else ''}>"
        + "".join(f"<td>{escape(cell)}</td>" for cell in row)
        + "</tr>"
        for one, row in zip(table.ordered(group), table.rows(group), strict=True)
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
