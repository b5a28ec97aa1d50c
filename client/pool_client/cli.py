"""`processingpool submit` and `processingpool jobs`: the Python API as commands, for a cluster or this machine."""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from redis import Redis
from redis.exceptions import RedisError, ResponseError
from rich.console import Console
from rich.table import Table
from rich.text import Text

from pool_client.connect import Parser, Target, add_arguments, find, open_options
from pool_client.errors import ClientError
from pool_client.files import media_files
from pool_client.states import ENDED, JobState
from pool_client.trouble import is_wrong_type, trouble, wrong_type

if TYPE_CHECKING:
    from pool_client.client import Client

ACTIONS = ("list", "follow", "cancel", "retry")
FAILED = {"failed", "canceled", "stopped"}
STATUSES = ("queued", "started", "scheduled", "deferred", *sorted(ENDED))
LONGEST_QUEUE = 200
QUEUE_PATTERN = re.compile(r"[^\s,:]+(?::[^\s,:]+)*")  # what a worker takes, too


def main(arguments: Sequence[str]) -> int:
    """Exit status 0: done; 1: a job failed, or could not be cancelled or retried; 2: wrong input, or no Redis."""
    command = arguments[0]
    target: Target | None = None
    try:
        found = (_submit_parser() if command == "submit" else _jobs_parser()).parse_args(list(arguments[1:]))
        _check(found)
        target = find(found)
        os.environ["RQ_KEY_PREFIX"] = target.prefix  # rq reads it when it is imported, which is not yet
        from pool_client.client import Client

        with Redis.from_url(target.url, socket_connect_timeout=5.0, **open_options(target.url)) as redis:
            client = Client(redis, prefix=target.prefix)
            try:
                return _submit(client, target, found) if command == "submit" else _jobs(client, target, found)
            except ResponseError as error:
                if not is_wrong_type(error):
                    raise
                raise ClientError(wrong_type(redis, target)) from error
    except ClientError as error:
        print(f"processingpool {command}: {error}", file=sys.stderr)
        return 2
    except RedisError as error:
        print(f"processingpool {command}: {trouble(target, error)}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130


# --- submit -------------------------------------------------------------------------------------------------------


def _submit(client: Client, target: Target, found: argparse.Namespace) -> int:
    files = media_files(found.files)
    queue = found.queue or (target.queues[0] if target.queues else "default")
    if target.queues and queue not in target.queues:
        raise ClientError(f"--queue '{queue}': the pool serves {', '.join(target.queues)}")
    jobs = client.submit_files(files, queue=queue, output=found.output, language=found.language, again=found.again)
    known = sum(not one.new for one in jobs)
    if found.quiet:
        print("\n".join(one.id for one in jobs))
    else:
        for one in jobs:
            print(f"{one.id}  {one.source}" + ("" if one.new else "  (submitted before)"))
        many = "1 job" if len(jobs) - known == 1 else f"{len(jobs) - known} jobs"
        there = f", {known} {'was' if known == 1 else 'were'} there already (--again submits anew)" if known else ""
        print(f"{many} on queue '{queue}'{there}")
    if not found.follow:
        return 0
    return _follow(client, [one.id for one in jobs])


# --- jobs ---------------------------------------------------------------------------------------------------------


def _jobs(client: Client, target: Target, found: argparse.Namespace) -> int:
    if found.action == "list":
        return _list(client, target, found)
    ids = found.jobs
    if found.all_failed:
        ids = [one.id for one in client.states(_queues(client, target, found), limit=100_000) if one.status == "failed"]
        if not ids:
            print("no failed jobs")
    elif not ids:
        raise ClientError(
            f"which jobs? processingpool jobs {found.action} JOB… (`processingpool jobs list` shows them)"
        )
    return _follow(client, ids) if found.action == "follow" else _change(client, found.action, ids)


def _change(client: Client, action: str, ids: Sequence[str]) -> int:

    wrong = 0
    for job in ids:
        try:
            if action == "cancel":
                before = client.cancel(job)
                print(f"{job}  canceled" + (", its worker stops at its next heartbeat" if before == "started" else ""))
            else:
                client.retry(job)
                print(f"{job}  queued again")
        except ClientError as error:
            wrong += 1
            print(f"processingpool jobs: {error}", file=sys.stderr)
    return 1 if wrong else 0


def _follow(client: Client, ids: Sequence[str]) -> int:
    """One line per change of each job, one job after the other: each is waited for anyway."""
    bad = 0
    for number, job in enumerate(ids, start=1):
        head = f"{number}/{len(ids)} {job}" if len(ids) > 1 else job
        try:
            for state in client.follow(job):
                print(f"{head}  {_words(state)}", flush=True)
            bad += state.status in FAILED
        except ClientError as error:
            bad += 1
            print(f"processingpool jobs: {error}", file=sys.stderr)
    return 1 if bad else 0


def _words(state: JobState) -> str:
    progress = "" if state.progress is None else f" {state.progress:.0%}"
    return f"{state.status}{progress}  {state.description}" + (f"  {state.error}" if state.error else "")


def _list(client: Client, target: Target, found: argparse.Namespace) -> int:
    states = client.states(_queues(client, target, found), limit=found.limit)
    if found.status:
        states = [one for one in states if one.status in found.status]
    if found.json:
        print(json.dumps([asdict(one) for one in states], indent=1))
        return 0
    table = Table(box=None, pad_edge=False, header_style="dim")
    for name in ("job", "queue", "status", "what"):
        table.add_column(name, no_wrap=name != "what")
    for one in states:
        colour = {"finished": "green", "failed": "red", "started": "cyan"}.get(one.status, "")
        progress = "" if one.progress is None else f" {one.progress:.0%}"
        what = one.description + (f"\n{one.error}" if one.error else "")
        table.add_row(one.id, one.queue, Text(one.status + progress, style=colour), Text(what))
    console = Console() if sys.stdout.isatty() else Console(width=200)
    console.print(table if states else "no jobs")
    return 0


def _queues(client: Client, target: Target, found: argparse.Namespace) -> list[str]:
    return list(found.queue or target.queues or client.queues())


# --- arguments ----------------------------------------------------------------------------------------------------


def _check(found: argparse.Namespace) -> None:
    """What argparse cannot see, before anything is asked of Redis.

    Raises:
        ClientError: flags that do not go together, or a value that means nothing.
    """
    queues = [found.queue] if isinstance(found.queue, str) else found.queue or []
    for name in queues:
        if len(name) > LONGEST_QUEUE or not QUEUE_PATTERN.fullmatch(name):
            raise ClientError(
                f"--queue '{name}': is no queue name; use up to {LONGEST_QUEUE} characters without blanks or commas"
            )
    if not hasattr(found, "action"):
        return
    if found.limit < 1:
        raise ClientError(f"--limit {found.limit}: must be at least 1")
    for status in found.status or ():
        if status not in STATUSES:
            raise ClientError(f"--status '{status}': there are {', '.join(STATUSES)}")
    if found.all_failed and found.action != "retry":
        raise ClientError("--all-failed goes with `jobs retry` only")
    if found.jobs and found.action == "list":
        raise ClientError(
            f"'{found.jobs[0]}': `jobs list` takes no job ids; `jobs follow {found.jobs[0]}` shows one job"
        )


def _submit_parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="processingpool submit",
        description="Put media files on a pool's queue. The same file is submitted once. "
        "Example: processingpool submit --pool pool.yaml recordings/*.mp3",
        allow_abbrev=False,
    )
    parser.add_argument("files", nargs="+", metavar="FILE", help="media files, folders or quoted patterns")
    add_arguments(parser)
    parser.add_argument("--queue", metavar="NAME", help="default: the pool's first queue, else 'default'")
    parser.add_argument(
        "--output", type=Path, metavar="DIR", help="folder for results, as the worker sees it (default: the worker's)"
    )
    parser.add_argument("--language", metavar="CODE", help="such as en (default: detected)")
    parser.add_argument("--again", action="store_true", help="submit files again that were submitted before")
    parser.add_argument("--follow", action="store_true", help="wait for the jobs and show their progress")
    parser.add_argument("--quiet", "-q", action="store_true", help="print job ids only")
    return parser


def _jobs_parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="processingpool jobs",
        description="List, follow, cancel or retry jobs.",
        allow_abbrev=False,
    )
    parser.add_argument("action", nargs="?", default="list", choices=ACTIONS, help="default: list")
    parser.add_argument("jobs", nargs="*", metavar="JOB", help="job ids, for follow, cancel and retry")
    add_arguments(parser)
    parser.add_argument(
        "--queue", action="append", metavar="NAME", help="default: the pool's queues, else all; may be repeated"
    )
    parser.add_argument(
        "--status", action="append", metavar="STATUS", help=f"list only these ({', '.join(STATUSES)}); may be repeated"
    )
    parser.add_argument("--limit", type=int, default=100, metavar="N", help="list at most so many (default: 100)")
    parser.add_argument("--all-failed", action="store_true", help="retry all failed jobs of the queues")
    parser.add_argument("--json", action="store_true", help="list as JSON")
    return parser
