"""Composition root for one machine: the same controller over processes, with an embedded Valkey where no Redis is named.

Only this module knows when our processes are surely dead; then what they held is handed back at once instead of at
the end of its lease.
"""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
import time
import uuid
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from redis.asyncio import Redis as AsyncRedis
from redis.exceptions import RedisError

from pool_contract import keys, scripts
from pool_contract.local import LocalEndpoint, read_endpoint, state_folder, write_endpoint
from pool_contract.messages import ReplicaPhase, ReplicaReport
from pool_contract.scripts import AsyncScripts
from pool_operator.api.models import ProcessingPoolSpec, Redis, SecretRef
from pool_operator.app.local_record import Record
from pool_operator.backends.base import Credentials, PoolKey, PoolObject, Problem
from pool_operator.backends.local.backend import LocalBackend
from pool_operator.backends.local.environment import base_environment, worker_environment
from pool_operator.backends.local.process import start
from pool_operator.backends.local.secrets import LocalSecrets
from pool_operator.backends.local.server import HOST, EmbeddedServer
from pool_operator.backends.local.state import StateFolder
from pool_operator.backends.local.template import WHERE, WorkerTemplate, read_template, with_memory_limit
from pool_operator.observe.connection import connect, endpoint_key
from pool_operator.observe.problems import classify
from pool_operator.runtime.clock import SystemClock
from pool_operator.runtime.controller import Controller
from pool_operator.runtime.specs import pool_spec
from pool_operator.settings import OperatorSettings
from pool_operator.telemetry.metrics import Metrics

