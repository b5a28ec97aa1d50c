"""Time zones and cron expressions in a spec: wrong ones are told in one sentence. No API server can check them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Final
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError
from pydantic import AfterValidator, Field

_FIELDS: Final = 5


def _zone(value: str) -> str:
    try:
        ZoneInfo(value)
    except (KeyError, ValueError, OSError):  # not found, no path inside the database, a folder of it
        raise ValueError(f"'{value}' is no time zone; write it like Europe/Berlin or UTC") from None
    return value


def _cron(value: str) -> str:
    fix = "write five fields (minute, hour, day of month, month, day of week) like '0 7 * * MON-FRI'"
    try:
        if len(value.split()) != _FIELDS:
            raise ValueError(f"'{value}' is no cron expression; {fix}")
        next(CronSim(value, datetime(2000, 1, 1, tzinfo=UTC)))
    except CronSimError as error:
        raise ValueError(f"'{value}' is no cron expression: {str(error).lower()}; {fix}") from None
    except StopIteration:
        raise ValueError(f"'{value}' never comes; {fix}") from None
    return value


TimeZone = Annotated[str, AfterValidator(_zone), Field(min_length=1, max_length=64)]
Cron = Annotated[str, AfterValidator(_cron), Field(min_length=9, max_length=100)]
