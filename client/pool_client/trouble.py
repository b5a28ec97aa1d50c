"""What can be wrong with Redis, for the commands: one sentence that names the place and the fix."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from redis import Redis, RedisError
from redis.exceptions import AuthenticationError, NoPermissionError, ReadOnlyError, ResponseError

from pool_client.connect import Target
from pool_contract import keys
from pool_contract.server_words import server_words

REGISTRIES: Final = (keys.wip, keys.scheduled, keys.deferred, keys.failed, keys.canceled, keys.finished)
_LOGIN: Final = ("NOAUTH", "WRONGPASS", "HELLO must be called", "invalid username-password", "Authentication required")


def trouble(target: Target | None, error: Exception) -> str:
    """One sentence for a Redis that cannot be used, or a file that cannot be read."""
    first = server_words(error) or type(error).__name__
    if target is None:
        return first
    # redis-py puts the whole command before what the server said
    first = first.rpartition(" of pipeline caused error: ")[2].rstrip(".")
    if isinstance(error, AuthenticationError) or any(sign in first for sign in _LOGIN):
        return (
            f"Redis at {target.place} refuses the user or password: set PROCESSINGPOOL_REDIS_USERNAME and "
            "PROCESSINGPOOL_REDIS_PASSWORD, or write them into --redis-url"
        )
    if isinstance(error, NoPermissionError):
        return f"the user of Redis at {target.place} may not do this ({first}): give it more rights"
    if isinstance(error, ReadOnlyError) or "read only replica" in first:
        return f"Redis at {target.place} is a read-only replica: name its primary"
    if "DB index is out of range" in first:
        return f"Redis at {target.place} has no database of this number: correct the end of --redis-url"
    return f"Redis at {target.place} cannot be used: {first}{target.hint}"


def is_wrong_type(error: Exception) -> bool:
    return isinstance(error, ResponseError) and "WRONGTYPE" in str(error)


def wrong_type(redis: Redis, target: Target) -> str:
    """Which key holds something that RQ never put there; the server itself does not say."""
    try:
        for key, right in _types(redis, target.prefix, target.queues).items():
            found: Any = redis.type(key)
            if found.decode() not in {right, "none"}:
                return (
                    f"the key '{key}' in Redis at {target.place} holds a {found.decode()} where RQ keeps a {right}: "
                    "delete or rename that key"
                )
    except (RedisError, OSError):
        pass  # the first trouble is the one to tell
    return f"a key of RQ in Redis at {target.place} holds something else than RQ wrote: find it and delete or rename it"


def _types(redis: Redis, prefix: str, queues: Sequence[str]) -> dict[str, str]:
    """What RQ keeps in the keys that the commands use."""
    found = {keys.queues(prefix): "set"}
    known: Any = redis.smembers(keys.queues(prefix)) if redis.type(keys.queues(prefix)) == b"set" else ()
    names = {one.decode("utf-8", "replace").removeprefix(keys.queue(prefix, "")) for one in known}
    for name in sorted(names.union(queues)):
        found[keys.queue(prefix, name)] = "list"
        found.update({registry(prefix, name): "zset" for registry in REGISTRIES})
    return found
