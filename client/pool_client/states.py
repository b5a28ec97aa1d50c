"""How jobs are, out of their hashes. Nothing is deserialised but JSON: a foreign job may carry a pickle."""

from __future__ import annotations

import json
import re
import zlib
from base64 import b64decode
from binascii import Error as Base64Error
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from redis import Redis

from pool_contract import keys

ENDED: Final = frozenset({"finished", "failed", "canceled", "stopped"})
EXCEPTION_PATH: Final = re.compile(r"^(?:\w+\.)+(?=\w+(?:: |$))")
"""`package.module.` before the name of an exception; a sentence may have full stops, too."""
FIELDS: Final = ("status", "origin", "description", "created_at", "started_at", "ended_at", "meta")


@dataclass(frozen=True, slots=True, kw_only=True)
class JobState:
    """One job at one instant; times in unix seconds."""

    id: str
    status: str  # RQ's: queued, started, scheduled, deferred, finished, failed, canceled, stopped
    queue: str
    description: str
    created_at: float | None = None
    started_at: float | None = None
    ended_at: float | None = None
    progress: float | None = None  # 0..1 while it runs, where the job tells it
    error: str = ""  # last line of why it failed
    result: Any = None  # what it returned, if that is JSON


def read_states(redis: Redis, prefix: str, jobs: Sequence[str]) -> list[JobState]:
    """The jobs that exist, in the given order."""
    if not jobs:
        return []
    pipeline = redis.pipeline(transaction=False)
    for job in jobs:
        pipeline.hmget(keys.job(prefix, job), *FIELDS)
        pipeline.xrevrange(f"{prefix}:results:{job}", count=1)
    answers = pipeline.execute(raise_on_error=False)
    found = []
    for job, values, results in zip(jobs, answers[::2], answers[1::2], strict=True):
        if isinstance(values, list) and values[0]:
            found.append(_state(job, dict(zip(FIELDS, values, strict=True)), results))
    return found


def _state(job: str, raw: dict[str, bytes | None], results: Any) -> JobState:
    status = _text(raw["status"])
    latest: dict[bytes, bytes] = results[0][1] if isinstance(results, list) and results else {}
    return JobState(
        id=job,
        status=status,
        queue=_text(raw["origin"]),
        description=printable(_text(raw["description"])),
        created_at=_unix(raw["created_at"]),
        started_at=_unix(raw["started_at"]),
        ended_at=_unix(raw["ended_at"]),
        progress=progress_of(raw["meta"]) if status == "started" else None,
        error=_error(latest.get(b"exc_string")) if status == "failed" else "",
        result=_result(latest.get(b"return_value")) if status == "finished" else None,
    )


def _text(value: bytes | None) -> str:
    return (value or b"").decode("utf-8", "replace")


def printable(text: str) -> str:
    """Without what would move the cursor or colour a terminal: anybody who can enqueue writes descriptions."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)


def _unix(value: bytes | None) -> float | None:
    try:
        return datetime.fromisoformat(_text(value)).timestamp() if value else None
    except ValueError:
        return None


def progress_of(meta: bytes | None) -> float | None:
    """Our jobs write a number from 0 to 1 into RQ's `meta`; other jobs may have anything there, also a pickle."""
    try:
        value = json.loads(meta or b"{}").get("progress")
    except (ValueError, AttributeError):
        return None
    return min(1.0, max(0.0, float(value))) if isinstance(value, (int, float)) else None


def _error(packed: bytes | None) -> str:
    """The sentence at the end of a traceback, without the exception's module path."""
    try:
        text = zlib.decompress(b64decode(packed or b"")).decode("utf-8", "replace")
    except (zlib.error, Base64Error, ValueError):
        return ""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if not lines:
        return ""
    return printable(EXCEPTION_PATH.sub("", lines[-1]))


def _result(packed: bytes | None) -> Any:
    try:
        return json.loads(b64decode(packed or b""))
    except (Base64Error, ValueError):
        return None
