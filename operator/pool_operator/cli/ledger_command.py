"""What explain, replay, export and report have in common: their errors in one sentence, times, and how numbers are told."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, tzinfo
from typing import Final
from zoneinfo import ZoneInfoNotFoundError

from redis.exceptions import RedisError

from pool_client.connect import Parser
from pool_client.errors import ClientError
from pool_client.trouble import trouble
from pool_contract.ledger import LedgerError
from pool_operator.app.ledger_place import LedgerPlace, find_ledger
from pool_operator.engine.checkpoint import UnreadableError
from pool_operator.engine.record import Gap

LATEST_SECONDS: Final = 253_402_300_800.0  # the year 10000


class NothingRecordedError(Exception):
    """There is no ledger, or nothing in the asked-for part of it; the text is the sentence for the user."""


def run_command(
    name: str,
    parser: Parser,
    arguments: Sequence[str],
    work: Callable[[argparse.Namespace, LedgerPlace], int],
) -> int:
    """Exit status of the work; 1: nothing is recorded; 2: wrong input, or the ledger cannot be read."""
    place: LedgerPlace | None = None
    try:
        found = parser.parse_args(list(arguments[1:]))
        place = find_ledger(found)
        return work(found, place)
    except NothingRecordedError as error:
        print(f"processingpool {name}: {error}", file=sys.stderr)
        return 1
    except (ClientError, LedgerError, UnreadableError) as error:
        print(f"processingpool {name}: {error}", file=sys.stderr)
        return 2
    except ZoneInfoNotFoundError as error:
        print(f"processingpool {name}: the ledger's budget: {error.args[0]} on this machine", file=sys.stderr)
        return 2
    except BrokenPipeError:
        raise  # `| head` has seen enough
    except (RedisError, OSError) as error:
        target = place.target if place else None
        print(f"processingpool {name}: {trouble(target, error)}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130


def nothing(place: LedgerPlace) -> NothingRecordedError:
    return NothingRecordedError(
        f"nothing is recorded of '{place.pool}' in {place.where}: a ledger begins with the pool's first decision"
    )


def time_of(text: str | None, flag: str) -> float | None:
    """Unix seconds or ISO 8601, local time unless it says otherwise; `09:30` is today.

    Raises:
        ClientError: it is neither.
    """
    if text is None:
        return None
    try:
        seconds = float(text)
    except ValueError:
        pass
    else:
        if 0 <= seconds < LATEST_SECONDS:
            return seconds
        raise ClientError(f"{flag} {text}: is no time between 1970 and 9999")
    today = datetime.now().astimezone().date().isoformat()
    for candidate in (text, f"{today}T{text}"):
        try:
            return datetime.fromisoformat(candidate).timestamp()
        except (ValueError, OverflowError, OSError):
            continue
    raise ClientError(f"{flag} '{text}': write 2026-11-25T09:30, 09:30 for today, or unix seconds")


def told(at: float, zone: tzinfo | None = None) -> str:
    """Local time, unless a zone is given."""
    moment = datetime.fromtimestamp(at, UTC).astimezone(zone)
    return moment.strftime("%Y-%m-%d %H:%M:%S")


def plural(number: int, one: str, many: str | None = None) -> str:
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def lost_decisions(gaps: Sequence[Gap]) -> str:
    """How many were not recorded; a gap of 0 is one of which nobody counted them."""
    counted = sum(gap.steps for gap in gaps)
    if all(gap.steps for gap in gaps):
        return plural(counted, "decision")
    return f"at least {plural(counted, 'decision')}" if counted else "an unknown number of decisions"


def span(seconds: float | None) -> str:
    """3 s, 4 min 10 s, 2 h 5 min."""
    if seconds is None:
        return "–"
    if seconds < 60:
        return f"{seconds:.3g} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours:,} h {minutes} min" if minutes else f"{hours:,} h"


def amount(value: float) -> str:
    """Money or hours: 1,234.50, and 0.0033 where two digits would hide it."""
    return f"{value:,.2f}" if abs(value) >= 1 or not value else f"{value:,.4f}"
