"""Connections to Redis, and what its troubles mean in one sentence each."""

from __future__ import annotations

import logging
import threading
import time
from typing import Any, Final, TypeVar
from urllib.parse import urlsplit

from redis import Redis, RedisError, SSLConnection, exceptions
from redis.backoff import ConstantBackoff, NoBackoff
from redis.connection import ConnectionPool
from redis.retry import Retry

from pool_contract.redis_url import url_options
from pool_contract.server_words import server_words
from pool_worker.errors import WorkerError
from pool_worker.settings import Settings

log = logging.getLogger(__name__)
T = TypeVar("T", bound=Redis)
CALL_TIMEOUT_SECONDS: Final = 10.0
CONNECT_TIMEOUT_SECONDS: Final = 5.0
JOB_RETRIES: Final = 20
JOB_RETRY_SECONDS: Final = 0.5
PING_SECONDS: Final = 15
SAY_AGAIN_SECONDS: Final = 60.0
LONGEST_PAUSE_SECONDS: Final = 2.0


class _NamedSSLConnection(SSLConnection):
    """Verifies the certificate against the configured name instead of the host; redis-py has no argument for it."""

    def __init__(self, *, server_name: str, **options: Any) -> None:
        self._server_name = server_name
        super().__init__(**options)

    def _wrap_socket_with_ssl(self, sock: Any) -> Any:
        host, self.host = self.host, self._server_name
        try:
            return super()._wrap_socket_with_ssl(sock)  # type: ignore[no-untyped-call]
        finally:
            self.host = host


def connect(settings: Settings, kind: type[T], timeout_seconds: float = CALL_TIMEOUT_SECONDS) -> T:
    """A client that never repeats a command by itself: a claim whose reply was lost must not become two."""
    timeouts = {
        "socket_timeout": timeout_seconds,
        "socket_connect_timeout": min(timeout_seconds, CONNECT_TIMEOUT_SECONDS),
    }
    return kind(connection_pool=_pool(settings, Retry(NoBackoff(), 0), **timeouts))


def connect_patiently(settings: Settings) -> Redis:
    """A client for the code of jobs: it sits out a short absence of Redis, as redis-py's own defaults do."""
    return Redis.from_pool(_pool(settings, Retry(ConstantBackoff(JOB_RETRY_SECONDS), JOB_RETRIES)))


def connect_to_listen(settings: Settings) -> Redis:
    """A client for subscriptions: its pings find out that the server is gone when nothing is pushed."""
    return Redis.from_pool(_pool(settings, Retry(NoBackoff(), 0), health_check_interval=PING_SECONDS))


def _pool(settings: Settings, retry: Retry, **more: Any) -> ConnectionPool:
    options: dict[str, Any] = {
        "socket_timeout": CALL_TIMEOUT_SECONDS,
        "socket_connect_timeout": CONNECT_TIMEOUT_SECONDS,
        "socket_keepalive": True,
        **_told(settings.redis_url),
        "retry": retry,
        "client_name": "processingpool-worker",
        **more,
    }
    if "path" in options:  # a unix socket has neither
        options.pop("socket_connect_timeout")
        options.pop("socket_keepalive")
    if settings.redis_username:
        options["username"] = settings.redis_username
    if settings.redis_password:
        options["password"] = settings.redis_password
    if settings.redis_ca_file:
        options["ssl_ca_certs"] = settings.redis_ca_file
    if settings.redis_server_name:
        options["server_name"] = settings.redis_server_name
        options["connection_class"] = _NamedSSLConnection
    if urlsplit(settings.redis_url).scheme != "rediss" and (settings.redis_ca_file or settings.redis_server_name):
        raise WorkerError("--redis-ca-file and --redis-server-name need TLS: write --url with rediss://")
    return ConnectionPool(**options)


def _told(url: str) -> dict[str, Any]:
    """What the URL says, its part after `?` too."""
    try:
        return url_options(url)
    except ValueError as error:
        raise WorkerError(f"--url (PROCESSINGPOOL_REDIS_URL): {error}") from None


def place(settings: Settings) -> str:
    """host:port/database for people; never a password."""
    parts = urlsplit(settings.redis_url)
    return f"{parts.hostname}:{parts.port or 6379}{parts.path or '/0'}" if parts.hostname else parts.path


def is_refusal(error: BaseException) -> bool:
    """Redis answers but does not let us in: waiting does not heal it."""
    return isinstance(error, exceptions.AuthenticationError) or "WRONGPASS" in str(error) or "NOAUTH" in str(error)


def sentence(error: BaseException, where: str) -> str:
    """What is wrong with Redis, and what the user can do."""
    text = server_words(error)[:200] or type(error).__name__
    if is_refusal(error):
        return (
            f"Redis at {where} refuses the user or password ({text}): "
            "set PROCESSINGPOOL_REDIS_USERNAME and PROCESSINGPOOL_REDIS_PASSWORD"
        )
    if isinstance(error, exceptions.NoPermissionError):
        return f"the Redis user at {where} may not do what a worker must ({text}): give it more rights"
    if isinstance(error, exceptions.OutOfMemoryError):
        return f"Redis at {where} is full ({text}): raise maxmemory"
    if isinstance(error, exceptions.ReadOnlyError):
        return f"Redis at {where} is a read-only replica: name the primary in --url (PROCESSINGPOOL_REDIS_URL)"
    if isinstance(error, exceptions.BusyLoadingError):
        return f"Redis at {where} is loading its data"
    if isinstance(error, (exceptions.ConnectionError, exceptions.TimeoutError, OSError)):
        return f"Redis at {where} cannot be reached ({text})"
    return f"Redis at {where} answers with an error: {text}"


class Link:
    """The replica's view of Redis: says once when it goes, and once when it is back.

    Every thread tells it what it met, so that ten threads make one line in the log and not ten a second.
    """

    def __init__(self, where: str) -> None:
        self.where = where
        self._lock = threading.Lock()
        self._trouble = ""
        self._said_at: dict[str, float] = {}
        self._announced = False
        self.refused_since: float | None = None

    @property
    def trouble(self) -> str:
        """The sentence while something is wrong, else empty."""
        return self._trouble

    def down(self, error: BaseException) -> None:
        """A call failed."""
        text = sentence(error, self.where)
        now = time.monotonic()
        with self._lock:
            if not is_refusal(error):
                self.refused_since = None
            elif self.refused_since is None:
                self.refused_since = now
            self._trouble = text
            # what works for one caller may not work for another: a trouble that comes and goes is said once a minute
            if now - self._said_at.get(text, -SAY_AGAIN_SECONDS) < SAY_AGAIN_SECONDS:
                return
            self._said_at[text] = now
            self._announced = True
        log.warning("%s; trying again", text)

    def up(self) -> None:
        """A call worked. Cheap when nothing was wrong."""
        if not self._trouble:
            return
        with self._lock:
            self._trouble, self.refused_since = "", None
            announced, self._announced = self._announced, False
        if announced:
            log.info("Redis at %s is back", self.where)


def pause_seconds(attempt: int) -> float:
    """Back-off: 0.1, 0.2, 0.4 … up to LONGEST_PAUSE_SECONDS."""
    return float(min(LONGEST_PAUSE_SECONDS, 0.1 * 2 ** min(attempt, 10)))


REDIS_TROUBLE: Final = (RedisError, OSError)
