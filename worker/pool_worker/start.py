"""From settings to a running replica."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable
from queue import Empty
from typing import TypeVar

from redis import Redis

from pool_worker import control, health, logs
from pool_worker.connection import REDIS_TROUBLE, connect, is_refusal, pause_seconds, sentence
from pool_worker.errors import WorkerError
from pool_worker.events import Event, Inbox
from pool_worker.lifecycle import Lifecycle, is_orphan
from pool_worker.replica import Replica
from pool_worker.settings import Settings, environment_name, unknown

log = logging.getLogger(__name__)
T = TypeVar("T")


def run(settings: Settings, inbox: Inbox) -> int:
    """Until something ends it; returns the exit status."""
    logs.configure(form=settings.log_format, level=settings.log_level)
    _say(settings)
    replica = Replica(settings, inbox)
    port = health.serve(
        settings.health_port,
        health.Checks(alive=replica.alive, ready=replica.ready, health=replica.health, metrics=replica.exposition),
    )
    log.info("health and metrics on port %d", port)
    redis = connect(settings, Redis)
    if not _until_redis(lambda: _introduce(replica, redis), replica, inbox):
        return 0
    replica.report_from_now_on()
    if settings.model is None:
        replica.begin()
    else:
        os.environ[environment_name("slots")] = str(replica.target_slots)  # the model is loaded for so many at once
        threading.Thread(target=_load, args=(replica, inbox), name="model", daemon=True).start()
    return Lifecycle(replica, inbox).run()


def _introduce(replica: Replica, redis: Redis) -> bool:
    replica.observe(control.read(redis, replica.settings))
    replica.register(redis)
    return True


def _until_redis(call: Callable[[], T], replica: Replica, inbox: Inbox) -> T | None:
    """Until Redis answers; None: a signal came first.

    Raises:
        WorkerError: it answers, and refuses us; a restart reads the credentials anew.
    """
    attempt = 0
    while True:
        try:
            answer = call()
        except REDIS_TROUBLE as error:
            if is_refusal(error):
                raise WorkerError(sentence(error, replica.link.where)) from None
            replica.link.down(error)
        else:
            replica.link.up()
            return answer
        try:
            event, text = inbox.get(timeout=pause_seconds(attempt))
        except Empty:
            attempt += 1
            if not is_orphan(replica.settings):
                continue
            event, text = Event.SIGNAL, "the parent process has ended"
        if event is Event.SIGNAL:
            log.info("%s: ending, nothing had begun", text)
            return None


def _load(replica: Replica, inbox: Inbox) -> None:
    """In a thread of its own: the main thread stays free for signals."""
    from pool_worker.transcribe import model

    try:
        loaded = model.load(model.ModelSettings.from_environment())
    except model.ModelError as error:
        inbox.put((Event.FAILED, str(error)))
        return
    log.info(
        "model %s is loaded on %s with %s for %d jobs at once",
        loaded.name,
        loaded.device,
        loaded.compute_type,
        loaded.jobs_at_once,
    )
    replica.begin()


def _say(settings: Settings) -> None:
    shown = {field: value for field, value in settings if field not in {"redis_url", "redis_password"}}
    log.debug("settings: %s", shown)
    log.info(
        "replica=%s listens on %s, %d slots, serializer %s, allows %s",
        settings.replica,
        ",".join(settings.queues),
        settings.slots,
        settings.serializer,
        ",".join(settings.allow),
    )
    for mistake in unknown(os.environ):
        log.warning("%s", mistake)
    if settings.serializer == "pickle":
        log.warning(
            "--serializer pickle: whoever can write to this Redis can run any code in this worker, "
            "whatever --allow says; use json where you can"
        )
    if "*" in settings.allow:
        log.warning("--allow *: whoever can write to this Redis can call any function of this worker's Python")
