"""The local backend: replicas are `processingpool worker` processes of this machine.

A replica id belongs to one process for ever. Only drained replicas are told to end; a process that ends by itself is
gone, and the next pass starts another one, after a back-off if starts keep failing.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import time
import uuid
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Protocol

from pool_operator.backends.base import Applied, BackendView, PoolKey, PoolObject, Problem, Target
from pool_operator.backends.local.process import kill, kill_group, last_line
from pool_operator.backends.local.replica import Cause, LocalReplica, ending
from pool_operator.names import ConditionReason

log = logging.getLogger(__name__)
READY_POLL_SECONDS: Final = 0.1
KILL_MARGIN_SECONDS: Final = 10.0
FIRST_BACKOFF_SECONDS: Final = 0.5
LONGEST_BACKOFF_SECONDS: Final = 30.0
FAILURES_TOLD: Final = 2
WRONG_USAGE: Final = 2


class Launcher(Protocol):
    """Starts the process of one replica."""

    async def __call__(self, pool: PoolObject, replica: str) -> tuple[asyncio.subprocess.Process, Path]:
        """Returns the process and its log file.

        Raises:
            OSError: it cannot be started.
        """


@dataclass(slots=True)
class _Held:
    """What is meant to run for one pool, and how its starts go."""

    wanted: int = 0
    replicas: dict[str, LocalReplica] = field(default_factory=dict)
    failures: int = 0  # rounds in a row in which a replica ended before it was ready
    failed_at: float = float("-inf")  # monotonic
    problem: Problem | None = None
    out_of_memory_at: float | None = None  # unix seconds

    @property
    def active(self) -> list[LocalReplica]:
        return [one for one in self.replicas.values() if one.cause is None]

    def backoff_seconds(self, now: float) -> float:
        if not self.failures:
            return 0.0
        length = min(LONGEST_BACKOFF_SECONDS, FIRST_BACKOFF_SECONDS * 2.0 ** min(self.failures - 1, 10))
        return max(0.0, self.failed_at + length - now)


class LocalBackend:
    """Implements backends.base.Backend.

    Args:
        launch: starts the process of a replica.
        ready: of these replica ids, those that have reported to be ready.
        ended: called when a replica's process is gone for good, unless we are closing.
        grace_seconds: what a replica that is told to end may take.
    """

    def __init__(
        self,
        *,
        launch: Launcher,
        ready: Callable[[PoolObject, Collection[str]], Awaitable[Collection[str]]],
        ended: Callable[[PoolObject, str], Awaitable[None]],
        grace_seconds: float,
    ) -> None:
        self.wake: Callable[[PoolKey], None] = lambda _key: None
        self.history: list[LocalReplica] = []
        """Every replica there ever was, for the report."""
        self._launch = launch
        self._ready = ready
        self._ended = ended
        self._grace_seconds = grace_seconds
        self._pools: dict[str, _Held] = {}
        self._watchers: set[asyncio.Task[None]] = set()
        self._closing = False

    # --- the protocol ---------------------------------------------------------------------------------------------

    def view(self, pool: PoolObject) -> BackendView:
        """Snapshot out of our own memory."""
        held = self._pools.get(pool.uid)
        if held is None:
            return BackendView(synced=True)
        ordered = sorted(held.replicas.values(), key=lambda one: (one.created_at, one.id))
        return BackendView(
            synced=True,
            replicas=tuple(one.shown(rank) for rank, one in enumerate(ordered)),
            wanted=held.wanted,
            exists=True,
            capacity_problem=held.problem,
            out_of_memory_at=held.out_of_memory_at,
        )

    async def apply(self, pool: PoolObject, target: Target) -> Applied:
        """Start what is missing, or end drained replicas; both at once."""
        held = self._pools.setdefault(pool.uid, _Held())
        if self._closing or pool.spec is None:
            return Applied(wanted=held.wanted)
        before = (held.wanted, len(held.active))
        if target.replicas >= held.wanted:
            held.wanted = target.replicas
        else:
            self._lower(held, target)
        wait = await self._fill(pool, held)
        return Applied(changed=(held.wanted, len(held.active)) != before, wanted=held.wanted, wait_seconds=wait)

    async def retire(self, pool: PoolObject) -> None:
        """Forget a pool after its last replica is gone."""
        self._pools.pop(pool.uid, None)

    # --- up and down ----------------------------------------------------------------------------------------------

    def _lower(self, held: _Held, target: Target) -> None:
        """Replicas that died and were not started again yet simply are not; of the living only drained ones end."""
        surplus = len(held.active) - target.replicas
        for one in [one for one in held.active if one.id in target.drained][: max(0, surplus)]:
            self._end(one, Cause.SCALING)
        held.wanted = max(target.replicas, len(held.active))

    async def _fill(self, pool: PoolObject, held: _Held) -> float | None:
        """Start what is missing; seconds until the next try if starts fail."""
        missing = held.wanted - len(held.active)
        if missing <= 0:
            return None
        wait = held.backoff_seconds(time.monotonic())
        if wait > 0:
            return wait
        if held.failures:  # one is enough to see whether starts work again
            starting = any(one.ready_at is None for one in held.active)
            missing = 0 if starting else 1
        began = time.monotonic()
        for _ in range(missing):
            await self._start(pool, held, began)
            if held.backoff_seconds(time.monotonic()) > 0:
                return held.backoff_seconds(time.monotonic())
        return None

    async def _start(self, pool: PoolObject, held: _Held, began: float) -> None:
        replica = f"local-{uuid.uuid4()}"
        try:
            process, path = await self._launch(pool, replica)
        except OSError as error:
            _failed(held, began, f"the worker's command cannot be started: {error}", tell=True)
            return
        one = LocalReplica(id=replica, pool=pool, process=process, log=path, created_at=time.time())
        held.replicas[replica] = one
        self.history.append(one)
        watcher = asyncio.create_task(self._watch(held, one, began), name=f"replica {replica}")
        self._watchers.add(watcher)
        watcher.add_done_callback(self._watchers.discard)

    def _end(self, one: LocalReplica, cause: Cause) -> None:
        """Tell it to end; after its grace it is made to."""
        one.cause = cause
        if one.process.returncode is None:
            one.process.terminate()
            asyncio.get_running_loop().call_later(self._grace_seconds + KILL_MARGIN_SECONDS, kill, one.process)

    # --- what processes do ----------------------------------------------------------------------------------------

    async def _watch(self, held: _Held, one: LocalReplica, began: float) -> None:
        status = await one.process.wait()
        one.ended_at = time.time()
        kill_group(one.process)  # what it started must not go on without it
        held.replicas.pop(one.id, None)
        if one.cause is None:
            one.cause = Cause.BY_ITSELF
            self._fell(held, one, began, status)
        if not self._closing:
            await self._ended(one.pool, one.id)
        self.wake(one.pool.key)

    @staticmethod
    def _fell(held: _Held, one: LocalReplica, began: float, status: int) -> None:
        words = last_line(one.log) if status > 0 else ""  # a signal leaves no last words
        if status == -signal.SIGKILL:  # not ours: the kernel's, most likely, for want of memory
            held.out_of_memory_at = time.time()
        log.warning("pool=%s replica=%s ended by itself (%s) %s", one.pool.key, one.id, ending(status), words)
        sentence = ""
        if one.ready_at is None:
            sentence = f"replicas end while they start ({ending(status)}): {words or 'without a word'} (log: {one.log})"
        _failed(held, began, sentence, tell=status == WRONG_USAGE)

    async def run(self) -> None:
        """Notice replicas that have become ready; until cancelled."""
        while True:
            await asyncio.sleep(READY_POLL_SECONDS)
            for held in tuple(self._pools.values()):
                starting = {one.id: one for one in held.active if one.ready_at is None}
                if not starting:
                    continue
                for replica in await self._ready(next(iter(starting.values())).pool, tuple(starting)):
                    one = starting[replica]
                    one.ready_at = time.time()
                    held.failures, held.problem = 0, None
                    self.wake(one.pool.key)

    @property
    def alive(self) -> list[LocalReplica]:
        """Processes that have not ended."""
        return [one for held in self._pools.values() for one in held.replicas.values()]

    def problem(self, pool: PoolObject) -> tuple[int, Problem | None]:
        """Starts that failed in a row, and why."""
        held = self._pools.get(pool.uid)
        return (held.failures, held.problem) if held else (0, None)

    # --- the end --------------------------------------------------------------------------------------------------

    def ask_to_end(self) -> None:
        """SIGTERM for all: each finishes what it can within its grace and hands the rest back."""
        self._closing = True
        for one in self.alive:
            if one.cause is None:
                self._end(one, Cause.SHUTDOWN)

    async def ended(self, seconds: float) -> bool:
        """Whether all have ended within this time."""
        watchers = tuple(self._watchers)
        if watchers:
            await asyncio.wait(watchers, timeout=seconds)
        return not self.alive

    async def kill_all(self) -> list[LocalReplica]:
        """SIGKILL for all that is left; returns them. What they held is still theirs in Redis."""
        self._closing = True
        left = self.alive
        for one in left:
            one.cause = one.cause or Cause.SHUTDOWN
            kill(one.process)
        await self.ended(10.0)
        return left


def _failed(held: _Held, began: float, sentence: str, *, tell: bool) -> None:
    """Replicas started at the same time that end for the same reason count once."""
    now = time.monotonic()
    if began >= held.failed_at:
        held.failures += 1
        held.failed_at = now
    if sentence and (tell or held.failures >= FAILURES_TOLD):
        held.problem = Problem(reason=ConditionReason.STARTS_FAILING, message=sentence)
