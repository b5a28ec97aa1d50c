"""`make bench NAME=policy`: run, judge, print, write build/bench/policy.json and the plot. Options: ARGS="--help"."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.policy import check, hints, metrics, quick, report
from benchmarks.policy.judge import COLD_STARTS, WORTHS, judge
from benchmarks.policy.metrics import CLAIRVOYANT, DEFAULT_WAIT_VALUE, OURS, Place, Results, Row
from benchmarks.policy.runs import Task, names_of, run_all
from pool_operator.simulate.peers import PEERS
from pool_operator.simulate.trace import TraceError

SETTINGS = (0.05, 0.1, 0.3, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0)
"""Of v, run everywhere: the profiles' three and the matching ones of J among them."""
# fmt: off
FINER = (
    0.001, 0.002, 0.005, 0.01, 0.02, 0.03, 0.07, 0.15, 0.2, 0.4, 0.5, 0.7, 1.4, 2.8, 5.0, 6.0, 10.0, 12.0, 20.0, 24.0, 40.0, 50.0,
    96.0, 128.0, 192.0, 256.0, 384.0, 512.0, 1000.0,
)
# fmt: on
"""Run only where they can still decide a cell: between a setting that is cheap enough and one that is quick enough."""
ROUNDS = 5
SLOTS = (1, 2)


def main(arguments: Sequence[str]) -> int:
    """Exit status 0: all that must hold does; 1: something is missed; 2: wrong input."""
    found = _parser().parse_args(list(arguments))
    try:
        if found.quick or found.write_baseline:
            return quick.run(found.processes, write=found.write_baseline)
        if found.hints:
            return hints.run(found.processes)
        return _compare(found)
    except TraceError as error:
        print(f"benchmarks policy: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\nstopped; what has been run is kept, the same command goes on from there", file=sys.stderr)
        return 130


def _compare(found: argparse.Namespace) -> int:
    if not found.traces:
        print("TRACES is not set: traces of our own making are compared, not the six public ones", flush=True)
    rows = run_all(_tasks(found), found.processes)
    if found.check:
        return check.run(found.check, rows)
    results = Results(rows)
    if not found.wait_value:
        results = _refined(found, rows)
    cells = metrics.cells(results)
    lines = judge(results, cells)
    asked = (found.trace, found.against, found.cold_start, found.slots, found.wait_value)
    part = any(asked) or not found.traces
    report.show(results, cells, lines)
    report.write(results, cells, lines, part=part)
    if part:
        print("this is not the whole comparison (six traces, every setting): nothing is judged by it")
        return 0
    return 1 if any(line.holds is False for line in lines) else 0


def _refined(found: argparse.Namespace, rows: list[Row]) -> Results:
    """With finer settings of v where a cell is not covered by the coarse ones yet, half-way each time."""
    results, done = Results(rows), set[tuple[Place, float]]()
    for _ in range(ROUNDS):
        wanted = {one for one in metrics.undecided(results, FINER) if one not in done}
        if not wanted:
            break
        done |= wanted
        tasks = [
            Task(
                traces=found.traces,
                trace=place.trace,
                cold_start_seconds=place.cold_start_seconds,
                slots=place.slots,
                policy=OURS,
                wait_value=value,
            )
            for place, value in sorted(wanted)
        ]
        rows = rows + run_all(tasks, found.processes)
        results = Results(rows)
    return results


def _tasks(found: argparse.Namespace) -> list[Task]:
    policies: list[tuple[str, float | None]] = [(CLAIRVOYANT, None)]
    policies += [(peer, None) for peer in _chosen(found.against, tuple(PEERS), "--against")]
    if not found.check:
        values = {DEFAULT_WAIT_VALUE, *WORTHS, *found.wait_value} if found.wait_value else SETTINGS
        policies += [(OURS, value) for value in sorted(values)]
    return [
        Task(traces=found.traces, trace=name, cold_start_seconds=cold, slots=slots, policy=policy, wait_value=value)
        for name in _chosen(found.trace, names_of(found.traces), "--trace")
        for cold in found.cold_start or COLD_STARTS
        for slots in found.slots or SLOTS
        for policy, value in policies
    ]


def _chosen(asked: Sequence[str] | None, there: tuple[str, ...], option: str) -> tuple[str, ...]:
    for name in asked or ():
        if name not in there:
            raise TraceError(f"{option}: there is no '{name}'; there are: {', '.join(there)}")
    return tuple(asked or there)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog='make bench NAME=policy ARGS="…"', description=__doc__)
    parser.add_argument("--traces", default=os.environ.get("TRACES", ""), help="folder of traces (or TRACES=folder)")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    some = parser.add_argument_group("a part of the comparison")
    some.add_argument("--trace", action="append", help="this trace only (again for more)")
    some.add_argument("--cold-start", action="append", type=float, metavar="SECONDS")
    some.add_argument("--slots", action="append", type=int)
    some.add_argument(
        "--wait-value", action="append", type=float, metavar="V", help="besides 1, 2, 4 and 16, which are judged by"
    )
    some.add_argument("--against", action="append", metavar="PEER")
    other = parser.add_argument_group("something else")
    other.add_argument("--quick", action="store_true", help="regression check on J against the baseline, minutes")
    other.add_argument("--write-baseline", action="store_true", help="write what --quick compares with")
    other.add_argument("--hints", action="store_true", help="what size hints and scheduled jobs buy")
    other.add_argument("--check", type=Path, metavar="FILE", help="compare peers with another simulator's rows (CSV)")
    return parser
