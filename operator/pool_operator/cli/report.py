"""`processingpool report`: what a pool did and cost in a month, by its ledger."""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from pool_client.connect import Parser
from pool_client.errors import ClientError
from pool_contract.messages import RunOutcome
from pool_operator.app.account import Account, account
from pool_operator.app.ledger_place import LedgerPlace, add_place
from pool_operator.cli.ledger_command import NothingRecordedError, amount, nothing, plural, run_command, span, told
from pool_operator.engine.record import read_records


def main(arguments: Sequence[str]) -> int:
    """Exit status 0: shown; 1: nothing is recorded; 2: wrong input, or the ledger cannot be read."""
    return run_command("report", _parser(), arguments, _report)


def _report(found: argparse.Namespace, place: LedgerPlace) -> int:
    if found.month is not None and not re.fullmatch(r"\d{4}-(0[1-9]|1[0-2])", found.month):
        raise ClientError(f"--month '{found.month}': write year and month, such as 2026-11")
    counted = account(read_records(place.records()), month=found.month)
    if not counted.decisions:
        if found.month is None:
            raise nothing(place)
        raise NothingRecordedError(f"nothing is recorded of '{place.pool}' in {found.month}")
    if found.json:
        print(json.dumps(_plain(place.pool, counted), indent=1))
        return 0
    console = Console() if sys.stdout.isatty() else Console(width=120)
    assert counted.since is not None
    assert counted.until is not None
    zone = counted.zone
    month = f"{counted.month}, " if counted.month else ""
    console.print(
        f"{place.pool}  {month}{told(counted.since, zone)} – {told(counted.until, zone)} {zone}", style="bold"
    )
    table = Table(box=None, pad_edge=False, show_header=False)
    for name, value in _rows(counted):
        table.add_row(name, value)
    console.print(table, highlight=False)
    return 0


def _rows(found: Account) -> list[tuple[str, str]]:
    outcomes = [
        f"{found.runs[outcome]:,} {words}"
        for outcome, words in (
            (RunOutcome.FINISHED, "finished"),
            (RunOutcome.FAILED, "failed"),
            (RunOutcome.OUT_OF_MEMORY, "out of memory"),
        )
        if found.runs[outcome] or outcome is RunOutcome.FINISHED
    ]
    rows = [("runs that ended", f"{found.ended:,}: {', '.join(outcomes)}")]
    if found.runs[RunOutcome.LOST]:
        rows.append(("runs that were lost", f"{found.runs[RunOutcome.LOST]:,} (their jobs ran again)"))
    rows.append(("mean run time", span(found.mean_run_seconds)))
    rows.append(("replicas", f"{amount(found.replica_seconds / 3600)} replica-hours, {found.most_replicas:,} at most"))
    rows += _money(found)
    if found.gaps:
        rows.append(("not recorded", plural(found.gaps, "gap")))
    return rows


def _money(found: Account) -> list[tuple[str, str]]:
    budget = found.budget
    if budget is None:
        return [("cost", "not known: spec.budget.pricePerReplicaHour is not set")]
    rows = [("cost", f"{amount(found.cost)} ({budget.price_per_replica_hour:g} a replica-hour)")]
    if found.cost_per_job is not None:
        rows.append(("cost of a finished job", amount(found.cost_per_job)))
    bounds = [("soft", budget.monthly_soft), ("hard", budget.monthly_hard)]
    if found.spend is not None and found.spend.month and any(bound is not None for _, bound in bounds):
        parts = [f"{found.spend.month_amount / bound:.1%} of the {name} {bound:g}" for name, bound in bounds if bound]
        rows.append((f"budget of {found.spend.month}", f"{amount(found.spend.month_amount)} spent: {', '.join(parts)}"))
    return rows


def _plain(pool: str, found: Account) -> dict[str, Any]:
    budget, spend = found.budget, found.spend
    return {
        "pool": pool,
        "month": found.month,
        "since": found.since,
        "until": found.until,
        "decisions": found.decisions,
        "jobs": found.ended,
        "finished": found.runs[RunOutcome.FINISHED],
        "failed": found.failed,
        "lost_runs": found.runs[RunOutcome.LOST],
        "mean_run_seconds": found.mean_run_seconds,
        "replica_hours": found.replica_seconds / 3600,
        "most_replicas": found.most_replicas,
        "cost": found.cost if budget else None,
        "cost_per_job": found.cost_per_job,
        "budget": None
        if budget is None
        else {
            "price_per_replica_hour": budget.price_per_replica_hour,
            "monthly_soft": budget.monthly_soft,
            "monthly_hard": budget.monthly_hard,
            "month": spend.month if spend else None,
            "month_amount": spend.month_amount if spend else None,
        },
        "gaps": found.gaps,
    }


def _parser() -> Parser:
    parser = Parser(
        prog="processingpool report",
        description="Say what a pool did and cost by its ledger: jobs, mean run time, failures, cost, cost of a job, "
        "against its budget.",
        allow_abbrev=False,
    )
    add_place(parser)
    parser.add_argument(
        "--month", metavar="YYYY-MM", help="only this month, in the budget's time zone (default: all that is recorded)"
    )
    parser.add_argument("--json", action="store_true", help="as JSON")
    return parser
