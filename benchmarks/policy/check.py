"""Are our models of the peers those of another simulator? Compared with its rows, where there are some.

The file is CSV with the columns trace, policy, cold, c, mean (wait, s), p95, gpu_h; rows whose column scale_down is not
`drain` are left out.
"""

from __future__ import annotations

import csv
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.policy.metrics import Row

THEIR_NAMES = {
    "keda": "keda_default",
    "keda-t1-poll1": "keda_t1_poll1",
    "keda-inflight": "keda_inflight",
    "keda-inflight-fast": "keda_inflight_fast",
    "scaledjob": "keda_scaledjob",
    "scaledjob-p5": "keda_scaledjob_p5",
    "runpod": "runpod_qd4",
    "aws": "aws_backlog",
    "naive": "naive_depth",
}
NEAR = 0.02
"""Random victims and cold starts are drawn differently there."""


def run(path: Path, rows: Sequence[Row]) -> int:
    """Exit status 2: the file cannot be read."""
    try:
        theirs = _read(path)
    except (OSError, KeyError, ValueError) as error:
        print(f"benchmarks policy: --check {path}: is not a CSV file of results: {error}", file=sys.stderr)
        return 2
    table = Table(title=f"peers here, against {path.name}: GPU-hours and mean wait")
    for column in ("policy", "places", "GPU-hours, mean", "worst", "mean wait, mean", "worst", "worst at"):
        table.add_column(column, justify="left" if column in {"policy", "worst at"} else "right")
    for name in dict.fromkeys(row.policy for row in rows):
        pairs = [
            (row, other)
            for row in rows
            if row.policy == name
            and (other := theirs.get((row.trace, THEIR_NAMES.get(name, name), row.cold_start_seconds, row.slots)))
        ]
        if not pairs:
            continue
        gpu = [row.gpu_hours / other[0] - 1 for row, other in pairs]
        wait = [row.mean_seconds / other[1] - 1 for row, other in pairs]
        worst, (place, _) = max(zip(map(abs, wait), pairs, strict=True), key=lambda one: one[0])
        where = f"{place.trace} {place.cold_start_seconds:g} s x{place.slots}" if worst > NEAR else ""
        table.add_row(
            name,
            str(len(pairs)),
            f"{sum(gpu) / len(gpu):+.2%}",
            f"{max(gpu, key=abs):+.2%}",
            f"{sum(wait) / len(wait):+.2%}",
            f"{max(wait, key=abs):+.2%}",
            where,
        )
    Console(width=140).print(table)
    return 0


def _read(path: Path) -> dict[tuple[str, str, float, int], tuple[float, float]]:
    with path.open(encoding="utf-8", newline="") as file:
        return {
            (one["trace"], one["policy"], float(one["cold"]), int(one["c"])): (float(one["gpu_h"]), float(one["mean"]))
            for one in csv.DictReader(file)
            if one.get("scale_down", "drain") == "drain"
        }
