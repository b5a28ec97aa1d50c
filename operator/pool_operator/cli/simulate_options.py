"""What `processingpool simulate` is told, and what is wrong with it, in one sentence."""

from __future__ import annotations

import argparse
import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from pool_operator.names import Profile
from pool_operator.simulate.generate import GENERATORS, PREFIX
from pool_operator.simulate.peers import PEERS
from pool_operator.simulate.scenarios import SCENARIOS

ALL: Final = "all"
COLD_START_SECONDS: Final = 60.0


class UsageError(ValueError):
    """Wrong input; the text is the sentence for the user."""


class Parser(argparse.ArgumentParser):
    """One sentence instead of a page of usage."""

    def error(self, message: str) -> None:  # type: ignore[override]
        """As argparse does it, but caught like any other wrong input."""
        raise UsageError(f"{message}; processingpool simulate --help tells more")


def options(arguments: Sequence[str]) -> argparse.Namespace:
    """Read and checked against each other.

    Raises:
        UsageError: with the option, its value and what to do.
    """
    found = _parser().parse_args(list(arguments))
    if found.scenario is not None:
        _check_scenario(found)
    elif not found.trace:
        raise UsageError(
            "--trace is missing: name a CSV file with the header arrival_s,service_s, a folder of such files, or "
            f"{PREFIX}NAME ({', '.join(sorted(GENERATORS))}); or name a --scenario ({', '.join(SCENARIOS)})"
        )
    found.cold_start = COLD_START_SECONDS if found.cold_start is None else found.cold_start
    found.peers = _peers(found.against or "")
    if found.out is not None:
        check_folder(found.out)
    return found


def check_folder(out: Path) -> None:
    """Before minutes of work are lost: make the folder of --out, and see that it can be written.

    Raises:
        UsageError: it cannot.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        what = "is a file, not a folder" if out.is_file() else f"cannot be made: {error.strerror or error}"
        raise UsageError(f"--out {out}: {what}; name a folder that you may write") from error
    if not os.access(out, os.W_OK | os.X_OK):
        raise UsageError(f"--out {out}: this folder may not be written; name one that you may write")


def _check_scenario(found: argparse.Namespace) -> None:
    if found.scenario not in SCENARIOS:
        raise UsageError(f"--scenario {found.scenario}: there is no such scenario; there are {', '.join(SCENARIOS)}")
    own = ("trace", "pool", "against", "cold_start", "slots", "profile", "wait_value")
    if given := [name for name in own if getattr(found, name)]:
        option = "--" + given[0].replace("_", "-")
        raise UsageError(
            f"{option} does not go with --scenario, which brings its own jobs, pool and cold start: leave one of them away"
        )


def _peers(text: str) -> list[str]:
    names = [one.strip() for one in text.split(",") if one.strip()]
    if unknown := [one for one in names if one not in PEERS and one != ALL]:
        raise UsageError(f"--against {unknown[0]}: there is no such policy; there are {', '.join(PEERS)}, or {ALL}")
    return list(PEERS) if ALL in names else list(dict.fromkeys(names))


def _number(text: str, least: float, most: float, what: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not least <= value <= most:
        raise argparse.ArgumentTypeError(f"'{text}' must be {what} from {least:g} to {most:g}")
    return value


def _seconds(text: str) -> float:
    return _number(text, 0.1, 86_400, "a number of seconds")


def _value(text: str) -> float:
    return _number(text, 0, 1_000, "a number of replica-seconds for a second of waiting,")


def _slots(text: str) -> int:
    value = _number(text, 1, 64, "a whole number")
    if value != int(value):
        raise argparse.ArgumentTypeError(f"'{text}' must be a whole number from 1 to 64")
    return int(value)


def _profile(text: str) -> Profile:
    for profile in Profile:
        if text.casefold() == profile.casefold():
            return profile
    raise argparse.ArgumentTypeError(f"'{text}' must be one of {', '.join(Profile)}")


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="processingpool simulate",
        description="Run the engine on recorded or generated jobs in virtual time, beside other autoscalers' rules.",
        epilog="Example: processingpool simulate --trace generate:burst --against keda,scaledjob --out report",
        allow_abbrev=False,
    )
    parser.add_argument(
        "--trace",
        action="append",
        metavar="FILE|DIR",
        help=f"CSV (.gz) with arrival_s,service_s; a folder of them; or {PREFIX}NAME: {', '.join(sorted(GENERATORS))}; "
        "may be given several times",
    )
    parser.add_argument("--pool", type=Path, metavar="POOL.yaml", help="limits, profile, budget (default: no limits)")
    parser.add_argument("--against", metavar="NAME,NAME", help=f"other policies: {', '.join(PEERS)}; or {ALL}")
    parser.add_argument(
        "--cold-start",
        type=_seconds,
        metavar="S",
        help=f"seconds until a new replica takes jobs (default: {COLD_START_SECONDS:g})",
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
    parser.add_argument("--out", type=Path, metavar="DIR", help="write report.html (needs matplotlib) and summary.json")
    return parser
