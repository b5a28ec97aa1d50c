"""`processingpool simulate`: the same engine on a trace, in virtual time, beside other autoscalers' rules."""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from pool_operator.api.load import PoolFileError, load_pool
from pool_operator.cli.simulate_options import UsageError, options
from pool_operator.engine.memory import Misfit
from pool_operator.engine.spec import pool_spec
from pool_operator.engine.types import WAIT_VALUE, Budget, PoolSpec, QueueSpec
from pool_operator.names import Mode
from pool_operator.simulate import table
from pool_operator.simulate.clairvoyant import no_wait
from pool_operator.simulate.generate import GENERATORS, PREFIX, generate
from pool_operator.simulate.ours import Ours
from pool_operator.simulate.peers import PEERS
from pool_operator.simulate.policy import Peer
from pool_operator.simulate.result import Result
from pool_operator.simulate.run import simulate
from pool_operator.simulate.scenarios import SCENARIOS
from pool_operator.simulate.terms import Terms
from pool_operator.simulate.trace import Trace, TraceError, load

Write = Callable[[Sequence[Result], Sequence[str]], None]
"""What --out asks for: results and the notes above them."""

WIDTH: Final = 140
MOST_REPLICAS: Final = 400
"""Without a pool: not binding on any trace that we know."""
INTERRUPTED: Final = 130


def main(arguments: Sequence[str]) -> int:
    """Exit status 0: done, and a scenario holds its numbers; 1: it does not; 2: wrong input; 130: Ctrl-C."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # the progress bar gives the cursor back
    try:
        found = options(arguments[1:])
        return _scenario(found) if found.scenario else _compare(found)
    except (UsageError, TraceError, PoolFileError) as error:
        print(f"processingpool simulate: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return INTERRUPTED


# --- a comparison -------------------------------------------------------------------------------------------------


def _compare(found: argparse.Namespace) -> int:
    traces = _traces(found.trace)
    spec = _spec(found.pool)
    write = _writer(found.out)
    terms = Terms(
        cold_start_seconds=found.cold_start,
        slots=spec.slots_per_replica if found.slots is None else found.slots,
        min_replicas=spec.min_replicas,
        max_replicas=spec.max_replicas,
        price_per_replica_hour=spec.budget.price_per_replica_hour if spec.budget else 0.0,
        time_zone=spec.budget.time_zone if spec.budget else "UTC",
    )
    results: list[Result] = []
    with _progress() as progress:
        for trace, pool in [_matched(trace, spec) for trace in traces]:
            oracle = no_wait(trace, terms.cold_start_seconds, terms.slots).replica_seconds
            policies: list[Ours | Peer] = [*_ours(pool, found), *(PEERS[name]() for name in found.peers)]
            results += [_run(progress, trace, policy, terms, oracle) for policy in policies]
    _show(results)
    notes = [f"Simulated in virtual time with cold starts of about {terms.cold_start_seconds:g} s."]
    if found.peers and (alone := _kept_by_us_alone(spec)):
        notes.append(alone)
        print(alone)
    write(results, notes)
    return 0


def _run(progress: Progress, trace: Trace, policy: Ours | Peer, terms: Terms, oracle: float | None) -> Result:
    task = progress.add_task(f"{trace.name}: {policy.name}", total=trace.jobs)

    def tell(ended: int, _jobs: int) -> None:
        progress.update(task, completed=ended)

    result = simulate(trace, policy, terms, progress=tell, oracle_seconds=oracle)
    progress.remove_task(task)
    return result


def _traces(names: Sequence[str]) -> list[Trace]:
    found: dict[str, Trace] = {}
    for name in dict.fromkeys(names):
        for trace in _named(name):
            if trace.name in found:
                raise UsageError(f"--trace {name}: there is a trace '{trace.name}' already; give its file another name")
            found[trace.name] = trace
    return list(found.values())


def _named(name: str) -> list[Trace]:
    if not name.startswith(PREFIX):
        return load(Path(name))
    wanted = name.removeprefix(PREFIX)
    if wanted not in GENERATORS:
        raise UsageError(f"--trace {name}: there is no such generator; there are {', '.join(sorted(GENERATORS))}")
    return [generate(wanted)]


def _spec(path: Path | None) -> PoolSpec:
    """What a pool file asks for, as if it were active and alone."""
    if path is None:
        return PoolSpec(
            queues=(QueueSpec(name="jobs"),), min_replicas=0, max_replicas=MOST_REPLICAS, slots_per_replica=1
        )
    _, found = load_pool(path)
    spec = pool_spec(found, deleted=False)
    if isinstance(spec, Misfit):
        raise UsageError(f"{path}: {spec.message}")
    if spec.mode is not Mode.ACTIVE:
        print(f"{path}: spec.mode is {spec.mode}; simulated as if it were {Mode.ACTIVE}", file=sys.stderr)
    if spec.overflow_after_seconds is not None:
        print(f"{path}: simulated alone, without the pool of spec.overflow.forPoolRef", file=sys.stderr)
    return replace(spec, mode=Mode.ACTIVE, overflow_after_seconds=None)


def _kept_by_us_alone(spec: PoolSpec) -> str:
    """The sentence on rules of the pool that other policies do not have; "" if there are none."""
    fields = {
        "jobs.ratePerMinute": spec.rate_per_minute,
        "jobs.maxConcurrent": spec.max_concurrent,
        "budget": spec.budget if spec.budget and _has_limits(spec.budget) else None,
        "schedules": spec.schedules,
        "scaling.thresholds": spec.thresholds,
    }
    names = ", ".join(f"spec.{name}" for name, value in fields.items() if value)
    return f"Only {table.OURS} keeps {names}; the other policies run without." if names else ""


def _has_limits(budget: Budget) -> bool:
    amounts = (budget.daily_soft, budget.daily_hard, budget.monthly_soft, budget.monthly_hard)
    return any(amount is not None for amount in amounts)


def _ours(spec: PoolSpec, found: argparse.Namespace) -> list[Ours]:
    """One for each profile and wait value asked for; else the pool's own."""
    by_profile = [
        Ours(spec=replace(spec, wait_value=WAIT_VALUE[profile]), profile=str(profile))
        for profile in dict.fromkeys(found.profile)
    ]
    by_value = [Ours(spec=replace(spec, wait_value=value)) for value in dict.fromkeys(found.wait_value)]
    own = next((str(name) for name, value in WAIT_VALUE.items() if value == spec.wait_value), None)
    return [*by_profile, *by_value] or [Ours(spec=spec, profile=own)]


