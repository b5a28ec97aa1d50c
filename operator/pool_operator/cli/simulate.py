"""`processingpool simulate`: the same engine on a trace, in virtual time, beside other autoscalers' rules."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from pool_operator.api.load import PoolFileError, load_pool
from pool_operator.engine.memory import Misfit
from pool_operator.engine.spec import pool_spec
from pool_operator.engine.types import WAIT_VALUE, PoolSpec, QueueSpec
from pool_operator.names import Profile
from pool_operator.simulate import page
from pool_operator.simulate.clairvoyant import no_wait
from pool_operator.simulate.generate import GENERATORS, PREFIX, generate
from pool_operator.simulate.ours import Ours
from pool_operator.simulate.peers import PEERS
from pool_operator.simulate.policy import Peer
from pool_operator.simulate.result import Result
from pool_operator.simulate.run import simulate
from pool_operator.simulate.scenarios import SCENARIOS, Scenario
from pool_operator.simulate.terms import Terms
from pool_operator.simulate.trace import Trace, TraceError, load

ALL: Final = "all"
WIDTH: Final = 140
COLD_START_SECONDS: Final = 60.0
MOST_REPLICAS: Final = 400
"""Without a pool: not binding on any trace that we know."""


class UsageError(ValueError):
    """Wrong input; the text is the sentence for the user."""


class Parser(argparse.ArgumentParser):
    """One sentence instead of a page of usage."""

    def error(self, message: str) -> None:  # type: ignore[override]
        """As argparse does it, but caught like any other wrong input."""
        raise UsageError(message)


def main(arguments: Sequence[str]) -> int:
    """Exit status 0: done, and a scenario holds its numbers; 1: it does not; 2: wrong input; 130: Ctrl-C."""
    try:
        found = _parser().parse_args(list(arguments[1:]))
        return _scenario(found) if found.scenario else _compare(found)
    except (UsageError, TraceError, PoolFileError) as error:
        print(f"processingpool simulate: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130


# --- a comparison -------------------------------------------------------------------------------------------------


def _compare(found: argparse.Namespace) -> int:
    if not found.trace:
        raise UsageError(
            "--trace is missing: name a CSV file with the header arrival_s,service_s, a folder of such files, or "
            f"{PREFIX}NAME ({', '.join(sorted(GENERATORS))}); or name a --scenario ({', '.join(SCENARIOS)})"
        )
    traces = [trace for name in found.trace for trace in _traces(name)]
    spec = _spec(found.pool)
    slots = spec.slots_per_replica if found.slots is None else found.slots
    terms = Terms(
        cold_start_seconds=found.cold_start,
        slots=slots,
        min_replicas=spec.min_replicas,
        max_replicas=spec.max_replicas,
        price_per_replica_hour=spec.budget.price_per_replica_hour if spec.budget else 0.0,
        time_zone=spec.budget.time_zone if spec.budget else "UTC",
    )
    ours, peers = _ours(spec, found), _peers(found.against)
    results: list[Result] = []
    with _progress() as progress:
        for trace in traces:
            oracle = no_wait(trace, terms.cold_start_seconds, terms.slots).replica_seconds
            policies: list[Ours | Peer] = [*_on(trace, ours), *(PEERS[name]() for name in peers)]
            results += [_run(progress, trace, policy, terms, oracle) for policy in policies]
    _show(results)
    if found.out is not None:
        notes = [f"Simulated in virtual time with cold starts of about {terms.cold_start_seconds:g} s."]
        _written(page.write(found.out, results, notes=notes))
    return 0


def _run(progress: Progress, trace: Trace, policy: Ours | Peer, terms: Terms, oracle: float | None) -> Result:
    task = progress.add_task(f"{trace.name}: {policy.name}", total=trace.jobs)

    def tell(ended: int, _jobs: int) -> None:
        progress.update(task, completed=ended)

    result = simulate(trace, policy, terms, progress=tell, oracle_seconds=oracle)
    progress.remove_task(task)
    return result


def _traces(name: str) -> list[Trace]:
    if not name.startswith(PREFIX):
        return load(Path(name))
    wanted = name.removeprefix(PREFIX)
    if wanted not in GENERATORS:
        raise UsageError(f"--trace {name}: there is no such generator; there are {', '.join(sorted(GENERATORS))}")
    return [generate(wanted)]


def _spec(path: Path | None) -> PoolSpec:
    if path is None:
        return PoolSpec(
            queues=(QueueSpec(name="jobs"),), min_replicas=0, max_replicas=MOST_REPLICAS, slots_per_replica=1
        )
    _, found = load_pool(path)
    spec = pool_spec(found, deleted=False)
    if isinstance(spec, Misfit):
        raise UsageError(f"{path}: {spec.message}")
    return spec


def _ours(spec: PoolSpec, found: argparse.Namespace) -> list[Ours]:
    """One for each profile and wait value asked for; else the pool's own."""
    by_profile = [
        Ours(spec=replace(spec, wait_value=WAIT_VALUE[profile]), profile=str(profile)) for profile in found.profile
    ]
    by_value = [Ours(spec=replace(spec, wait_value=value)) for value in found.wait_value]
    own = next((str(name) for name, value in WAIT_VALUE.items() if value == spec.wait_value), None)
    return [*by_profile, *by_value] or [Ours(spec=spec, profile=own)]


