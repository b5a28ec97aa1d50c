#!/usr/bin/env python3
"""Write docs/engine.svg: what the three profiles do with the same jobs, simulated by the engine itself."""

from __future__ import annotations

import random
from pathlib import Path

import matplotlib as mpl
from matplotlib.figure import Figure

from pool_operator.engine.types import WAIT_VALUE, PoolSpec, QueueSpec
from pool_operator.simulate.ours import Ours
from pool_operator.simulate.run import simulate
from pool_operator.simulate.terms import Terms
from pool_operator.simulate.trace import Trace

OUT = Path(__file__).resolve().parent.parent / "docs" / "engine.svg"
HOUR = 3600.0
SHOWN = (24 * HOUR, 27 * HOUR)
"""After a day in which the engine has learned what is usual."""
COLORS = {"Economy": "#1a7f37", "Balanced": "#1f6feb", "Fast": "#bc4c00"}


def trace() -> Trace:
    """A job every three minutes or so, ten minutes each; a burst of 30 each morning; a lull before midnight."""
    draw = random.Random("picture")
    jobs = []
    for day in range(2):
        at = day * 24 * HOUR
        while at < (day * 24 + 23) * HOUR:
            jobs.append((at, draw.uniform(120, 600)))
            at += draw.expovariate(1 / 180)
        jobs += [((day * 24 + 1) * HOUR + draw.uniform(0, 60), draw.uniform(300, 900)) for _ in range(30)]
    jobs.sort()
    return Trace(name="picture", arrivals=[one for one, _ in jobs], services=[one for _, one in jobs])


def main() -> None:
    terms = Terms(cold_start_seconds=60, max_replicas=20)
    figure = Figure(figsize=(10, 6.6), layout="constrained")
    panels = figure.subplots(3, 1, sharex=True, sharey=True)
    for panel, (profile, value) in zip(panels, WAIT_VALUE.items(), strict=True):
        spec = PoolSpec(
            queues=(QueueSpec(name="jobs"),), min_replicas=0, max_replicas=20, slots_per_replica=1, wait_value=value
        )
        result = simulate(trace(), Ours(spec=spec, profile=str(profile)), terms)
        series = result.series
        shown = [place for place, at in enumerate(series.at) if SHOWN[0] - 600 <= at <= SHOWN[1] + 600]
        minutes = [(series.at[place] - SHOWN[0]) / 60 for place in shown]
        jobs = [series.busy[place] + series.waiting[place] for place in shown]
        replicas = [series.replicas[place] for place in shown]
        panel.fill_between(minutes, jobs, step="post", color="#d0d7de", label="jobs waiting or running")
        panel.step(minutes, replicas, where="post", color=COLORS[str(profile)], label="replicas")
        panel.set_title(
            f"{profile} (v = {value:g}): jobs wait {result.mean_wait_seconds:.0f} s on average, "
            f"{result.replica_seconds / result.work_seconds - 1:.0%} more replica time than work",
            loc="left",
            fontsize="medium",
        )
        panel.legend(loc="upper right", frameon=False, fontsize="small")
        panel.set_xlim(0, (SHOWN[1] - SHOWN[0]) / 60)
    panels[-1].set_xlabel("minutes; cold start 60 s, at most 20 replicas (simulated)")
    with mpl.rc_context({"svg.hashsalt": "engine", "svg.fonttype": "none"}):
        figure.savefig(OUT, metadata={"Date": None})


if __name__ == "__main__":
    main()
