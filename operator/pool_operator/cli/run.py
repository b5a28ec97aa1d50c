"""`processingpool run POOL.yaml`: the same reconciler as in a cluster, over processes of this machine."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from redis import Redis
from redis.exceptions import RedisError

from pool_client.connect import Parser, Target, open_options, url_of
from pool_client.errors import ClientError
from pool_client.files import media_files
from pool_client.states import read_states
from pool_client.trouble import is_wrong_type, trouble, wrong_type
from pool_contract import keys
from pool_operator.api.load import PoolFileError, load_pool
from pool_operator.app.local import local_pool
from pool_operator.app.local_pool import LocalError, LocalOptions, LocalPool
from pool_operator.app.local_report import Before, before, build_report, gather
from pool_operator.backends.base import PoolKey
from pool_operator.backends.local.server import ServerError
from pool_operator.backends.local.state import PoolBusyError
from pool_operator.backends.local.template import TemplateError
from pool_operator.cli.run_screen import Screen, lifetimes, money_left, price_per_hour, settings_of

LONGEST_GRACE_SECONDS: Final = 7200
SHOWN_FAILURES: Final = 10
WRONG_INPUT = (ClientError, LocalError, PoolBusyError, PoolFileError, ServerError, TemplateError)


class _StartedError(Exception):
    """Trouble after the start: exit status 1 instead of 2."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunArguments:
    pool: Path
    submit: tuple[str, ...] = ()
    queue: str | None = None
    output: Path | None = None
    report: Path | None = None
    until_done: bool = False
    plain: bool = False
    grace_seconds: float = 10.0


