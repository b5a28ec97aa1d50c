"""`processingpool operator`: flags and environment → OperatorSettings → run in a cluster.

Each setting is a flag (`--poll-seconds`) and a variable (`PROCESSINGPOOL_OPERATOR_POLL_SECONDS`); the flag wins.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any, Final

from pydantic import ValidationError

from pool_operator.api.sentences import plain
from pool_operator.settings import OperatorSettings
from pool_operator.telemetry.logs import configure

ENVIRONMENT_PREFIX: Final = "PROCESSINGPOOL_OPERATOR_"
log = logging.getLogger(__name__)


def main(arguments: Sequence[str]) -> int:
    """Run the operator until SIGTERM. Exit status 0: told to end; 1: lost its footing, restart it; 2: wrong settings."""
    try:
        settings = read_settings(arguments[1:], os.environ)
    except ValueError as error:
        print(f"processingpool operator: {error}", file=sys.stderr)
        return 2
    configure(settings)
    log.info("settings: %s", settings.model_dump_json())
    return _run(settings)


def _run(settings: OperatorSettings) -> int:
    from kubernetes.aio.config import ConfigException

    from pool_operator.app.cluster import run_cluster

    try:
        asyncio.run(run_cluster(settings))
    except ConfigException as error:
        print(
            f"processingpool operator: no cluster to work on: {error}; run it in a pod, or set KUBECONFIG to a "
            "kubeconfig file",
            file=sys.stderr,
        )
        return 2
    except OSError as error:  # a port in use, most likely
        print(f"processingpool operator: {error}", file=sys.stderr)
        return 2
    except Exception as error:  # the supervision point: whatever ended the work ends the process
        log.critical("the operator ends: %s", _sentence(error), exc_info=log.isEnabledFor(logging.DEBUG))
        return 1
    return 0


def _sentence(error: BaseException) -> str:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return f"{type(error).__name__}: {error}"


def read_settings(arguments: Sequence[str], environment: Mapping[str, str]) -> OperatorSettings:
    """Flags over environment over defaults.

    Raises:
        ValueError: one sentence that names the setting, its value and what is wrong with it.
    """
    values: dict[str, Any] = {}
    for name in OperatorSettings.model_fields:
        text = environment.get(ENVIRONMENT_PREFIX + name.upper())
        if text is not None:
            values[name] = _value(name, text)
    for name, text in vars(_parser().parse_args(list(arguments))).items():
        if text is not None:
            values[name] = _value(name, text) if isinstance(text, str) else text
    try:
        settings = OperatorSettings.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        name = str(first["loc"][0])
        flag, variable = f"--{name.replace('_', '-')}", f"{ENVIRONMENT_PREFIX}{name.upper()}"
        raise ValueError(f"{flag} '{values.get(name)}' ({variable}): {plain(first['msg'])}") from error
    if not settings.lease_duration_seconds > settings.renew_deadline_seconds > settings.retry_period_seconds:
        raise ValueError(
            f"--lease-duration-seconds {settings.lease_duration_seconds}: must be greater than --renew-deadline-seconds "
            f"({settings.renew_deadline_seconds:g}), and that greater than --retry-period-seconds "
            f"({settings.retry_period_seconds:g})"
        )
    return settings


def _value(name: str, text: str) -> Any:
    if isinstance(OperatorSettings.model_fields[name].default, tuple):
        return tuple(part.strip() for part in text.split(",") if part.strip())
    return text


class _Parser(argparse.ArgumentParser):
    """Errors as ValueError: one sentence, and the caller chooses the exit status."""

    def error(self, message: str) -> Any:
        raise ValueError(f"{message}; --help lists the settings")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="processingpool operator",
        description="Run the operator in a cluster, with the rights of its ServiceAccount or of KUBECONFIG. Each flag "
        f"is a variable, too: --poll-seconds is {ENVIRONMENT_PREFIX}POLL_SECONDS; the flag wins.",
        allow_abbrev=False,
    )
    for name, field in OperatorSettings.model_fields.items():
        flag = "--" + name.replace("_", "-")
        default = ",".join(field.default) if isinstance(field.default, tuple) else field.default
        sentence = f"{field.description or name.replace('_', ' ')} (default: {default!s})".replace("%", "%%")
        if isinstance(field.default, bool):
            parser.add_argument(flag, action=argparse.BooleanOptionalAction, default=None, help=sentence)
        else:
            parser.add_argument(flag, default=None, metavar="VALUE", help=sentence)
    return parser
