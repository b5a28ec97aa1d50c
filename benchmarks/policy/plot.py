"""Cost against wait, a panel for each trace: every policy a point, ours a curve over v; as SVG and PNG."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.ticker import ScalarFormatter

from benchmarks.policy.metrics import DEFAULT_WAIT_VALUE, Place, Results

mpl.use("Agg")
MARKERS = "osD^v<>pPX*"
LEAST_SECONDS = 1.0
"""A logarithmic axis has no zero: shorter mean waits stand here."""


def draw(results: Results, out: Path, name: str) -> list[Path]:
    places = results.places(lambda place: (place.cold_start_seconds, place.slots) == (60, 1)) or results.places()[:6]
    columns = min(3, len(places))
    rows = math.ceil(len(places) / columns)
    figure = Figure(figsize=(4.6 * columns, 3.8 * rows + 0.9), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False).flat
    for panel, place in zip(panels, places, strict=False):
        _panel(panel, results, place)
    for panel in list(panels)[len(places) :]:
        panel.axis("off")
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=5, fontsize="small", frameon=False)
    figure.suptitle("Mean wait against GPU-hours: towards the lower left is better")
    found = [out / f"{name}.svg", out / f"{name}.png"]
    for path in found:
        figure.savefig(path, dpi=130)
    return found


def _panel(panel: Any, results: Results, place: Place) -> None:
    ours = sorted(results.ours[place], key=lambda row: row.wait_value or 0.0)
    panel.plot(
        [row.gpu_hours / row.work_gpu_hours for row in ours],
        [max(LEAST_SECONDS, row.mean_seconds) for row in ours],
        "-k.",
        linewidth=1.5,
        markersize=4,
        label="ours, each v",
    )
    default = results.at(place, DEFAULT_WAIT_VALUE)
    panel.plot(
        [default.gpu_hours / default.work_gpu_hours],
        [max(LEAST_SECONDS, default.mean_seconds)],
        "k*",
        markersize=13,
        label="ours, Balanced (v = 2)",
    )
    known = sorted(results.clairvoyant[place], key=lambda row: row.gpu_hours)
    panel.plot(
        [row.gpu_hours / row.work_gpu_hours for row in known],
        [max(LEAST_SECONDS, row.mean_seconds) for row in known],
        ":",
        color="tab:green",
        label="clairvoyant",
    )
    for number, row in enumerate(results.peers[place]):
        panel.plot(
            [row.gpu_hours / row.work_gpu_hours],
            [max(LEAST_SECONDS, row.mean_seconds)],
            MARKERS[number % len(MARKERS)],
            color=f"C{number % 10}",
            markersize=7,
            alpha=0.85,
            label=row.policy,
        )
    panel.set_title(f"{place.trace}, cold start {place.cold_start_seconds:g} s", fontsize="medium")
    panel.set_xscale("log")
    for formatter in (panel.xaxis.set_major_formatter, panel.xaxis.set_minor_formatter):
        formatter(ScalarFormatter())
    panel.set_yscale("log")
    panel.set_xlabel("GPU-hours over the work itself")
    panel.set_ylabel("mean wait, seconds")
    panel.grid(visible=True, which="both", alpha=0.2)