def main(arguments: Sequence[str]) -> int:
    """Exit status 0: done, or stopped by Ctrl-C; 1: jobs failed (with --until-done), or it could not go on; 2: wrong input."""
    try:
        return asyncio.run(run(read_arguments(arguments[1:])))
    except _StartedError as error:
        print(f"processingpool run: {error}", file=sys.stderr)
        return 1
    except WRONG_INPUT as error:
        print(f"processingpool run: {error}", file=sys.stderr)
        return 2
    except RedisError as error:
        print(f"processingpool run: Redis cannot be used any more: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        print(f"processingpool run: {where}{error.strerror or error}", file=sys.stderr)
        return 1


def read_arguments(arguments: Sequence[str]) -> RunArguments:
    """
    Raises:
        ClientError: one sentence.
    """
    found = vars(_parser().parse_args(list(arguments)))
    if not 1 <= found["grace_seconds"] <= LONGEST_GRACE_SECONDS:  # also false for nan
        raise ClientError(f"--grace-seconds {found['grace_seconds']:g}: must be from 1 to {LONGEST_GRACE_SECONDS}")
    return RunArguments(**{**found, "submit": tuple(found["submit"])})


async def run(arguments: RunArguments) -> int:
    """One run, from the file to the report."""
    metadata, spec = load_pool(arguments.pool)
    key = PoolKey(namespace=metadata.namespace, name=metadata.name)
    names = [one.name for one in spec.queues]
    if arguments.queue is not None and arguments.queue not in names:
        raise ClientError(f"--queue '{arguments.queue}': the pool serves {', '.join(names)}")
    if arguments.queue is not None and not arguments.submit:
        raise ClientError("--queue goes with --submit only: it says where the submitted files go")
    files = media_files(arguments.submit)
    if arguments.output is not None and arguments.output.exists() and not arguments.output.is_dir():
        raise ClientError(f"--output {arguments.output}: is a file; name a folder")
    if arguments.report is not None and arguments.report.is_dir():
        raise ClientError(f"--report {arguments.report}: is a folder; name a file in it")
    if arguments.report is not None and not arguments.report.absolute().parent.is_dir():
        raise ClientError(f"--report {arguments.report}: there is no folder {arguments.report.absolute().parent}")
    stop, hurry = asyncio.Event(), asyncio.Event()
    on_signals(stop, hurry)
    options = LocalOptions(
        output=arguments.output, run_log=arguments.report is not None, grace_seconds=arguments.grace_seconds
    )
    async with local_pool(key, spec, options) as it:
        screen = Screen(it, plain=arguments.plain or not sys.stdout.isatty(), on_gone=stop.set)
        screen.introduce()
        if it.server is not None:
            screen.say(f"your own producers get in by the URL of `processingpool status {arguments.pool} --url`")
        try:
            began = await before(it.redis, it.prefix, names)
            jobs = submit(it, files, arguments.queue, screen.say) if files else None
            failed_before = await _failed(it)
        except RedisError as error:
            screen.close()
            raise _StartedError(_words(it, error)) from error
        try:
            await screen.during(it.run(stop, until_done=arguments.until_done))
        except LocalError as error:
            raise _StartedError(str(error)) from error
        finally:
            screen.ending = True
            await screen.during(it.end(hurry))
            screen.close()
        if arguments.report is not None:
            await write_report(it, arguments.report, began=began, jobs=jobs, unlogged=True)
        failed = sorted(await _failed(it) - failed_before)
        why = _reasons(it, failed[:SHOWN_FAILURES])
    for line in why:
        screen.say(line)
    screen.say(screen.farewell)
    return 1 if arguments.until_done and failed else 0


def submit(it: LocalPool, files: Sequence[Path], queue: str | None, say: Callable[[str], None]) -> list[str]:
    """Put the files on the pool's queue; those that an earlier run has submitted are not submitted again."""
    os.environ["RQ_KEY_PREFIX"] = it.prefix  # rq reads it when it is imported
    from pool_client.client import Client

    assert it.pool.spec is not None
    queue = queue or it.pool.spec.queues[0].name
    with _redis(it) as redis:
        submitted = Client(redis, prefix=it.prefix).submit_files(files, queue=queue, settings=settings_of(it))
    known = len(files) - sum(one.new for one in submitted)
    say(
        f"{len(files)} file{'s' * (len(files) > 1)} submitted to queue '{queue}'"
        + (f", {known} of them in an earlier run" if known else "")
    )
    return [one.id for one in submitted]


def _redis(it: LocalPool) -> Redis:
    """A client for the commands' own API, which is not asynchronous."""
    assert it.pool.spec is not None
    url = it.endpoint.url if it.server is not None else url_of(it.pool.spec.redis)
    return Redis.from_url(url, **open_options(url))


def _words(it: LocalPool, error: RedisError) -> str:
    assert it.pool.spec is not None
    place = Target(url=it.endpoint.url, prefix=it.prefix, queues=tuple(one.name for one in it.pool.spec.queues))
    if not is_wrong_type(error):
        return trouble(place, error)
    with _redis(it) as redis:
        return wrong_type(redis, place)


def _reasons(it: LocalPool, jobs: Sequence[str]) -> list[str]:
    """One line a failed job: after the run nobody can ask an embedded server any more."""
    with suppress(RedisError, OSError), _redis(it) as redis:
        return [f"failed: {one.description} ({one.id}): {one.error}" for one in read_states(redis, it.prefix, jobs)]
    return []


async def write_report(
    it: LocalPool, path: Path, *, began: Before | None = None, jobs: Sequence[str] | None, unlogged: bool = False
) -> dict[str, Any]:
    """Judge the run by the jobs' run log and by Redis; write JSON."""
    spec = it.pool.spec
    assert spec is not None
    queues = [one.name for one in spec.queues]
    evidence = await gather(it.redis, it.prefix, queues, jobs=jobs, began=began)
    report = build_report(
        evidence,
        replicas=lifetimes(it),
        changes=it.record.changes,
        price_per_hour=price_per_hour(it),
        now=time.time(),
        unlogged=unlogged,
    )
    report["profile"] = str(spec.scaling.profile)
    report["spend"] = {one.period: round(one.spent, 6) for one in money_left(it)} or None
    fresh = path.with_name(path.name + ".new")
    fresh.write_text(json.dumps({"pool": str(it.pool.key), **report}, indent=1) + "\n", encoding="utf-8")
    fresh.replace(path)
    return report


async def _failed(it: LocalPool) -> set[str]:
    """Ids in the failed registries."""
    assert it.pool.spec is not None
    with suppress(RedisError, OSError):
        lists: list[Any] = [
            await it.redis.zrange(keys.failed(it.prefix, one.name), 0, -1) for one in it.pool.spec.queues
        ]
        return {job.decode() for one in lists for job in one}
    return set()


def on_signals(stop: asyncio.Event, hurry: asyncio.Event) -> None:
    """The first Ctrl-C asks for the end, the second one hurries it."""

    def asked() -> None:
        (hurry if stop.is_set() else stop).set()

    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, asked)


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="processingpool run",
        description="Run a pool on this machine: workers are processes, and an embedded Valkey holds the queues where the "
        "pool names no Redis. Stop with Ctrl-C; nothing is lost, the next run continues.",
        allow_abbrev=False,
    )
    parser.add_argument("pool", type=Path, metavar="POOL.yaml")
    parser.add_argument(
        "--submit", action="append", default=[], metavar="GLOB", help="submit these media files first; may be repeated"
    )
    parser.add_argument("--queue", metavar="NAME", help="queue for --submit (default: the pool's first)")
    parser.add_argument("--output", type=Path, metavar="DIR", help="folder for results (default: ./output)")
    parser.add_argument("--report", type=Path, metavar="FILE", help="write what happened as JSON")
    parser.add_argument("--until-done", action="store_true", help="end when nothing is left to do")
    parser.add_argument("--plain", action="store_true", help="plain lines also on a terminal")
    parser.add_argument(
        "--grace-seconds",
        type=float,
        default=10.0,
        metavar="N",
        help="what running jobs get after Ctrl-C before they go back to their queue (default: 10)",
    )
    return parser
