"""`processingpool worker --help`: one flag per field of Settings, and queues as plain words."""

from __future__ import annotations

import argparse
from typing import NoReturn

from pool_worker.errors import WorkerError
from pool_worker.settings import SECRETS, Settings, environment_name, flag_name


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise WorkerError(f"{message}; see processingpool worker --help")


def read(arguments: list[str]) -> dict[str, object]:
    """What was given on the command line, by field.

    Raises:
        WorkerError: an unknown flag, or one without its value.
    """
    given = vars(_parser().parse_args(arguments))
    queues = given.pop("queues", [])
    return {**given, **({"queues": tuple(queues)} if queues else {})}


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="processingpool worker",
        description="Run jobs from RQ queues: one process, N slots, one shared model. Takes the place of `rq worker`.",
        argument_default=argparse.SUPPRESS,
        allow_abbrev=False,
    )
    parser.add_argument("queues", nargs="*", metavar="QUEUE", help="queues, most urgent first (PROCESSINGPOOL_QUEUES)")
    for field, info in Settings.model_fields.items():
        if field == "queues":
            continue
        default = "" if info.default in {None, "", ()} or field in SECRETS else f"; default {_text(info.default)}"
        text = f"{info.description} ({environment_name(field)}{default})".replace("%", "%%")
        if info.annotation is bool:
            parser.add_argument(flag_name(field), dest=field, action=argparse.BooleanOptionalAction, help=text)
        elif field in {"allow", "path"}:
            parser.add_argument(flag_name(field), dest=field, action="append", metavar=field.upper(), help=text)
        else:
            parser.add_argument(flag_name(field), dest=field, metavar=field.upper(), help=text)
    return parser


def _text(value: object) -> str:
    return ",".join(value) if isinstance(value, tuple) else str(value)
