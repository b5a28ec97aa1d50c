"""Which Redis a command means: the one of a POOL.yaml, of a pool that runs on this machine, or of --redis-url."""

from __future__ import annotations

import argparse
import os
import re
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import quote, urlsplit

from pool_client.errors import ClientError
from pool_contract import keys
from pool_contract.local import read_endpoint, state_folder
from pool_contract.redis_url import url_options


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Where to connect, and which pool is meant (None: all)."""

    url: str = field(repr=False)
    prefix: str = keys.DEFAULT_PREFIX
    pool: str | None = None  # namespace/name
    queues: tuple[str, ...] = ()
    hint: str = ""  # what to do if nobody answers there

    @property
    def place(self) -> str:
        """host:port/database, for messages."""
        parts = urlsplit(self.url)
        return f"{parts.hostname or parts.path}:{parts.port or 6379}{parts.path if parts.hostname else ''}"


class Parser(argparse.ArgumentParser):
    """Raises where argparse would print its usage and exit: the caller says one sentence."""

    def error(self, message: str) -> NoReturn:
        raise ClientError(f"{message}; --help lists the options")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """--pool, --redis-url and --key-prefix; the password comes by the URL or PROCESSINGPOOL_REDIS_PASSWORD."""
    parser.add_argument("--pool", metavar="POOL.yaml", help="the pool's file; its Redis and queues are used")
    parser.add_argument(
        "--redis-url", metavar="URL", help="redis://[user:password@]host:port/database, or PROCESSINGPOOL_REDIS_URL"
    )
    parser.add_argument("--key-prefix", metavar="PREFIX", help="RQ's key prefix (default: the pool's, else rq)")


def find(found: argparse.Namespace) -> Target:
    """What the flags mean.

    Raises:
        ClientError: they name no Redis, a pool that does not run, or a file that is no pool.
    """
    file = getattr(found, "pool_file", None) or found.pool
    url = found.redis_url or (None if file else os.environ.get("PROCESSINGPOOL_REDIS_URL"))
    if url is not None and not is_redis_url(url):
        raise ClientError(
            f"--redis-url '{_without_password(url)}': write redis://host:port/database, or rediss:// for TLS"
        )
    if url is not None:
        try:
            url_options(url)
        except ValueError as error:
            raise ClientError(f"--redis-url '{_without_password(url.partition('?')[0])}': {error}") from None
    if file is not None:
        target = of_pool(Path(file), url)
    elif url is not None:
        target = Target(url=url)
    else:
        raise ClientError("which Redis? Name a POOL.yaml, or --redis-url redis://host:port/database")
    if found.key_prefix:
        target = replace(target, prefix=found.key_prefix)
    return target


def of_pool(path: Path, url: str | None = None) -> Target:
    """The Redis of a pool's file; without spec.redis, that of the run on this machine."""
    from pool_operator.api.load import PoolFileError, load_pool

    try:
        metadata, spec = load_pool(path)
    except PoolFileError as error:
        raise ClientError(str(error)) from error
    pool = f"{metadata.namespace}/{metadata.name}"
    queues = tuple(queue.name for queue in spec.queues)
    if url is not None:
        prefix = spec.redis.key_prefix if spec.redis else keys.DEFAULT_PREFIX
        return Target(url=url, prefix=prefix, pool=pool, queues=queues)
    if spec.redis is not None:
        return Target(url=url_of(spec.redis), prefix=spec.redis.key_prefix, pool=pool, queues=queues)
    endpoint = read_endpoint(state_folder(metadata.namespace, metadata.name))
    if endpoint is None:
        raise ClientError(
            f"pool '{pool}' names no Redis and has not run on this machine: start it with `processingpool run {path}`, "
            "or name its server with --redis-url"
        )
    hint = f"; does the pool run? Start it with `processingpool run {path}`"
    return Target(url=endpoint.url, prefix=endpoint.prefix, pool=pool, queues=queues, hint=hint)


def url_of(redis: Any) -> str:
    """Of spec.redis; there are no Secrets here, the environment takes their place."""
    username = os.environ.get("PROCESSINGPOOL_REDIS_USERNAME", "")
    password = os.environ.get("PROCESSINGPOOL_REDIS_PASSWORD", "")
    login = f"{quote(username, safe='')}:{quote(password, safe='')}@" if username or password else ""
    host = f"[{redis.host}]" if ":" in redis.host else redis.host
    scheme = "rediss" if redis.tls is not None else "redis"
    return f"{scheme}://{login}{host}:{redis.port}/{redis.database}"


def is_redis_url(url: str) -> bool:
    """redis-py would take a database that is no number as database 0, and fail on a wrong port with a traceback."""
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        return False
    if parts.scheme == "unix":
        return True
    return parts.scheme in {"redis", "rediss"} and re.fullmatch(r"/?\d*", parts.path) is not None


def open_options(url: str) -> dict[str, Any]:
    """What goes with a URL: login and CA from the environment, where the URL itself has no login."""
    names = {"ssl_ca_certs": "PROCESSINGPOOL_REDIS_CA_FILE"} if url.startswith("rediss") else {}
    if "@" not in url:
        names |= {"username": "PROCESSINGPOOL_REDIS_USERNAME", "password": "PROCESSINGPOOL_REDIS_PASSWORD"}
    return {option: value for option, name in names.items() if (value := os.environ.get(name))}


def _without_password(url: str) -> str:
    head, at, tail = url.rpartition("@")
    return f"{head.partition('://')[0]}://…@{tail}" if at else url
