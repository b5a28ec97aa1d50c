"""`processingpool export`: a ledger as a trace for the simulator, or as a file that replay and the others read."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from itertools import chain
from pathlib import Path

from pool_client.connect import Parser
from pool_client.errors import ClientError
from pool_contract.ledger import write_file
from pool_operator.app.ledger_place import LedgerPlace, add_place
from pool_operator.app.workload import workload, write_trace
from pool_operator.cli.ledger_command import NothingRecordedError, nothing, plural, run_command
from pool_operator.engine.record import read_records
from pool_operator.simulate.trace import SUFFIXES


def main(arguments: Sequence[str]) -> int:
    """Exit status 0: written; 1: nothing is recorded; 2: wrong input, or the ledger cannot be read."""
    return run_command("export", _parser(), arguments, _export)


def _export(found: argparse.Namespace, place: LedgerPlace) -> int:
    if found.out is None and found.ledger is None:
        raise ClientError("what shall be written? --out trace.csv for a trace, --ledger FILE for the ledger itself")
    for flag, path in (("--out", found.out), ("--ledger", found.ledger)):
        if path is not None and not path.parent.is_dir():
            raise ClientError(f"{flag} {path}: the folder '{path.parent}' does not exist; create it first")
    if found.out is not None and not found.out.name.endswith(SUFFIXES):
        raise ClientError(f"--out {found.out}: a trace's name ends with .csv or .csv.gz")
    if found.ledger is not None:
        if place.file is not None and found.ledger.exists() and found.ledger.samefile(place.file):
            raise ClientError(f"--ledger {found.ledger}: is the file that is read; name another one")
        _write_ledger(found.ledger, place)
    if found.out is not None:
        _write_trace(found.out, place)
    return 0


def _write_ledger(path: Path, place: LedgerPlace) -> None:
    records = place.records()
    first = next(records, None)
    if first is None:
        raise nothing(place)
    number = write_file(path, chain([first], records))
    print(f"{plural(number, 'record')} of '{place.pool}' in {path}", file=sys.stderr)


def _write_trace(path: Path, place: LedgerPlace) -> None:
    found = workload(read_records(place.records()))
    if not found.began_at:
        raise nothing(place)
    if not found.jobs:
        raise NothingRecordedError(f"no job of '{place.pool}' has ended yet in what is recorded in {place.where}")
    write_trace(path, found)
    rest = f"; {plural(found.unfinished, 'job')} had not ended" if found.unfinished else ""
    print(f"{plural(len(found.jobs), 'job')} of '{place.pool}' in {path}{rest}", file=sys.stderr)


def _parser() -> Parser:
    parser = Parser(
        prog="processingpool export",
        description="Write what a pool's ledger tells: the jobs that came as a trace for `processingpool simulate`, or "
        "the ledger itself as a file for replay, explain and report.",
        allow_abbrev=False,
    )
    add_place(parser)
    parser.add_argument(
        "--out", type=Path, metavar="FILE", help="trace.csv or trace.csv.gz: arrival_s,service_s,hint_s,queue"
    )
    parser.add_argument("--ledger", type=Path, metavar="FILE", help="the ledger, JSON lines; gzip if it ends with .gz")
    return parser