log = logging.getLogger(__name__)
EMBEDDED_SECRET: Final = "embedded"  # noqa: S105 - a name
CALL_SECONDS: Final = 5.0
MARGIN_SECONDS: Final = 5.0
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
    started_at: float = field(default_factory=time.time)
    _environment: dict[str, str] = field(init=False)

    def __post_init__(self) -> None:
        assert self.pool.spec is not None
        self.backend = LocalBackend(
            launch=self._launch, ready=self._ready, ended=self._ended, grace_seconds=self.options.grace_seconds
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
        controller = Controller(
            backend=self.backend,
            reporter=self.record,
            secrets=LocalSecrets(self.credentials),
            epoch=_constant(self.state.next_epoch()),
            settings=SETTINGS,
            clock=SystemClock(),
            metrics=Metrics(),
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
            part.result()

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
                async with asyncio.timeout(0.1):
                    await stop.wait()
            except TimeoutError:
                continue

    async def _server_dies(self, server: EmbeddedServer) -> None:
        status = await server.wait()
        raise LocalError(
            f"the embedded Valkey ended (status {status}); its data is kept, run the pool again "
            f"(log: {self.state.logs / 'valkey.log'})"
        )

    async def end(self, hurry: asyncio.Event) -> int:
        """End all processes; running jobs are finished within the grace or handed back. Returns how many were handed back."""
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
        return await self._hand_back([one.id for one in self.backend.history])

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

    async def _ready(self, _pool: PoolObject, replicas: Collection[str]) -> Collection[str]:
        try:
            async with asyncio.timeout(CALL_SECONDS):
                texts = await self.redis.mget([keys.report(self.prefix, one) for one in replicas])
            reports = [ReplicaReport.model_validate_json(text) for text in texts if text]
        except (RedisError, OSError, TimeoutError, ValueError) as error:
            log.debug("reports cannot be read: %s", error)
            return ()
        return [one.replica for one in reports if one.phase is ReplicaPhase.READY]

    async def _ended(self, pool: PoolObject, replica: str) -> None:
        """Its process is dead: what it still held goes back at once, as a loss."""
        self.state.forget(replica)
        assert pool.spec is not None
        call = scripts.register(
            self.prefix,
            pool=pool.uid,
            replica=replica,
            incarnation=uuid.uuid4().hex,
            max_losses=pool.spec.jobs.max_losses,
        )
        try:
            async with asyncio.timeout(CALL_SECONDS):
                for back in await AsyncScripts(self.redis).run(call):
                    log.warning("job=%s taken back from replica=%s, loss %d", back.job_id, back.replica, back.losses)
                await self._forget(replica)
        except (RedisError, OSError, TimeoutError) as error:
            log.warning("replica=%s its jobs go back when their leases end: %s", replica, error)

    async def recover(self) -> int:
        """Hand back what replicas of an earlier run held that was killed; none of their processes lives any more."""
        members: Any = await self.redis.zrange(keys.replicas(self.prefix, self.pool.uid), 0, -1)
        return await self._hand_back([one.decode() for one in members])

    async def _hand_back(self, replicas: Collection[str]) -> int:
        """Release what these dead replicas hold: it was our doing and not the jobs' fault, so it is no loss."""
        released = 0
        try:
            async with asyncio.timeout(CALL_SECONDS + len(replicas) / 10):
                for replica in replicas:
                    for job in await self._members(keys.claims(self.prefix, replica)):
                        released += await self._release(replica, job)
                    await self._forget(replica)
        except (RedisError, OSError, TimeoutError) as error:
            log.warning("jobs of ended replicas go back when their leases end: %s", error)
        for replica in replicas:
            self.state.forget(replica)
        return released

    async def _members(self, key: str) -> list[str]:
        found: Any = await self.redis.smembers(key)
        return sorted(one.decode() for one in found)

    async def _release(self, replica: str, job: str) -> bool:
        owner: Any = await self.redis.hgetall(keys.owner(self.prefix, job))
        if owner.get(b"replica", b"").decode() != replica:
            return False
        call = scripts.release(
            self.prefix, queue=owner[b"queue"].decode(), job_id=job, execution_id=owner[b"execution"].decode()
        )
        return await AsyncScripts(self.redis).run(call)

    async def _forget(self, replica: str) -> None:
        pipeline = self.redis.pipeline(transaction=True)
        pipeline.zrem(keys.replicas(self.prefix, self.pool.uid), replica)
        pipeline.delete(
            keys.report(self.prefix, replica),
            keys.drain(self.prefix, replica),
            keys.incarnation(self.prefix, replica),
            keys.reserved(self.prefix, replica),
        )
        await pipeline.execute()


@asynccontextmanager
async def local_pool(key: PoolKey, spec: ProcessingPoolSpec, options: LocalOptions) -> AsyncIterator[LocalPool]:
    """Everything but the scaling itself: lock, server, connection. At the end no process of ours is left.

    Raises:
        LocalError, PoolBusyError, ServerError, TemplateError: with one sentence for the user.
    """
    asked, spec = spec, with_memory_limit(spec, _ram_bytes())
    template = read_template(spec)
    if not template.command:
        template = WorkerTemplate(
            command=("processingpool", "worker"),
            environment=template.environment,
            folder=template.folder,
            ignored=template.ignored,
        )
    path = base_environment(os.environ, cores=1, replicas=1) | dict(template.environment)
    if shutil.which(template.command[0], path=path["PATH"]) is None:
        raise LocalError(f"{WHERE}.command: there is no command '{template.command[0]}' on this machine")
    if isinstance(problem := pool_spec(spec, deleted=False), Problem):
        raise LocalError(problem.message if asked == spec else _too_many(spec, problem))
    state = StateFolder(state_folder(key.namespace, key.name))
    with state.locked(str(key)):
        if leftovers := await state.end_leftovers():
            log.info("an earlier run was killed: %d of its processes are gone now", len(leftovers))
        server: EmbeddedServer | None = None
        credentials = _own_credentials(spec)
        redis = spec.redis
        if redis is None:
            known = read_endpoint(state.path)
            server = await EmbeddedServer.start(
                state, port=known.port if known else None, password=known.password if known else None
            )
            credentials = Credentials(password=server.password)
            redis = Redis(host=HOST, port=server.port, credentials_secret_ref=SecretRef(name=EMBEDDED_SECRET))
        client = connect(endpoint_key(redis, credentials), credentials)
        pool = PoolObject(
            key=key,
            uid=state.uid(),
            generation=1,
            created_at=time.time(),
            spec=spec.model_copy(update={"redis": redis}),
        )
        it = LocalPool(
            pool=pool,
            endpoint=_published(pool, redis, server),
            template=template,
            options=options,
            state=state,
            credentials=credentials,
            redis=client,
            server=server,
        )
        try:
            await _reachable(client, redis)
            write_endpoint(state.path, it.endpoint)
            await it.recover()
            yield it
        finally:
            await it.backend.kill_all()
            await client.aclose()
            if server is not None:
                await server.stop()


def _own_credentials(spec: ProcessingPoolSpec) -> Credentials:
    """There are no Secrets on one machine: the environment takes their place."""
    reference = spec.redis.credentials_secret_ref if spec.redis else None
    if reference is None:
        return Credentials()
    username, password = (
        os.environ.get("PROCESSINGPOOL_REDIS_USERNAME"),
        os.environ.get("PROCESSINGPOOL_REDIS_PASSWORD"),
    )
    ca_file = os.environ.get("PROCESSINGPOOL_REDIS_CA_FILE")
    if not any((username, password, ca_file)):
        raise LocalError(
            f"spec.redis.credentialsSecretRef names the Secret '{reference.name}', and this machine has no Secrets: set "
            "PROCESSINGPOOL_REDIS_PASSWORD (and PROCESSINGPOOL_REDIS_USERNAME, _CA_FILE) in the environment instead"
        )
    try:
        ca_pem = Path(ca_file).read_text(encoding="utf-8") if ca_file else None
    except OSError as error:
        raise LocalError(f"PROCESSINGPOOL_REDIS_CA_FILE '{ca_file}' cannot be read: {error.strerror}") from error
    return Credentials(username=username, password=password, ca_pem=ca_pem)


def _published(pool: PoolObject, redis: Redis, server: EmbeddedServer | None) -> LocalEndpoint:
    return LocalEndpoint(
        namespace=pool.key.namespace,
        name=pool.key.name,
        pool=pool.uid,
        host=redis.host,
        port=redis.port,
        database=redis.database,
        prefix=redis.key_prefix,
        password=server.password if server else None,  # a password of the user's own Redis is not ours to keep
    )


async def _reachable(client: AsyncRedis, redis: Redis) -> None:
    try:
        async with asyncio.timeout(CALL_SECONDS):
            await client.ping()
    except (RedisError, OSError, TimeoutError) as error:
        raise LocalError(classify(error, f"{redis.host}:{redis.port}/{redis.database}").message) from error


def _too_many(spec: ProcessingPoolSpec, problem: Problem) -> str:
    """The limit is ours, so the sentence must say where it comes from."""
    return (
        f"spec.maxReplicas {spec.max_replicas}: an equal share of this machine's memory is not enough for one job "
        f"({problem.message}): lower spec.maxReplicas, or set the container's resources.limits.memory"
    )


def _constant(epoch: int) -> Any:
    return lambda _pool_uid: epoch


def _ram_bytes() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
