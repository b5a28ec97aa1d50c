"""One pool on this machine: the controller over processes, from the first decision to the last process' end."""

from __future__ import annotations

import asyncio
import os
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from redis.asyncio import Redis as AsyncRedis

from pool_contract.local import LocalEndpoint
from pool_contract.scripts import StaleEpochError
from pool_operator.app.local_claims import LocalClaims
from pool_operator.app.local_record import Record
from pool_operator.backends.base import Credentials, PoolObject
from pool_operator.backends.local.backend import LocalBackend
from pool_operator.backends.local.environment import base_environment, worker_environment
from pool_operator.backends.local.process import start
from pool_operator.backends.local.secrets import LocalSecrets
from pool_operator.backends.local.server import EmbeddedServer
from pool_operator.backends.local.state import StateFolder
from pool_operator.backends.local.template import WorkerTemplate
from pool_operator.runtime.clock import SystemClock
from pool_operator.runtime.controller import Controller
from pool_operator.runtime.file_recorder import FileRecorder
from pool_operator.settings import OperatorSettings
from pool_operator.telemetry.metrics import Metrics

MARGIN_SECONDS: Final = 5.0
LOOK_SECONDS: Final = 0.1
GIVE_UP_FAILURES: Final = 4
SETTINGS: Final = OperatorSettings(
    poll_seconds=1.0, housekeeping_seconds=1.0, resync_seconds=5.0, workers=1, leader_election=False
)


class LocalError(Exception):
    """The pool cannot run, or not go on, on this machine; the text is the sentence for the user."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalOptions:
    """What the caller of a run chooses."""

    output: Path | None = None  # None: the template's PROCESSINGPOOL_OUTPUT, else ./output
    run_log: bool = False
    grace_seconds: float = 10.0  # what running jobs get when the run is stopped, before they are handed back


@dataclass(slots=True, kw_only=True)
class LocalPool:
    """One pool on this machine, from its server's start to the end of its last process."""

    pool: PoolObject
    endpoint: LocalEndpoint
    template: WorkerTemplate
    options: LocalOptions
    state: StateFolder
    credentials: Credentials
    redis: AsyncRedis
    server: EmbeddedServer | None
    record: Record = field(default_factory=Record)
    backend: LocalBackend = field(init=False)
    claims: LocalClaims = field(init=False)
    started_at: float = field(default_factory=time.time)
    _environment: dict[str, str] = field(init=False)

    def __post_init__(self) -> None:
        assert self.pool.spec is not None
        self.claims = LocalClaims(self.redis, self.prefix, self.pool.uid, self.state)
        self.backend = LocalBackend(
            launch=self._launch,
            ready=self.claims.ready,
            ended=self.claims.ended,
            grace_seconds=self.options.grace_seconds,
        )
        self._environment = base_environment(
            os.environ, cores=os.cpu_count() or 1, replicas=self.pool.spec.max_replicas
        )
        self._environment.setdefault("PROCESSINGPOOL_OUTPUT", str(Path.cwd() / "output"))
        if self.options.run_log:
            self._environment["PROCESSINGPOOL_RUN_LOG"] = "1"

    @property
    def prefix(self) -> str:
        return self.endpoint.prefix

    # --- the run --------------------------------------------------------------------------------------------------

    async def run(self, stop: asyncio.Event, *, until_done: bool = False) -> None:
        """Scale until `stop`, or until all work is done; then nothing acts any more, but processes may still be there.

        Raises:
            LocalError: the embedded server died, or (with `until_done`) replicas do not start.
        """
        epoch = self.state.next_epoch()
        clock = SystemClock()
        controller = Controller(
            backend=self.backend,
            reporter=self.record,
            secrets=LocalSecrets(self.credentials),
            epoch=lambda _pool_uid: epoch,
            settings=SETTINGS,
            clock=clock,
            metrics=Metrics(),
            recorder=FileRecorder(self.state.path, clock=clock),  # so that the next run starts warm
        )
        self.backend.wake = controller.wake
        controller.on_decision.append(self.record.on_decision)
        controller.upsert(self.pool)
        parts = {
            asyncio.create_task(controller.run(), name="controller"),
            asyncio.create_task(self.backend.run(), name="readiness"),
            asyncio.create_task(self._ends(stop, until_done=until_done), name="end"),
        }
        if self.server is not None:
            parts.add(asyncio.create_task(self._server_dies(self.server), name="server"))
        try:
            done, _ = await asyncio.wait(parts, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for part in parts:
                part.cancel()
            await asyncio.gather(*parts, return_exceptions=True)
        for part in done:
            try:
                part.result()
            except StaleEpochError as error:
                raise LocalError(f"another run has taken this pool over: {error}") from error

    async def _ends(self, stop: asyncio.Event, *, until_done: bool) -> None:
        assert self.pool.spec is not None
        while not stop.is_set():
            if until_done:
                if self.record.done(self.pool.spec.min_replicas):
                    return
                failures, problem = self.backend.problem(self.pool)
                if failures >= GIVE_UP_FAILURES and problem is not None:
                    raise LocalError(f"{problem.message}; jobs that wait are kept for the next run")
            try:
                async with asyncio.timeout(LOOK_SECONDS):
                    await stop.wait()
            except TimeoutError:
                continue

    async def _server_dies(self, server: EmbeddedServer) -> None:
        status = await server.wait()
        raise LocalError(
            f"the embedded Valkey ended (status {status}); its data is kept, run the pool again "
            f"(log: {self.state.logs / 'valkey.log'})"
        )

    async def end(self, hurry: asyncio.Event) -> None:
        """End all processes; running jobs are finished within the grace, or handed back (at once with `hurry`)."""
        self.backend.ask_to_end()
        waits = {
            asyncio.create_task(self.backend.ended(self.options.grace_seconds + MARGIN_SECONDS)),
            asyncio.create_task(hurry.wait()),
        }
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
            await asyncio.gather(*waits, return_exceptions=True)
            await self.backend.kill_all()
        await self.claims.hand_back([one.id for one in self.backend.history])

    # --- replicas -------------------------------------------------------------------------------------------------

    async def _launch(self, pool: PoolObject, replica: str) -> tuple[asyncio.subprocess.Process, Path]:
        environment = {
            **self._environment,
            **worker_environment(
                pool,
                self.template,
                replica=replica,
                grace_seconds=self.options.grace_seconds,
                credentials=self.credentials,
            ),
        }
        if self.options.output is not None:
            environment["PROCESSINGPOOL_OUTPUT"] = str(self.options.output.absolute())
        path = self.state.logs / f"{replica}.log"
        process = await start(self.template.command, environment=environment, log=path, folder=self.template.folder)
        self.state.note(replica, process.pid)
        return process, path
