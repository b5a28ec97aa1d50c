"""`processingpool replay`: decide again over what was recorded; or, with --set, try other settings on the same jobs."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from pool_client.connect import Parser
from pool_client.errors import ClientError
from pool_operator.api.load import PoolFileError, strict
from pool_operator.app import what_if
from pool_operator.app.ledger_place import LedgerPlace, add_place
from pool_operator.app.what_if import Outcome, SettingError
from pool_operator.app.workload import workload
from pool_operator.cli.ledger_command import (
    NothingRecordedError,
    amount,
    lost_decisions,
    nothing,
    plural,
    run_command,
    span,
    time_of,
    told,
)
from pool_operator.engine.checkpoint import to_data, to_text
from pool_operator.engine.memory import Misfit
from pool_operator.engine.record import Call, Checkpoint, Entry, Gap, read_records
from pool_operator.engine.replay import Drifted, Replayed, replay
from pool_operator.engine.spec import pool_spec
from pool_operator.engine.state import Memory
from pool_operator.engine.types import Decision, PoolSpec
from pool_operator.fingerprint import fingerprint


def main(arguments: Sequence[str]) -> int:
    """Exit status 0: all bit-equal, or simulated; 1: a decision differs, or nothing is recorded; 2: wrong input."""
    return run_command("replay", _parser(), arguments, _replay)


def _replay(found: argparse.Namespace, place: LedgerPlace) -> int:
    since, until = time_of(found.since, "--from"), time_of(found.until, "--to")
    if since is not None and until is not None and since >= until:
        raise ClientError(f"--from '{found.since}' is not before --to '{found.until}'")
    if found.plot is not None and not found.set:
        raise ClientError("--plot goes with --set")
    if found.plot is not None and not found.plot.parent.is_dir():
        raise ClientError(f"--plot {found.plot}: the folder '{found.plot.parent}' does not exist; create it first")
    if found.plot is not None:
        import_module("matplotlib")  # before anything is computed
    entries = list(within(read_records(place.records()), since=since, until=until))
    calls = [entry for entry in entries if isinstance(entry, Call)]
    if not calls:
        if since is None and until is None:
            raise nothing(place)
        raise NothingRecordedError(f"nothing is recorded of '{place.pool}' in this time")
    if found.set:
        return _what_if(found, place, entries)
    return _again(place, entries)


def within(entries: Iterable[Entry], *, since: float | None, until: float | None) -> Iterator[Entry]:
    """From the last checkpoint at or before `since`, up to `until`."""
    kept: list[Entry] = []
    for entry in entries:
        if until is not None and entry.at > until:
            break
        if since is None or entry.at > since:
            yield from kept
            kept = []
            yield entry
        else:
            if isinstance(entry, Checkpoint):
                kept = []
            kept.append(entry)
    if any(isinstance(entry, Call) and since is not None and entry.at >= since for entry in kept):
        yield from kept


# --- the same function once more --------------------------------------------------------------------------------------


def _again(place: LedgerPlace, entries: Sequence[Entry]) -> int:
    others = {
        str(entry.about.get("fingerprint"))
        for entry in entries
        if isinstance(entry, Checkpoint) and entry.about.get("fingerprint") != fingerprint()
    }
    for other in sorted(others):
        print(
            f"processingpool replay: recorded with {other}, replayed with {fingerprint()}: decisions may differ",
            file=sys.stderr,
        )
    number = 0
    for one in replay(entries):
        if isinstance(one, Drifted):
            print(f"what was learned differs after {plural(number, 'decision')}, at {told(one.at)} ({one.at!r}):")
            _differences(to_data(Memory, one.recorded), to_data(Memory, one.replayed))
            return 1
        number += 1
        if not one.equal:
            print(f"the {_ordinal(number)} decision differs, at {told(one.call.at)} ({one.call.at!r}):")
            _show_difference(one)
            return 1
    first, last = (entry.at for entry in (_calls(entries)[0], _calls(entries)[-1]))
    print(f"{plural(number, 'decision')}, all bit-equal ({place.pool}, {told(first)} – {told(last)})")
    gaps = [entry for entry in entries if isinstance(entry, Gap)]
    if gaps:
        print(f"not recorded: {lost_decisions(gaps)} in {plural(len(gaps), 'gap')}, such as: {gaps[0].why}")
    return 0


def _calls(entries: Iterable[Entry]) -> list[Call]:
    return [entry for entry in entries if isinstance(entry, Call)]


def _show_difference(one: Replayed) -> None:
    if one.call.decision is None:
        print(f"  recorded: the check sum {one.call.check_sum} (its words were not written out)")
        print(f"  replayed: {one.decision.replicas} replicas, {one.decision.reason}: {one.decision.message}")
        return
    _differences(to_data(Decision, one.call.decision), to_data(Decision, one.decision))


def _differences(recorded: dict[str, Any], replayed: dict[str, Any]) -> None:
    for name in dict.fromkeys((*recorded, *replayed)):
        if recorded.get(name) != replayed.get(name):
            print(f"  {name}: recorded {to_text(recorded.get(name))}, replayed {to_text(replayed.get(name))}")


def _ordinal(number: int) -> str:
    ending = {1: "st", 2: "nd", 3: "rd"}.get(number % 10 if number % 100 not in {11, 12, 13} else 0, "th")
    return f"{number:,}{ending}"


# --- other settings ---------------------------------------------------------------------------------------------------


def _what_if(found: argparse.Namespace, place: LedgerPlace, entries: Sequence[Entry]) -> int:
    last = [entry for entry in entries if isinstance(entry, Checkpoint)][-1]
    asked = last.about.get("asked")
    if not isinstance(asked, dict):
        raise ClientError("this ledger does not tell what its user asked for: nothing can be set")
    try:
        wanted = _spec(what_if.changed(asked, found.set))
        jobs = workload(entries)
        if not jobs.jobs:
            raise NothingRecordedError(f"no job of '{place.pool}' has ended yet in what is recorded in {place.where}")
        price = last.spec.budget.price_per_replica_hour if last.spec.budget else 0.0
        cold = what_if.cold_start_seconds(entries)
        outcomes = [
            what_if.recorded(entries, jobs, price),
            what_if.simulated("as it was", last.spec, jobs, cold_start=cold),
            what_if.simulated(", ".join(found.set), what_if.priced(wanted, price), jobs, cold_start=cold),
        ]
    except SettingError as error:
        raise ClientError(str(error)) from error
    _print(place.pool, outcomes, jobs=len(jobs.jobs), cold_start=cold)
    if found.plot is not None:
        what_if.plot(found.plot, place.pool, outcomes)
        print(f"plot: {found.plot}")
    return 0


def _spec(asked: dict[str, Any]) -> PoolSpec:
    try:
        spec = pool_spec(strict(asked), deleted=False)
    except PoolFileError as error:
        raise SettingError(f"--set: {error}") from error
    if isinstance(spec, Misfit):
        raise SettingError(f"--set: {spec.message}")
    return spec


def _print(pool: str, outcomes: Sequence[Outcome], *, jobs: int, cold_start: float) -> None:
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column(pool)
    for one in outcomes:
        table.add_column(f"{one.name}\n({'simulated' if one.simulated else 'recorded'})", justify="right")
    rows: tuple[tuple[str, Callable[[Outcome], str]], ...] = (
        ("replica-hours", lambda one: _amount(one, one.replica_hours)),
        ("cost", lambda one: _amount(one, one.cost)),
        ("mean wait", lambda one: span(one.mean_wait_seconds)),
        ("wait, 95 %", lambda one: span(one.wait(0.95))),
        ("longest wait", lambda one: span(one.wait(1.0))),
        ("replicas at most", lambda one: f"{one.most_replicas:,}"),
        ("jobs that never ran", lambda one: f"{one.unfinished:,}"),
    )
    for name, tell in rows:
        table.add_row(name, *(tell(one) for one in outcomes))
    console = Console() if sys.stdout.isatty() else Console(width=160)
    console.print(table)
    console.print(
        f"simulated: {plural(jobs, 'job')} of the ledger, cold start {cold_start:.3g} s, nothing learned before, no faults, "
        "mode Active, without other pools; compare the two simulated columns",
        style="dim",
        highlight=False,
    )


def _amount(one: Outcome, value: float) -> str:
    return "–" if one.unfinished else amount(value)  # what waits for ever has no price


def _parser() -> Parser:
    parser = Parser(
        prog="processingpool replay",
        description="Decide again over what a pool's ledger recorded, and compare bit by bit. With --set: simulate other "
        "settings on the recorded jobs.",
        allow_abbrev=False,
    )
    add_place(parser)
    parser.add_argument(
        "--from", dest="since", metavar="TIME", help="2026-11-25T09:30, 09:30 for today, or unix seconds"
    )
    parser.add_argument("--to", dest="until", metavar="TIME", help="likewise")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="FIELD=VALUE",
        help="simulate with another setting of the spec, such as scaling.profile=Fast; may be repeated",
    )
    parser.add_argument("--plot", type=Path, metavar="FILE.png", help="with --set: replicas and waiting jobs over time")
    return parser
