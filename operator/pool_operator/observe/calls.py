"""Around each call to an endpoint: counted, timed, and its failure told in a user's words."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

from redis.exceptions import RedisError

from pool_contract.scripts import StaleEpochError
from pool_operator.observe.problems import EndpointError, classify

FAILURES = (RedisError, OSError, TimeoutError, EOFError)
NOT_UNDERSTOOD = (ValueError, KeyError, TypeError)
"""What a reader of replies raises on values that somebody else wrote: their trouble, not a reason to die."""
Count = Callable[[str, float], None]


class Time(Protocol):
    """The part of runtime's clock that an endpoint needs."""

    def unix(self) -> float: ...

    def monotonic(self) -> float: ...

    async def sleep(self, seconds: float) -> None: ...


@contextmanager
def counted(count: Count, clock: Time) -> Iterator[None]:
    """Tell the result of a call, ok or error, and its seconds; one that is cancelled has neither."""
    started = clock.monotonic()
    try:
        yield
    except StaleEpochError:  # Redis has answered well
        count("ok", clock.monotonic() - started)
        raise
    except Exception:
        count("error", clock.monotonic() - started)
        raise
    count("ok", clock.monotonic() - started)


@contextmanager
def in_our_words(where: str) -> Iterator[None]:
    """Turn what redis-py and the readers of replies raise into an EndpointError."""
    try:
        yield
    except FAILURES + NOT_UNDERSTOOD as error:
        raise EndpointError(classify(error, where)) from error
