"""The three pictures of a comparison: replicas and backlog over time, the distribution of waits, cost against wait."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any, Final

import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.ticker import ScalarFormatter

from pool_operator.simulate.result import Result

OURS: Final = "processingpool"
INK: Final = {"replicas": "#1f6feb", "work": "#d0d7de", "waiting": "#d1242f", "ours": "#1f6feb", "peer": "#6e7781"}
SHORTEST_WAIT_SECONDS: Final = 1.0
"""A logarithmic axis has no zero: shorter waits stand here."""
PANELS_IN_A_ROW: Final = 2
HOUR: Final = 3600.0


def label(result: Result) -> str:
    """`processingpool Balanced`, `processingpool v=4`, or a peer's name."""
    if result.policy != OURS:
        return result.policy
    return f"{OURS} {result.profile or f'v={result.wait_value:g}'}"


def over_time(results: Sequence[Result]) -> str:
    """One panel for each policy: jobs in the system (grey), of these waiting (red), and replicas (blue)."""
    rows = -(-len(results) // PANELS_IN_A_ROW)
    figure = Figure(figsize=(12, 2.4 * rows + 0.6), layout="constrained")
    panels = list(figure.subplots(rows, PANELS_IN_A_ROW, squeeze=False, sharex=True, sharey=True).flat)
    for panel, result in zip(panels, results, strict=False):
        series = result.series
        unit, name = _unit(max(series.at, default=0.0))
        at = [one / unit for one in series.at]
        jobs = [busy + waiting for busy, waiting in zip(series.busy, series.waiting, strict=True)]
        panel.fill_between(at, jobs, step="post", color=INK["work"], label="jobs waiting or running")
        panel.step(at, series.waiting, where="post", color=INK["waiting"], linewidth=0.8, label="jobs waiting")
        panel.step(at, series.replicas, where="post", color=INK["replicas"], linewidth=1.1, label="replicas")
        panel.set_title(label(result), fontsize="medium", loc="left")
        panel.set_xlabel(name, fontsize="small")
        panel.margins(x=0.01)
    for panel in panels[len(results) :]:
        panel.axis("off")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside upper right", ncols=3, frameon=False)
    return _svg(figure)


def waits(results: Sequence[Result]) -> str:
    """For each policy the share of jobs that waited no longer than so many seconds."""
    figure = Figure(figsize=(8, 4.2), layout="constrained")
    panel = figure.subplots()
    for result in results:
        ordered = sorted(max(SHORTEST_WAIT_SECONDS, one) for one in result.waits)
        step = max(1, len(ordered) // 1000)
        shown = [*ordered[::step], *ordered[-1:]]
        share = [min(1.0, (place * step + 1) / len(ordered)) for place in range(len(shown) - 1)] + [1.0]
        panel.step(shown, share, where="post", label=label(result), **_line(result))
    panel.set_xscale("log")
    panel.xaxis.set_major_formatter(ScalarFormatter())
    panel.set_xlabel(f"seconds waited ({SHORTEST_WAIT_SECONDS:g} stands for less)")
    panel.set_ylabel("share of jobs")
    panel.grid(alpha=0.3)
    figure.legend(loc="outside right center", frameon=False, fontsize="small")
    return _svg(figure)


def cost_against_wait(results: Sequence[Result]) -> str:
    """Each policy a point; ours, at several values of waiting, a line. Towards the lower left is better."""
    figure = Figure(figsize=(8, 4.6), layout="constrained")
    panel = figure.subplots()
    ours = sorted((one for one in results if one.policy == OURS), key=lambda one: one.wait_value or 0.0)
    panel.plot(*_places(ours), "-o", color=INK["ours"], label=OURS)
    for one in ours:
        _name(panel, one, label(one).removeprefix(f"{OURS} "))
    for one in (one for one in results if one.policy != OURS):
        panel.plot(*_places([one]), "x", color=INK["peer"])
        _name(panel, one, one.policy)
    oracle = next((one.oracle_seconds for one in results if one.oracle_seconds), None)
    if oracle:
        panel.axvline(oracle / HOUR, color=INK["peer"], linestyle=":", label="clairvoyant, nobody waits")
    panel.set_yscale("log")
    panel.yaxis.set_major_formatter(ScalarFormatter())
    panel.yaxis.set_minor_formatter(ScalarFormatter())
    panel.set_xlabel("replica-hours")
    panel.set_ylabel(f"mean wait, seconds ({SHORTEST_WAIT_SECONDS:g} stands for less)")
    panel.grid(alpha=0.3)
    panel.legend(frameon=False, fontsize="small")
    return _svg(figure)


def _places(results: Sequence[Result]) -> tuple[list[float], list[float]]:
    return [one.gpu_hours for one in results], [max(SHORTEST_WAIT_SECONDS, one.mean_wait_seconds) for one in results]


def _name(panel: Any, result: Result, text: str) -> None:
    (across,), (up,) = _places([result])
    panel.annotate(text, (across, up), textcoords="offset points", xytext=(5, 4), fontsize="x-small")


def _line(result: Result) -> dict[str, Any]:
    return {"linewidth": 2.0} if result.policy == OURS else {"linewidth": 0.9, "alpha": 0.8}


def _unit(span_seconds: float) -> tuple[float, str]:
    for seconds, name in ((86_400.0, "days"), (HOUR, "hours"), (60.0, "minutes")):
        if span_seconds >= 3 * seconds:
            return seconds, name
    return 1.0, "seconds"


def _svg(figure: Figure) -> str:
    """The <svg> element, the same for the same results."""
    file = io.StringIO()
    with mpl.rc_context({"svg.hashsalt": OURS, "svg.fonttype": "none", "font.family": "sans-serif"}):
        figure.savefig(file, format="svg", metadata={"Date": None})
    text = file.getvalue()
    return text[text.index("<svg") :]
