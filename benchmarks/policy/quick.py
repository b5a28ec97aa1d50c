"""The regression check: J of ours on generated traces may not rise by more than 1 % over the baseline in the repository.

A change that makes J better, or trades one for another on purpose, writes the baseline anew:
`make bench NAME=policy ARGS=--write-baseline`.
"""

from __future__ import annotations

import json
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.policy.metrics import CLAIRVOYANT, OURS, Results, regret
from benchmarks.policy.runs import GENERATED, Task, run_all

BASELINE = Path(__file__).with_name("baseline.json")
WORTHS = (0.1, 2.0, 16.0)
"""The profiles'."""
COLD_START_SECONDS = 60.0
RISE = 0.01


def run(processes: int, *, write: bool) -> int:
    """Exit status 1: a J has risen, or a job was hit."""
    tasks = [
        Task(traces="", trace=name, cold_start_seconds=COLD_START_SECONDS, slots=1, policy=policy, wait_value=value)
        for name in GENERATED
        for policy, value in ((CLAIRVOYANT, None), *((OURS, worth) for worth in WORTHS))
    ]
    results = Results(run_all(tasks, processes))
    now = {
        place.trace: {
            f"{worth:g}": round(regret(results, place, results.at(place, worth), worth), 4) for worth in WORTHS
        }
        for place in results.places()
    }
    if write:
        BASELINE.write_text(json.dumps(now, indent=2) + "\n", encoding="utf-8")
        print(f"written: {BASELINE}")
    risen = _show(json.loads(BASELINE.read_text(encoding="utf-8")), now)
    hits = sum(row.jobs_hit for rows in results.ours.values() for row in rows)
    print(f"J of {len(tasks)} runs: {risen} risen by more than {RISE:.0%}; running jobs hit: {hits}")
    return 1 if risen or hits else 0


def _show(baseline: dict[str, dict[str, float]], now: dict[str, dict[str, float]]) -> int:
    """How many have risen; one that the baseline does not have has."""
    table = Table(title="J over the clairvoyant's, cold start 60 s, 1 slot")
    for column in ("trace", "v", "baseline", "now", ""):
        table.add_column(column, justify="left" if column in {"trace", ""} else "right")
    risen = 0
    for trace, values in now.items():
        for worth, value in values.items():
            before = baseline.get(trace, {}).get(worth)
            bad = before is None or rises(before, value)
            risen += bad
            table.add_row(
                trace, worth, "none" if before is None else f"{before:.4f}", f"{value:.4f}", "RISEN" if bad else "ok"
            )
    Console(width=100).print(table)
    return risen


def rises(before: float, now: float) -> bool:
    return now > before * (1 + RISE)
