"""What a Redis URL says, its part after `?` too, read before anything connects."""

from __future__ import annotations

from typing import Any

from redis.connection import ConnectionPool, parse_url


def url_options(url: str) -> dict[str, Any]:
    """Arguments of a connection pool; tried out, since redis-py looks at them with the first connection.

    Raises:
        ValueError: the reason, for a sentence that names the flag; never a password.
    """
    try:
        found: dict[str, Any] = parse_url(url)  # type: ignore[no-untyped-call]
        if "decode_responses" in found:
            raise ValueError("decode_responses: answers are read as bytes here")
        pool = ConnectionPool(**found)
        pool.connection_class(**pool.connection_kwargs)
    except (ValueError, TypeError) as error:
        reason = str(error).partition("__init__() ")[2] or str(error)
        raise ValueError(f"what follows the ? is not understood ({reason.rstrip('.')})") from None
    return found
