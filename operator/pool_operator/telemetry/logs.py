"""Log lines for people (text) or for machines (one JSON object a line).

Messages are constant sentences with `pool=` and `namespace=` style fields; secrets never reach a logger: Credentials
hide themselves in their repr, URLs carry no passwords.
"""

from __future__ import annotations

import json
import logging
import re
import sys
from datetime import UTC, datetime
from typing import Final, Protocol

FIELD: Final = re.compile(r"\b(pool|namespace|endpoint|queue|job|replica)=(\S+)")
QUIET: Final = ("kopf", "kubernetes", "aiohttp", "urllib3", "redis")


class LogSettings(Protocol):
    @property
    def log_format(self) -> str: ...

    @property
    def log_level(self) -> str: ...


def configure(settings: LogSettings) -> None:
    """Send all logs to stderr in the chosen form; libraries speak only of warnings unless debugging."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if settings.log_format == "json" else TextFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(settings.log_level.upper())
    if settings.log_level != "debug":
        for name in QUIET:
            logging.getLogger(name).setLevel(logging.WARNING)


def _at(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


class TextFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        text = f"{_at(record)} {record.levelname.lower():<8} {record.name.rpartition('.')[2]}: {record.getMessage()}"
        return f"{text}\n{self.formatException(record.exc_info)}" if record.exc_info else text


class JsonFormatter(logging.Formatter):
    """Fields written as `pool=namespace/name` in the sentence become keys of their own."""

    def format(self, record: logging.LogRecord) -> str:
        message = record.getMessage()
        line: dict[str, object] = {
            "at": _at(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": message,
        }
        for key, value in FIELD.findall(message):
            line.setdefault(key, value)
        if isinstance(pool := line.get("pool"), str) and "/" in pool:
            line["namespace"], line["pool"] = pool.split("/", 1)
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)
