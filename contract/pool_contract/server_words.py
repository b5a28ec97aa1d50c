"""What a Redis server says of an error, fit to be shown."""

from __future__ import annotations


def server_words(error: BaseException) -> str:
    """The first line of an error, without the arguments that a server quotes.

    A server that does not know HELLO (older than Redis 6, or the command was renamed) answers with what it was sent:
    the password of the login. This text goes into logs and into the status of a pool.
    """
    first = (str(error).splitlines() or [""])[0]
    return first.partition(", with args beginning with")[0]
