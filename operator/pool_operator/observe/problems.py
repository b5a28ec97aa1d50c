"""What can be wrong with an endpoint, each in one sentence that names the field and the fix."""

from __future__ import annotations

import socket
import ssl
from typing import Final

from redis import exceptions

from pool_contract.server_words import server_words
from pool_operator.backends.base import Problem
from pool_operator.names import ConditionReason

_FORBIDDEN: Final = ("NOPERM", "The user executing the script can't", "ACL failure in script")


class EndpointError(Exception):
    """A call to Redis did not come through; `problem` says why in a user's words."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.message)
        self.problem = problem


def _chain(error: BaseException) -> list[BaseException]:
    found: list[BaseException] = []
    current: BaseException | None = error
    while current is not None and current not in found:
        found.append(current)
        current = current.__cause__ or current.__context__
    return found


def classify(error: BaseException, where: str) -> Problem:
    """The problem behind an exception of redis-py, asyncio or ssl; `where` is host:port/database."""
    for one in _chain(error):
        if (problem := _known(one, where)) is not None:
            return problem
    return _problem(
        ConditionReason.QUEUE_UNREACHABLE,
        f"Redis at {where} answers with an error: {server_words(error)[:200] or type(error).__name__}",
    )


def _known(error: BaseException, where: str) -> Problem | None:
    text = server_words(error)[:200]
    unreachable = ConditionReason.QUEUE_UNREACHABLE
    if isinstance(error, exceptions.AuthenticationError) or text.startswith(("WRONGPASS", "NOAUTH")):
        return _problem(
            ConditionReason.AUTHENTICATION_FAILED,
            f"Redis at {where} refuses the login: check username and password in the Secret of spec.redis.credentialsSecretRef",
        )
    if isinstance(error, exceptions.NoPermissionError) or any(sign in text for sign in _FORBIDDEN):
        # a script's hash and line say nothing to anybody
        return _problem(
            ConditionReason.AUTHENTICATION_FAILED,
            f"Redis at {where} accepts the login but forbids a command: give the user its keys and scripts "
            f"({text.partition(' script: ')[0]})",
        )
    if text.startswith("WRONGTYPE"):
        named = text.removeprefix("WRONGTYPE ").partition(" script:")[0]
        told = named if " holds a " in named else f"a key of ours at {where} is of another type"
        return wrong_type(told)
    if isinstance(error, exceptions.ReadOnlyError) or "READONLY" in text:
        return read_only(where)
    if isinstance(error, exceptions.BusyLoadingError) or text.startswith("LOADING"):
        return _problem(unreachable, f"Redis at {where} is loading its data and answers nothing yet")
    if text.lower().startswith("unknown command") and "HELLO" in text:
        return _problem(unreachable, f"Redis at {where} does not know the command HELLO: Redis 6 or newer is needed")
    if "DB index is out of range" in text:
        return _problem(unreachable, f"Redis at {where} has no database of this number: lower spec.redis.database")
    if isinstance(error, ssl.SSLCertVerificationError):
        return _problem(
            unreachable,
            f"the TLS certificate of Redis at {where} is not trusted ({error.verify_message}): check ca.crt in the Secret and spec.redis.tls.serverName",
        )
    if isinstance(error, ssl.SSLError):
        return _problem(
            unreachable,
            f"no TLS connection to Redis at {where} ({error.reason or 'handshake failed'}): does the server speak TLS on this port? Else remove spec.redis.tls",
        )
    if isinstance(error, socket.gaierror):
        return _problem(unreachable, f"the host of Redis at {where} is not known by name: check spec.redis.host")
    if isinstance(error, ConnectionRefusedError):
        return _problem(
            unreachable,
            f"Redis at {where} refuses connections: is it running, and are spec.redis.host and port right?",
        )
    if isinstance(error, (TimeoutError, exceptions.TimeoutError)):
        return _problem(unreachable, f"Redis at {where} does not answer in time")
    if isinstance(error, (ConnectionResetError, BrokenPipeError, EOFError)) or "closed by server" in text:
        return _problem(
            unreachable,
            f"Redis at {where} closed the connection: was it stopped, or does it expect TLS (spec.redis.tls)?",
        )
    return None


def read_only(where: str) -> Problem:
    return _problem(
        ConditionReason.READ_ONLY_REDIS,
        f"Redis at {where} is a read-only replica: point spec.redis.host at the primary",
    )


def lost_data(where: str) -> Problem:
    return _problem(
        ConditionReason.QUEUE_UNREACHABLE,
        f"Redis at {where} lost keys or was restarted (FLUSHALL, a fail-over, no persistence): replicas are held until they have reported again",
    )


def wrong_type(sentence: str) -> Problem:
    return _problem(ConditionReason.QUEUE_WRONG_TYPE, f"{sentence}: delete or rename that key")


def _problem(reason: ConditionReason, message: str) -> Problem:
    return Problem(reason=reason, message=message)
