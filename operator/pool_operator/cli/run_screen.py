"""The screen of a run: a live view on a terminal, plain lines elsewhere."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any, Final, TypeVar

from redis.exceptions import RedisError
from rich.console import Console
from rich.live import Live

from pool_contract.messages import PoolSettings
from pool_operator.app.local_pool import LocalPool
from pool_operator.app.local_report import Lifetime
from pool_operator.app.picture import PoolPicture, look
from pool_operator.backends.local.replica import Cause
from pool_operator.cli.run_view import PlainLines, RunView, farewell, render
from pool_operator.engine.spec import pool_spec
from pool_operator.engine.types import PoolSpec
from pool_operator.names import Mode, Profile, Reason
from pool_operator.runtime.spending import Purse, counted_on, purses
from pool_operator.telemetry.logs import TextFormatter

T = TypeVar("T")
FRAME_SECONDS: Final = 0.25
LOOK_SECONDS: Final = 2.0


class Screen:
    """A live view on a terminal, plain lines elsewhere."""

    def __init__(self, it: LocalPool, *, plain: bool, on_gone: Callable[[], None] = lambda: None) -> None:
        self._gone = False
        self._on_gone = on_gone
        self.ending = False
        self.farewell = ""
        self._it = it
        self._settings = settings_of(it)
        self._lines = PlainLines() if plain else None
        self._console = Console()
        self._live = None if plain else Live(console=self._console, auto_refresh=False, transient=False)
        self._handler = _Lines(self.say)
        logging.getLogger().addHandler(self._handler)
        if self._live is not None:
            self._live.start()

    def say(self, line: str) -> None:
        if self._gone:
            return
        try:
            if self._lines is not None:
                print(line, flush=True)
            else:
                self._console.print(line, markup=False, highlight=False)
        except OSError:  # the reader has ended (`| head`): so do we, and in order
            self._gone = True
            self._on_gone()

    def introduce(self) -> None:
        it = self._it
        kind = "embedded Valkey" if it.server else "Redis"
        self.say(
            f"pool {it.pool.key}: {kind} at {it.endpoint.host}:{it.endpoint.port}, state and logs in {it.state.path}"
        )
        if it.template.ignored:
            self.say(f"not used on one machine: {', '.join(it.template.ignored)}")

    async def during(self, work: Coroutine[Any, Any, T]) -> T:
        """Show frames while the work goes on; its result, or what it raises."""
        task = asyncio.create_task(work)
        try:
            while not task.done():
                await self._frame()
                await asyncio.wait({task}, timeout=FRAME_SECONDS)
            await self._frame()
        finally:
            if not task.done():
                task.cancel()
        return await task

    async def _frame(self) -> None:
        it = self._it
        with suppress(RedisError, OSError, TimeoutError):
            async with asyncio.timeout(LOOK_SECONDS):
                pictures = await look(it.redis, it.prefix, {it.pool.uid: self._settings})
            view = run_view(it, pictures[0], ending=self.ending)
            self.farewell = farewell(view)
            if self._live is not None:
                self._live.update(render(view), refresh=True)
            elif self._lines is not None:
                for line in self._lines.of(view):
                    self.say(line)

    def close(self) -> None:
        logging.getLogger().removeHandler(self._handler)
        if self._live is not None:
            self._live.stop()
            self._live = None


class _Lines(logging.Handler):
    """Log records of warnings and worse as lines of the screen."""

    def __init__(self, say: Callable[[str], None]) -> None:
        super().__init__(logging.WARNING)
        self.setFormatter(TextFormatter())
        self._say = say

    def emit(self, record: logging.LogRecord) -> None:
        self._say(self.format(record))


def run_view(it: LocalPool, picture: PoolPicture, *, ending: bool = False) -> RunView:
    """The frame for what is known now."""
    spec, record = it.pool.spec, it.record
    assert spec is not None
    seen = {one.id for one in picture.replicas}
    spent = sum((one.ended_at or time.time()) - one.created_at for one in it.backend.history)
    price = price_per_hour(it)
    return RunView(
        picture=picture,
        wanted=0 if ending else it.backend.view(it.pool).wanted,
        starting=sum(one.id not in seen for one in it.backend.alive),
        max_replicas=spec.max_replicas,
        decision=record.decision.message if record.decision else "",
        reason=_reason(it),
        changes=record.changes,
        problems=tuple(record.problems.values()),
        replica_seconds=spent,
        cost=None if price is None else spent / 3600 * price,
        profile="" if spec.scaling.profile is Profile.BALANCED else str(spec.scaling.profile),
        headroom_slots=record.headroom_slots,
        purses=money_left(it),
        ending=ending,
    )


def _reason(it: LocalPool) -> Reason | None:
    """Of the last decision; of one that is not acted on, that it is not."""
    decision, spec = it.record.decision, it.pool.spec
    if decision is None:
        return None
    return Reason.DRY_RUN if spec is not None and spec.mode is Mode.DRY_RUN else decision.reason


def money_left(it: LocalPool) -> tuple[Purse, ...]:
    """Money of this day and this month, where there is a price."""
    spec, spend = it.pool.spec, it.record.spend
    found = pool_spec(spec, deleted=False) if spec is not None and spend is not None else None
    if spend is None or not isinstance(found, PoolSpec) or found.budget is None:
        return ()
    return purses(found.budget, counted_on(spend, time.time()))


def price_per_hour(it: LocalPool) -> float | None:
    """What one replica costs for an hour, in the pool's currency."""
    spec = it.pool.spec
    return float(spec.budget.price_per_replica_hour) if spec is not None and spec.budget is not None else None


def lifetimes(it: LocalPool) -> list[Lifetime]:
    """All replicas of this run."""
    return [
        Lifetime(id=one.id, created_at=one.created_at, ended_at=one.ended_at, removed=one.cause is Cause.SCALING)
        for one in it.backend.history
    ]


def settings_of(it: LocalPool) -> PoolSettings:
    """What the controller is about to publish for this pool."""
    spec = it.pool.spec
    assert spec is not None
    return PoolSettings(
        namespace=it.pool.key.namespace,
        name=it.pool.key.name,
        queues=tuple(one.name for one in spec.queues),
        job_timeout_seconds=spec.jobs.timeout_seconds,
        max_retries=spec.jobs.max_retries,
        max_losses=spec.jobs.max_losses,
    )
