"""`processingpool status`: pools, their queues, replicas and running jobs, as Redis shows them; for either backend."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from redis.asyncio import Redis as AsyncRedis
from redis.exceptions import RedisError
from rich.console import Console

from pool_client.connect import Parser, Target, add_arguments, find, open_options
from pool_client.errors import ClientError
from pool_client.trouble import trouble
from pool_contract.messages import PoolSettings
from pool_operator.app.picture import PoolPicture, look, published_pools
from pool_operator.cli.run_view import status_lines

CALL_SECONDS = 10.0


def main(arguments: Sequence[str]) -> int:
    """Exit status 0: shown; 1: there is no such pool; 2: wrong input, or Redis cannot be read."""
    target: Target | None = None
    try:
        found = _parser().parse_args(list(arguments[1:]))
        target = find(found)
        if found.url:
            print(target.url)
            return 0
        pictures = asyncio.run(_look(target))
    except ClientError as error:
        print(f"processingpool status: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    except (RedisError, OSError, TimeoutError) as error:
        print(f"processingpool status: {trouble(target, error)}", file=sys.stderr)
        return 2
    if found.json:
        print(json.dumps([_plain(one) for one in pictures], indent=1))
    elif pictures:
        Console().print(status_lines(pictures))
    else:
        which = f"pool '{target.pool}' has not" if target.pool else "no pool has"
        print(f"{which} been served at {target.place} yet", file=sys.stderr)
    return 0 if pictures else 1


async def _look(target: Target) -> list[PoolPicture]:
    options = open_options(target.url)
    async with AsyncRedis.from_url(target.url, socket_timeout=None, **options) as redis, asyncio.timeout(CALL_SECONDS):
        pools: dict[str, PoolSettings] = await published_pools(redis, target.prefix)
        chosen = {uid: one for uid, one in pools.items() if target.pool in {None, f"{one.namespace}/{one.name}"}}
        return await look(redis, target.prefix, chosen) if chosen else []


def _plain(picture: PoolPicture) -> dict[str, Any]:
    found = asdict(picture)
    found["settings"] = picture.settings.model_dump(mode="json") if picture.settings else None
    return found


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="processingpool status",
        description="Show pools, their queues, replicas and running jobs, on a cluster or on this machine.",
        allow_abbrev=False,
    )
    parser.add_argument("pool_file", nargs="?", metavar="POOL.yaml", help="the pool (default: all on --redis-url)")
    add_arguments(parser)
    shown = parser.add_mutually_exclusive_group()
    shown.add_argument("--json", action="store_true", help="as JSON")
    shown.add_argument("--url", action="store_true", help="only the URL of its Redis, with the password, for producers")
    return parser
