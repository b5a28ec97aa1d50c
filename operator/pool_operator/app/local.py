"""Composition root for one machine: the same controller over processes, with an embedded Valkey where no Redis is named."""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Final

from redis.asyncio import Redis as AsyncRedis
from redis.exceptions import RedisError

from pool_contract.local import LocalEndpoint, read_endpoint, state_folder, write_endpoint
from pool_operator.api.models import ProcessingPoolSpec, Redis, SecretRef
from pool_operator.app.local_claims import CALL_SECONDS
from pool_operator.app.local_pool import LocalError, LocalOptions, LocalPool
from pool_operator.backends.base import Credentials, PoolKey, PoolObject, Problem
from pool_operator.backends.local.environment import base_environment
from pool_operator.backends.local.server import HOST, EmbeddedServer
from pool_operator.backends.local.state import StateFolder
from pool_operator.backends.local.template import WHERE, WorkerTemplate, read_template, with_memory_limit
from pool_operator.names import ConditionReason
from pool_operator.observe.connection import connect, endpoint_key
from pool_operator.observe.problems import classify
from pool_operator.runtime.specs import followed_spec

log = logging.getLogger(__name__)
EMBEDDED_SECRET: Final = "embedded"  # noqa: S105 - a name
ALONE: Final = "spec.overflow (a run has one pool, so this one works alone)"
DEFAULT_COMMAND: Final = ("processingpool", "worker")


@asynccontextmanager
async def local_pool(key: PoolKey, spec: ProcessingPoolSpec, options: LocalOptions) -> AsyncIterator[LocalPool]:
    """Everything but the scaling itself: lock, server, connection. At the end no process of ours is left.

    Raises:
        LocalError, PoolBusyError, ServerError, TemplateError: with one sentence for the user.
    """
    spec, template = _followed(spec)
    state = StateFolder(state_folder(key.namespace, key.name))
    with state.locked(str(key)):
        if leftovers := await state.end_leftovers():
            log.info("an earlier run was killed: %d of its processes are gone now", len(leftovers))
        state.prune_logs()
        server: EmbeddedServer | None = None
        credentials, redis = _own_credentials(spec), spec.redis
        if redis is None:
            server = await _embedded(state)
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
            await it.claims.recover()
            yield it
        finally:
            await it.backend.kill_all()
            await client.aclose()
            if server is not None:
                await server.stop()


def _followed(asked: ProcessingPoolSpec) -> tuple[ProcessingPoolSpec, WorkerTemplate]:
    """The spec and the template as they are followed here, judged before anything is started."""
    alone = asked.overflow is not None
    asked = asked.model_copy(update={"overflow": None})
    spec = with_memory_limit(asked, _ram_bytes())
    template = read_template(spec)
    if alone:
        template = replace(template, ignored=(ALONE, *template.ignored))
    if not template.command:
        template = replace(template, command=DEFAULT_COMMAND)
    path = (base_environment(os.environ, cores=1, replicas=1) | dict(template.environment))["PATH"]
    if shutil.which(template.command[0], path=path) is None:
        raise LocalError(f"{WHERE}.command: there is no command '{template.command[0]}' on this machine")
    if isinstance(problem := followed_spec(spec, deleted=False), Problem):
        raise LocalError(problem.message if asked == spec else _too_many(spec, problem))
    return spec, template


async def _embedded(state: StateFolder) -> EmbeddedServer:
    """On the port of the last run, if it is free: producers need not look for it again."""
    known = read_endpoint(state.path)
    if known is None:
        return await EmbeddedServer.start(state, port=None, password=None)
    return await EmbeddedServer.start(state, port=known.port, password=known.password)


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
        where = f"{redis.host}:{redis.port}/{redis.database}"
        problem = classify(error, where)
        if problem.reason is ConditionReason.AUTHENTICATION_FAILED and "refuses the login" in problem.message:
            # there are no Secrets here
            raise LocalError(
                f"Redis at {where} refuses the login: write a spec.redis.credentialsSecretRef, and set "
                "PROCESSINGPOOL_REDIS_PASSWORD (and PROCESSINGPOOL_REDIS_USERNAME) in the environment"
            ) from error
        raise LocalError(problem.message) from error


def _too_many(spec: ProcessingPoolSpec, problem: Problem) -> str:
    """The limit is ours, so the sentence must say where it comes from."""
    return (
        f"spec.maxReplicas {spec.max_replicas}: an equal share of this machine's memory is not enough for one job "
        f"({problem.message}): lower spec.maxReplicas, or set the container's resources.limits.memory"
    )


def _ram_bytes() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
