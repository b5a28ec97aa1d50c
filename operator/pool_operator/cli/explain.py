"""`processingpool explain`: why a pool has the replicas it has, or had: the sentence first, then the numbers."""

from __future__ import annotations

import argparse
import json
import sys
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from rich.console import Console
from rich.table import Table

from pool_client.connect import Parser
from pool_client.errors import ClientError
from pool_operator.app.ledger_place import LedgerPlace, add_place
from pool_operator.cli.ledger_command import lost_decisions, nothing, plural, run_command, time_of, told
from pool_operator.engine.checkpoint import to_data
from pool_operator.engine.record import Call, Checkpoint, Entry, Gap, changes_something, read_records
from pool_operator.engine.types import Decision

WIDTH: Final = 200


@dataclass(slots=True)
class Explained:
    """A decision that changed something, and how long it held."""

    decision: Decision
    last_at: float
    calls: int = 1
    gap: str = ""  # what is not known about the time after it
    about: dict[str, Any] = field(default_factory=dict)


def main(arguments: Sequence[str]) -> int:
    """Exit status 0: shown; 1: nothing is recorded; 2: wrong input, or the ledger cannot be read."""
    return run_command("explain", _parser(), arguments, _explain)


def _explain(found: argparse.Namespace, place: LedgerPlace) -> int:
    at = time_of(found.at, "--at")
    if found.last < 1:
        raise ClientError(f"--last {found.last}: must be at least 1")
    explained = explain(read_records(place.records()), at=at, last=found.last)
    if not explained:
        raise (
            nothing(place)
            if at is None
            else ClientError(f"--at '{found.at}': is before the first decision that is recorded of '{place.pool}'")
        )
    if found.json:
        print(json.dumps([_plain(one) for one in explained], indent=1))
        return 0
    console = Console() if sys.stdout.isatty() else Console(width=WIDTH)
    for number, one in enumerate(explained):
        if number:
            console.print()
        _print(console, place.pool, one)
    return 0


def explain(entries: Iterable[Entry], *, at: float | None, last: int) -> list[Explained]:
    """The last decisions that changed something, up to `at`; the one in force then is the last of them."""
    kept: deque[Explained] = deque(maxlen=min(last, sys.maxsize))
    about: dict[str, Any] = {}
    for entry in entries:
        if at is not None and entry.at > at:
            break
        if isinstance(entry, Checkpoint):
            about = dict(entry.about)
        elif isinstance(entry, Gap):
            if kept:
                kept[-1].gap = f"{lost_decisions((entry,))} after it not recorded: {entry.why}"
        elif entry.decision is not None and not _repeats(kept, entry):
            kept.append(Explained(decision=entry.decision, last_at=entry.at, about=about))
        elif kept:
            kept[-1].calls, kept[-1].last_at = kept[-1].calls + 1, entry.at
    return list(kept)


def _repeats(kept: deque[Explained], call: Call) -> bool:
    """Written out again at a checkpoint, though it changed nothing."""
    return bool(kept) and call.decision is not None and not changes_something(kept[-1].decision, call.decision)


# --- words ------------------------------------------------------------------------------------------------------------


def _print(console: Console, pool: str, one: Explained) -> None:
    decision = one.decision
    bound = f", limited by {decision.limited_by}" if decision.limited_by else ""
    console.print(f"{pool}  {told(decision.at)}  {plural(decision.replicas, 'replica')}{bound}", style="bold")
    console.print(f"{decision.reason}: {decision.message}", highlight=False)
    if one.calls > 1:
        console.print(
            f"decided {one.calls:,} times alike: the sentence is of the first time, at {told(decision.at)}; "
            f"the last was at {told(one.last_at)}",
            style="dim",
            highlight=False,
        )
    if one.gap:
        console.print(one.gap, style="yellow", highlight=False)
    for title, rows in _tables(decision):
        table = Table(box=None, pad_edge=False, header_style="dim", show_header=True)
        table.add_column(title, min_width=28)
        table.add_column("", justify="right")
        for name, value in rows:
            table.add_row(name, value)
        console.print()
        console.print(table)


def _tables(decision: Decision) -> list[tuple[str, list[tuple[str, str]]]]:
    found = [
        ("replicas after each part", [(name, str(number)) for name, number in decision.steps]),
        ("without this limit", [(str(limit), str(number)) for limit, number in decision.without]),
        ("what it was decided on", [_input(name, value) for name, value in decision.inputs.items()]),
        (
            "what it asks for",
            [
                ("slots of a replica", str(decision.slots)),
                *([("marked to go", ", ".join(decision.drain))] if decision.drain else []),
                *([("un-marked", ", ".join(decision.undrain))] if decision.undrain else []),
                *([("claims may use, in all", f"{decision.granted:.4f}")] if decision.granted is not None else []),
                *([("decides again by itself", told(decision.wake_at))] if decision.wake_at is not None else []),
            ],
        ),
    ]
    return [(title, rows) for title, rows in found if rows]


def _input(name: str, value: float | str) -> tuple[str, str]:
    """`reading_age_seconds` 0.004 is `reading age` 0.004 s."""
    words, unit = name.replace("_", " "), ""
    if words.endswith(" seconds"):
        words, unit = words.removesuffix(" seconds"), " s"
    if isinstance(value, float) and name.endswith(("_since", "_at")):
        return words, told(value)
    return words, f"{value:g}{unit}" if isinstance(value, float) else f"{value}{unit}"


def _plain(one: Explained) -> dict[str, Any]:
    decision = to_data(Decision, one.decision)
    return {
        **decision,
        "limited_by": one.decision.limited_by,
        "steps": dict(one.decision.steps),
        "without": dict(one.decision.without),
        "calls": one.calls,
        "last_at": one.last_at,
        "gap": one.gap,
        "fingerprint": one.about.get("fingerprint"),
    }


def _parser() -> Parser:
    parser = Parser(
        prog="processingpool explain",
        description="Say why a pool has the replicas it has: the sentence, then the numbers: what was proposed, what "
        "bound, and what there would be without it.",
        allow_abbrev=False,
    )
    add_place(parser)
    parser.add_argument(
        "--at", metavar="TIME", help="the decision in force then: 2026-11-25T09:30, 09:30 for today, or unix seconds"
    )
    parser.add_argument(
        "--last", type=int, default=1, metavar="N", help="the last N decisions that changed something (default: 1)"
    )
    parser.add_argument("--json", action="store_true", help="as JSON")
    return parser
