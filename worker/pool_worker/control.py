"""What the operator and RQ's users tell a running replica: live settings, drain order, suspension. Read together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from pydantic import ValidationError
from redis import Redis

from pool_contract import keys
from pool_contract.messages import DrainOrder, PoolSettings
from pool_worker.settings import Settings

SUSPENDED: Final = "suspended"


@dataclass(frozen=True, slots=True)
class Orders:
    """One reading."""

    pool: PoolSettings | None
    drain: DrainOrder | None
    drained: bool
    suspended: bool
    waiting: int  # jobs in our queues


def read(redis: Redis, settings: Settings) -> Orders:
    """One round trip."""
    prefix = settings.key_prefix
    pipeline = redis.pipeline(transaction=False)
    pipeline.hget(keys.pools(prefix), settings.pool_uid)
    pipeline.get(keys.drain(prefix, settings.replica))
    pipeline.exists(f"{prefix}:{SUSPENDED}")
    for queue in settings.queues:
        pipeline.llen(keys.queue(prefix, queue))
    pool, drain, suspended, *lengths = pipeline.execute(raise_on_error=False)
    for reply in (pool, drain, suspended):
        if isinstance(reply, Exception):
            raise reply
    return Orders(
        pool=_parsed(PoolSettings, pool),
        drain=_parsed(DrainOrder, drain),
        drained=drain is not None,
        suspended=bool(suspended),
        waiting=sum(length for length in lengths if isinstance(length, int)),  # a key of a wrong type counts nothing
    )


def _parsed(kind: Any, text: bytes | None) -> Any:
    """None for what is not there, or not ours to read."""
    if text is None:
        return None
    try:
        return kind.model_validate_json(text)
    except ValidationError:
        return None
