"""What both backends tell a worker by its environment, and in the same form. Pure."""

from __future__ import annotations

from pool_operator.api.models import Redis


def redis_url(redis: Redis) -> str:
    """redis://host:port/database, rediss:// with TLS; never a password."""
    scheme = "rediss" if redis.tls is not None else "redis"
    host = f"[{redis.host}]" if ":" in redis.host else redis.host
    return f"{scheme}://{host}:{redis.port}/{redis.database}"
