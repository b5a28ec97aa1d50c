"""Where a pool's ledger is: in Redis, in the state folder of a run on this machine, or in an exported file."""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from redis import Redis

from pool_client.connect import Target, find, open_options
from pool_client.errors import ClientError
from pool_contract import keys, ledger
from pool_contract.ledger import FILES, Record
from pool_contract.local import state_folder
from pool_contract.scripts import Scripts
from pool_operator.api.load import PoolFileError, load_pool

POOL_NAME: Final = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?/[a-z0-9]([-a-z0-9]*[a-z0-9])?")
CONNECT_SECONDS: Final = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerPlace:
    """One pool's ledger."""

    pool: str  # namespace/name, or the file's name
    where: str  # for messages
    file: Path | None = None
    folder: Path | None = None
    target: Target | None = None

    def records(self) -> Iterator[Record]:
        """All records, oldest first; none if nothing was recorded yet.

        Raises:
            LedgerError, OSError: a file is damaged, or cannot be read.
            RedisError: Redis cannot be read.
        """
        if self.file is not None:
            yield from ledger.read_file(self.file)
        elif self.folder is not None:
            yield from ledger.read_files(self.folder)
        elif self.target is not None:
            options = open_options(self.target.url)
            redis = Redis.from_url(self.target.url, socket_connect_timeout=CONNECT_SECONDS, **options)
            with closing(redis):
                for uid in _uids(redis, self.target.prefix, self.pool):
                    yield from ledger.read_stream(redis, self.target.prefix, uid)


def add_place(parser: argparse.ArgumentParser) -> None:
    """POOL and where its Redis is."""
    parser.add_argument(
        "pool",
        metavar="POOL",
        help="POOL.yaml of a run on this machine, namespace/name with --redis-url, or an exported ledger file",
    )
    parser.add_argument(
        "--redis-url", metavar="URL", help="redis://[user:password@]host:port/database, or PROCESSINGPOOL_REDIS_URL"
    )
    parser.add_argument("--key-prefix", metavar="PREFIX", help="RQ's key prefix (default: the pool's, else rq)")


def find_ledger(found: argparse.Namespace) -> LedgerPlace:
    """What POOL means.

    Raises:
        ClientError: it means nothing, or there is no Redis to look in.
    """
    name: str = found.pool
    if name.endswith((".yaml", ".yml")):
        return _of_pool_file(Path(name), found)
    if not Path(name).exists() and POOL_NAME.fullmatch(name):
        return _of_name(name, found)
    path = Path(name)
    if not path.is_file():
        raise ClientError(
            f"POOL '{name}': is no file and no namespace/name; name a POOL.yaml, a pool as namespace/name with "
            "--redis-url, or an exported ledger"
        )
    return LedgerPlace(pool=path.name, where=str(path), file=path)


def _of_pool_file(path: Path, found: argparse.Namespace) -> LedgerPlace:
    try:
        metadata, spec = load_pool(path)
    except PoolFileError as error:
        raise ClientError(str(error)) from error
    pool = f"{metadata.namespace}/{metadata.name}"
    folder = state_folder(metadata.namespace, metadata.name)
    if found.redis_url is None and (spec.redis is None or _has_ledger(folder)):
        return LedgerPlace(pool=pool, where=f"the state folder {folder}", folder=folder)
    return _in_redis(pool, found, file=str(path))


def _of_name(pool: str, found: argparse.Namespace) -> LedgerPlace:
    folder = state_folder(*pool.split("/"))
    if found.redis_url is None and _has_ledger(folder):
        return LedgerPlace(pool=pool, where=f"the state folder {folder}", folder=folder)
    if found.redis_url is None and not os.environ.get("PROCESSINGPOOL_REDIS_URL"):
        raise ClientError(
            f"pool '{pool}' has not run on this machine: name its server with --redis-url redis://host:port/database"
        )
    return _in_redis(pool, found, file=None)


def _in_redis(pool: str, found: argparse.Namespace, *, file: str | None) -> LedgerPlace:
    target = find(argparse.Namespace(pool=file, redis_url=found.redis_url, key_prefix=found.key_prefix))
    return LedgerPlace(pool=pool, where=f"Redis at {target.place}", target=target)


def _has_ledger(folder: Path) -> bool:
    return any((folder / name).exists() for name in FILES)


# --- whose ledger is whose ------------------------------------------------------------------------------------------


def _uids(redis: Redis, prefix: str, pool: str) -> list[str]:
    """Of all pools that ever had this name and left a ledger, the oldest first."""
    found: list[tuple[float, str]] = []
    start = keys.ledger(prefix, "")
    for key in redis.scan_iter(match=f"{_literal(start)}*", count=1000):
        uid = key.decode().removeprefix(start)
        page = Scripts(redis).run(ledger.tail(prefix, pool=uid, limit=1000))
        checkpoint = next((one for one in page.records if one.get("kind") == "checkpoint"), None)
        if checkpoint is not None and _name(checkpoint) == pool:
            found.append((float(checkpoint.get("at", 0.0)), uid))
    return [uid for _, uid in sorted(found)]


def _literal(text: str) -> str:
    return re.sub(r"([\[\]*?\\])", r"\\\1", text)


def _name(checkpoint: Record) -> str:
    pool: Any = checkpoint.get("pool") or {}
    return f"{pool.get('namespace')}/{pool.get('name')}"