def _on(trace: Trace, ours: Iterable[Ours]) -> list[Ours]:
    """A trace may bring its own queues: those that the pool has by name; of others the pool's first takes the jobs."""
    if not trace.queue_names:
        return list(ours)
    found = []
    for one in ours:
        known = {queue.name for queue in one.spec.queues}
        if known.issuperset(trace.queue_names):
            found.append(one)
            continue
        if len(known) > 1:
            missing = next(name for name in trace.queue_names if name not in known)
            raise UsageError(f"the trace {trace.name} has jobs of the queue '{missing}', which the pool does not have")
        queues = tuple(QueueSpec(name=name) for name in trace.queue_names)
        found.append(replace(one, spec=replace(one.spec, queues=queues)))
    return found


def _peers(text: str) -> list[str]:
    names = list(PEERS) if text == ALL else [one.strip() for one in text.split(",") if one.strip()]
    if unknown := [one for one in names if one not in PEERS]:
        raise UsageError(f"--against {unknown[0]}: there is no such policy; there are {', '.join(PEERS)}, or {ALL}")
    return list(dict.fromkeys(names))


# --- a scenario ---------------------------------------------------------------------------------------------------


def _scenario(found: argparse.Namespace) -> int:
    scenario: Scenario | None = SCENARIOS.get(found.scenario)
    if scenario is None:
        raise UsageError(f"--scenario {found.scenario}: there is no such scenario; there are {', '.join(SCENARIOS)}")
    if found.trace or found.pool or found.against or found.profile or found.wait_value or found.slots:
        raise UsageError(
            "--scenario brings its own trace, pool and terms: leave the other options away, or use --trace"
        )
    with _progress() as progress:
        results = [_run(progress, part.trace, part.ours, part.terms, None) for part in scenario.make_parts()]
    table = Table(title=f"{scenario.name}: {scenario.sentence}", title_justify="left")
    for name in ("what", "expected", "simulated", "holds"):
        table.add_column(name)
    rows = scenario.rows(results)
    for row in rows:
        table.add_row(row.what, row.expected, row.simulated, "yes" if row.holds else "NO")
    _console().print(table)
    if found.out is not None:
        _written(page.write(found.out, results, notes=[scenario.sentence]))
    return 0 if all(row.holds for row in rows) else 1


# --- what a user sees ---------------------------------------------------------------------------------------------


def _show(results: Sequence[Result]) -> None:
    for trace in dict.fromkeys(one.trace for one in results):
        group = [one for one in results if one.trace == trace]
        first = group[0]
        table = Table(
            title=f"{trace}: {first.jobs:,} jobs, cold start {first.cold_start_seconds:g} s (simulated)",
            title_justify="left",
        )
        for name in page.COLUMNS:
            table.add_column(name, justify="left" if name == "policy" else "right")
        for row in page.rows(group):
            table.add_row(*row)
        _console().print(table)
        if left := [one for one in group if one.unfinished]:
            print(f"{left[0].unfinished} jobs never ended: the pool's limits let nothing run any more", file=sys.stderr)


def _written(paths: Iterable[Path]) -> None:
    for path in paths:
        print(f"written: {path}")


def _console() -> Console:
    return Console() if sys.stdout.isatty() else Console(width=WIDTH)


def _progress() -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        console=Console(stderr=True),
        transient=True,
    )


def _seconds(text: str) -> float:
    value = float(text)
    if not 0.1 <= value <= 86_400:
        raise argparse.ArgumentTypeError(f"'{text}' must be between 0.1 and 86400 seconds")
    return value


def _value(text: str) -> float:
    value = float(text)
    if not 0 <= value <= 1000:
        raise argparse.ArgumentTypeError(f"'{text}' must be between 0 and 1000 replica-seconds for a second of waiting")
    return value


def _slots(text: str) -> int:
    value = int(text)
    if not 1 <= value <= 64:
        raise argparse.ArgumentTypeError(f"'{text}' must be between 1 and 64")
    return value


def _profile(text: str) -> Profile:
    try:
        return Profile(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"'{text}' must be one of {', '.join(Profile)}") from None


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="processingpool simulate",
        description="Run the engine on recorded or generated jobs in virtual time, beside other autoscalers' rules.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "--trace",
        action="append",
        metavar="FILE|DIR",
        help=f"CSV (.gz) with arrival_s,service_s; a folder of them; or {PREFIX}NAME: {', '.join(sorted(GENERATORS))}",
    )
    parser.add_argument("--pool", type=Path, metavar="POOL.yaml", help="limits, profile, budget (default: no limits)")
    parser.add_argument("--against", default="", metavar="NAME,…", help=f"other policies: {', '.join(PEERS)}; or {ALL}")
    parser.add_argument(
        "--cold-start",
        type=_seconds,
        default=COLD_START_SECONDS,
        metavar="S",
        help=f"seconds until a replica takes jobs (default: {COLD_START_SECONDS:g})",
    )
    parser.add_argument(
        "--slots", type=_slots, metavar="C", help="jobs at once in a replica (default: the pool's, or 1)"
    )
    parser.add_argument(
        "--profile",
        type=_profile,
        nargs="+",
        action="extend",
        default=[],
        metavar="P",
        help=f"ours with these profiles: {', '.join(Profile)}",
    )
    parser.add_argument(
        "--wait-value",
        type=_value,
        nargs="+",
        action="extend",
        default=[],
        metavar="V",
        help="ours with these worths of a second of waiting, in replica-seconds",
    )
    parser.add_argument("--scenario", metavar="NAME", help=f"a use case with its numbers: {', '.join(SCENARIOS)}")
    parser.add_argument("--out", type=Path, metavar="DIR", help="write report.html and summary.json here")
    return parser
