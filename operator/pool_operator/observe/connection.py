"""Which Redis, as whom, and how to connect to it."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from redis.asyncio import Connection, ConnectionPool, SSLConnection
from redis.asyncio import Redis as AsyncRedis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from pool_operator.api.models import Redis
from pool_operator.backends.base import Credentials

CALL_TIMEOUT_SECONDS: Final = 5.0
_SALT: Final = secrets.token_bytes(16)  # new per process: a fingerprint tells nothing to anybody else


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """The same data, whoever connects."""

    host: str
    port: int
    database: int
    prefix: str

    def __str__(self) -> str:
        return f"{self.host}:{self.port}/{self.database}"


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointKey:
    """Pools with an equal key share one connection, one poll and one subscription."""

    place: Place
    tls: bool = False
    server_name: str | None = None
    fingerprint: str = field(default="", repr=False)

    def __str__(self) -> str:
        return str(self.place)


def endpoint_key(redis: Redis, credentials: Credentials) -> EndpointKey:
    """The endpoint that a pool's `spec.redis` names, with these credentials."""
    return EndpointKey(
        place=Place(host=redis.host.lower(), port=redis.port, database=redis.database, prefix=redis.key_prefix),
        tls=redis.tls is not None,
        server_name=redis.tls.server_name if redis.tls else None,
        fingerprint=_fingerprint(credentials),
    )


def _fingerprint(credentials: Credentials) -> str:
    parts = (credentials.username, credentials.password, credentials.ca_pem)
    if not any(parts):
        return ""
    text = "\0".join(part or "" for part in parts)
    return hmac.new(_SALT, text.encode(), hashlib.sha256).hexdigest()


class _NamedSSLConnection(SSLConnection):
    """Verifies the certificate against spec.redis.tls.serverName instead of the host; redis-py has no argument for it."""

    def __init__(self, *, server_name: str, **options: Any) -> None:
        self._server_name = server_name
        super().__init__(**options)

    def _connection_arguments(self) -> Mapping[str, Any]:
        return {**super()._connection_arguments(), "server_hostname": self._server_name}


def connect(key: EndpointKey, credentials: Credentials) -> AsyncRedis:
    """A client that never retries by itself: the endpoint's own loop does, and must know when it was away."""
    options: dict[str, Any] = {
        "host": key.place.host,
        "port": key.place.port,
        "db": key.place.database,
        "username": credentials.username,
        "password": credentials.password,
        # no time-out of redis-py's own: it sends under asyncio.wait_for, which on Python 3.11 swallows a cancellation
        # that comes while the send completes (python/cpython#86296). Each of our calls has asyncio.timeout around it
        "socket_timeout": None,
        "socket_connect_timeout": CALL_TIMEOUT_SECONDS,
        "socket_keepalive": True,
        "retry": Retry(NoBackoff(), 0),
        "client_name": "processingpool-operator",
    }
    kind: type[Connection] = Connection
    if key.tls:
        kind = SSLConnection
        options |= {"ssl_cert_reqs": "required", "ssl_check_hostname": True, "ssl_ca_data": credentials.ca_pem}
        if key.server_name:
            kind = _NamedSSLConnection
            options["server_name"] = key.server_name
    return AsyncRedis.from_pool(ConnectionPool(connection_class=kind, **options))
