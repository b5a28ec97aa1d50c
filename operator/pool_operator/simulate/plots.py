"""The pictures of a comparison: cost against wait, the distribution of waits, replicas and jobs over time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from pool_operator.simulate.drawing import name_points, suit, svg
from pool_operator.simulate.result import Result
from pool_operator.simulate.table import OURS, label, ordered
from pool_operator.simulate.timeline import Series

INK: Final = {"replicas": "#1f6feb", "busy": "#c5ccd4", "waiting": "#d1242f", "ours": "#1f6feb", "peer": "#57606a"}
PEER_COLORS: Final = ("#bf8700", "#1a7f37", "#d1242f", "#8250df", "#9a6700", "#bf3989", "#57606a")
DASHES: Final = ("-", "--", ":")
SHORTEST_WAIT_SECONDS: Final = 1.0
"""A logarithmic axis has no zero: shorter waits stand here."""
PANELS_IN_A_ROW: Final = 2
SHARES: Final = 300
HOUR: Final = 3600.0
MOST_OF_IT: Final = 0.8
"""A busiest stretch that takes more of the whole run shows nothing new."""


def cost_against_wait(results: Sequence[Result]) -> str:
    """Each policy a point; ours, at several values of waiting, a line. Towards the lower left is better."""
    figure = Figure(figsize=(8.5, 4.8), layout="constrained")
    panel = figure.subplots()
    ours = [one for one in ordered(results) if one.policy == OURS]
    peers = [one for one in results if one.policy != OURS]
    panel.plot(*_places(ours), "-o", color=INK["ours"], label=OURS)
    panel.plot(*_places(peers), "x", color=INK["peer"])
    across, up = _places(results)
    oracle = next((one.oracle_seconds for one in results if one.oracle_seconds), None)
    if oracle:
        panel.axvline(oracle / HOUR, color=INK["peer"], linestyle=":", label="clairvoyant, nobody waits")
    suit(panel, "x", [*across, *([oracle / HOUR] if oracle else [])])
    suit(panel, "y", up)
    panel.set_xlabel("replica-hours")
    panel.set_ylabel(f"mean wait, seconds ({SHORTEST_WAIT_SECONDS:g} stands for less)")
    panel.margins(0.08)
    panel.grid(alpha=0.3)
    figure.legend(loc="outside upper right", ncols=2, frameon=False, fontsize="small")
    names = [label(one).removeprefix(f"{OURS} ") for one in results]
    name_points(figure, panel, list(zip(across, up, names, strict=True)))
    return svg(figure, OURS)


def waits(results: Sequence[Result]) -> str:
    """For each policy the share of jobs that waited no longer than so many seconds."""
    figure = Figure(figsize=(8.5, 4.4), layout="constrained")
    panel = figure.subplots()
    found = ordered(results)
    styles = [*_styles(found)]
    for result, style in zip(found, styles, strict=True):
        waited = sorted(max(SHORTEST_WAIT_SECONDS, one) for one in result.waits)
        if not waited:
            continue
        places = [round(share * (len(waited) - 1) / SHARES) for share in range(SHARES + 1)]
        shares = [(place + 1) / len(waited) for place in places]
        panel.plot([waited[place] for place in places], shares, drawstyle="steps-post", label=label(result), **style)
    suit(panel, "x", [max(SHORTEST_WAIT_SECONDS, wait) for one in found for wait in one.waits] or [1.0])
    panel.set_xlabel(f"seconds waited ({SHORTEST_WAIT_SECONDS:g} stands for less)")
    panel.set_ylabel("share of jobs that waited no longer")
    panel.set_ylim(0, 1.02)
    panel.grid(alpha=0.3)
    figure.legend(loc="outside right center", frameon=False, fontsize="small")
    return svg(figure, OURS)


def over_time(results: Sequence[Result]) -> str:
    """One panel for each policy: jobs that run (grey), jobs that wait (red), and replicas (blue)."""
    found = ordered(results)
    return _panels([(one, one.moments.series(0.0, max(1.0, one.ended_at))) for one in found])


def busiest(results: Sequence[Result]) -> str | None:
    """The same from shortly before the highest backlog of ours to when it is gone; None where that is all there is."""
    found = ordered(results)
    first = max(
        (one for one in found if one.policy == OURS),
        key=lambda one: max(one.series.waiting, default=0),
        default=found[0],
    )
    stretch = first.moments.busiest(first.cold_start_seconds)
    if stretch is None or stretch[1] - stretch[0] > MOST_OF_IT * first.ended_at:
        return None
    return _panels([(one, one.moments.series(*stretch)) for one in found])


def _panels(shown: Sequence[tuple[Result, Series]]) -> str:
    columns = min(PANELS_IN_A_ROW, len(shown))
    rows = -(-len(shown) // columns)
    figure = Figure(figsize=(6 * columns, 2.2 * rows + 0.7), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True)
    panels = list(grid.flat)
    since, until = min(series.at[0] for _, series in shown), max(series.at[-1] for _, series in shown)
    unit, name = _unit(until - since)
    for panel, (result, series) in zip(panels, shown, strict=False):
        _draw(panel, result, series, since, unit)
    for panel in panels[len(shown) :]:
        panel.axis("off")
    for column in range(columns):
        lowest = panels[max(place for place in range(len(shown)) if place % columns == column)]
        lowest.set_xlabel(f"{name} from {_after(since)} on")
        lowest.tick_params(labelbottom=True)
    panels[0].yaxis.set_major_locator(MaxNLocator(nbins=4, integer=True))
    panels[0].set_ylim(bottom=0)
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside upper right", ncols=3, frameon=False)
    return svg(figure, OURS)


def _draw(panel: Any, result: Result, series: Series, since: float, unit: float) -> None:
    edges = [(one - since) / unit for one in series.at]
    panel.stairs(series.busy[:-1], edges, fill=True, color=INK["busy"], label="jobs running")
    for values, ink, name in ((series.waiting, "waiting", "jobs waiting"), (series.replicas, "replicas", "replicas")):
        panel.stairs(values[:-1], edges, baseline=None, color=INK[ink], linewidth=1.0, label=name)
    panel.margins(x=0)
    panel.set_title(
        f"{label(result)}: mean wait {result.mean_wait_seconds:,.0f} s, {result.gpu_hours:,.1f} replica-hours",
        fontsize="small",
        loc="left",
    )


def _places(results: Sequence[Result]) -> tuple[list[float], list[float]]:
    return [one.gpu_hours for one in results], [max(SHORTEST_WAIT_SECONDS, one.mean_wait_seconds) for one in results]


def _styles(results: Sequence[Result]) -> list[dict[str, Any]]:
    """Ours in blue, darker where waiting is worth more; peers by colour and dashes."""
    blues = mpl.colormaps["Blues"]
    count = sum(one.policy == OURS for one in results)
    found: list[dict[str, Any]] = [
        {"linewidth": 2.2, "color": blues(0.9 - 0.45 * (count - place - 1) / max(1, count))} for place in range(count)
    ]
    for place in range(len(results) - count):
        dashes = DASHES[place // len(PEER_COLORS) % len(DASHES)]
        color = PEER_COLORS[place % len(PEER_COLORS)]
        found.append({"linewidth": 1.1, "color": color, "linestyle": dashes})
    return found


def _unit(span_seconds: float) -> tuple[float, str]:
    for seconds, name in ((86_400.0, "days"), (HOUR, "hours"), (60.0, "minutes")):
        if span_seconds >= 3 * seconds:
            return seconds, name
    return 1.0, "seconds"


def _after(seconds: float) -> str:
    if not seconds:
        return "the first job"
    unit, name = _unit(seconds)
    return f"{seconds / unit:.1f} {name} after the first job"