def _matched(trace: Trace, spec: PoolSpec) -> tuple[Trace, PoolSpec]:
    """Trace and pool with the same queues, in the pool's order; a pool of one queue takes over those of the trace.

    A trace without queues goes to the pool's first.
    """
    if not trace.queue_names:
        return trace, spec
    names = [queue.name for queue in spec.queues]
    if missing := [name for name in trace.queue_names if name not in names]:
        if len(names) > 1:
            raise UsageError(
                f"--trace {trace.name}: has jobs of the queue '{missing[0]}', which the pool does not have "
                f"({', '.join(names)}): add it to spec.queues, or leave --pool away"
            )
        return trace, replace(spec, queues=tuple(replace(spec.queues[0], name=name) for name in trace.queue_names))
    places = [names.index(name) for name in trace.queue_names]
    return replace(trace, queue_names=tuple(names), queues=[places[one] for one in trace.queues or ()]), spec


# --- a scenario ---------------------------------------------------------------------------------------------------


def _scenario(found: argparse.Namespace) -> int:
    scenario = SCENARIOS[found.scenario]
    write = _writer(found.out)
    with _progress() as progress:
        results = [_run(progress, part.trace, part.ours, part.terms, None) for part in scenario.make_parts()]
    rows = scenario.rows(results)
    told = [(row.what, row.expected, row.simulated, "yes" if row.holds else "NO") for row in rows]
    _print(f"{scenario.name}: {scenario.sentence} (simulated)", ("what", "expected", "simulated", "holds"), told)
    write(results, [scenario.sentence])
    return 0 if all(row.holds for row in rows) else 1


# --- what a user sees ---------------------------------------------------------------------------------------------


def _show(results: Sequence[Result]) -> None:
    for trace in dict.fromkeys(one.trace for one in results):
        group = [one for one in results if one.trace == trace]
        first = group[0]
        slots = "" if first.slots == 1 else f", {first.slots} slots a replica"
        title = f"{trace}: {first.jobs:,} jobs, cold start {first.cold_start_seconds:g} s{slots} (simulated)"
        _print(title, table.columns(group), table.rows(group), right=True)
        for one in group:
            if one.unfinished:
                print(
                    f"{table.label(one)}: {one.unfinished:,} jobs never ended, the limits let nothing run any more",
                    file=sys.stderr,
                )


def _print(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]], *, right: bool = False) -> None:
    """The title apart: as part of the table it would be broken to the table's width."""
    console = Console() if sys.stdout.isatty() else Console(width=WIDTH)
    widths = [max(map(len, column)) for column in zip(columns, *rows, strict=True)]
    if right and sum(widths) + 2 * len(widths) > console.width:  # words on lines of their own, but no number broken
        columns = [name.replace(" ", "\n") for name in columns]
        rows = [[row[0].replace(" ", "\n"), *row[1:]] for row in rows]
    shown = Table(box=None, pad_edge=False, header_style="dim")
    for place, name in enumerate(columns):
        shown.add_column(name, justify="right" if right and place else "left")
    for row in rows:
        shown.add_row(*row)
    print(title)
    console.print(shown)


def _writer(out: Path | None) -> Write:
    """Only plots need matplotlib; where it is missing, that is said before anything runs."""
    if out is None:
        return lambda _results, _notes: None
    from pool_operator.simulate import page

    def write(results: Sequence[Result], notes: Sequence[str]) -> None:
        try:
            written = page.write(out, results, notes=notes)
        except OSError as error:
            raise UsageError(f"--out {out}: cannot be written: {error.strerror or error}") from error
        for path in written:
            print(f"written: {path}")

    return write


def _progress() -> Progress:
    console = Console(stderr=True)
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        console=console,
        disable=not console.is_terminal,
        transient=True,
    )
