"""What more information would buy: the same jobs with media length told, with half of them scheduled ahead, with neither."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from benchmarks.policy.metrics import CLAIRVOYANT, OURS, Results, regret
from benchmarks.policy.runs import Task, run_all

BLIND = "transcription-blind"
TOLD = {
    BLIND: "nothing is told",
    "transcription": "media length told (run time follows it within 20 %)",
    "transcription-scheduled": "and half the jobs scheduled 5 to 60 min ahead",
}
WORTHS = (0.1, 1.0, 2.0, 4.0, 16.0)
COLD_START_SECONDS = 60.0


def run(processes: int) -> int:
    tasks = [
        Task(traces="", trace=name, cold_start_seconds=COLD_START_SECONDS, slots=1, policy=policy, wait_value=value)
        for name in TOLD
        for policy, value in ((CLAIRVOYANT, None), *((OURS, worth) for worth in WORTHS))
    ]
    results = Results(run_all(tasks, processes))
    places = {place.trace: place for place in results.places()}
    blind = places[BLIND]
    table = Table(title="what is told, cold start 60 s, 1 slot: one generated trace (the jobs are the same)")
    for column in ("v", "told", "GPU-hours", "mean wait s", "p95 s", "never used", "J", "J less"):
        table.add_column(column, justify="left" if column == "told" else "right")
    for worth in WORTHS:
        before = regret(results, blind, results.at(blind, worth), worth)
        for name, told in TOLD.items():
            row = results.at(places[name], worth)
            j = regret(results, places[name], row, worth)
            table.add_row(
                f"{worth:g}",
                told,
                f"{row.gpu_hours:.1f}",
                f"{row.mean_seconds:.1f}",
                f"{row.p95_seconds:.1f}",
                f"{row.unused_starts / max(1, row.pod_starts):.0%}",
                f"{j:.3f}",
                "" if name == BLIND else f"{1 - j / before:+.1%}",
            )
        table.add_section()
    Console(width=140).print(table)
    return 0
