"""One subscription per replica: pushes to our queues ring the bell, RQ's commands reach their slot.

Events are lossy by nature, and many servers send none: the poller behind this thread covers what is missed.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable
from typing import Any, Final

from redis.client import PubSub
from redis.exceptions import NoPermissionError

from pool_contract import keys
from pool_worker.bell import Bell
from pool_worker.connection import REDIS_TROUBLE, Link, connect_to_listen, pause_seconds
from pool_worker.settings import Settings
from pool_worker.slot_worker import SlotWorker

log = logging.getLogger(__name__)
SPREAD_SECONDS: Final = 0.004
TICK_SECONDS: Final = 1.0  # how soon a new slot hears commands
PUSHED: Final = frozenset({b"rpush", b"lpush"})


class Listener(threading.Thread):
    def __init__(self, settings: Settings, link: Link, bell: Bell, workers: Callable[[], list[SlotWorker]]) -> None:
        super().__init__(name="listener", daemon=True)
        self._settings = settings
        self._link = link
        self._bell = bell
        self._workers = workers
        self._client = connect_to_listen(settings)
        database = self._client.connection_pool.connection_kwargs.get("db", 0)
        self._events = {
            f"__keyspace@{database}__:{keys.queue(settings.key_prefix, queue)}".encode() for queue in settings.queues
        }
        self._allowed = settings.push

    def run(self) -> None:
        attempt = 0
        while True:
            subscription = self._client.pubsub()  # type: ignore[no-untyped-call]
            try:
                self._listen(subscription)
            except NoPermissionError as error:
                if not self._allowed:
                    log.info("RQ's commands do not reach this worker, its Redis user may not subscribe: %s", error)
                    return
                log.info("keyspace events are forbidden here, polling instead: %s", error)
                self._allowed = False
            except REDIS_TROUBLE as error:
                self._link.down(error)
                time.sleep(pause_seconds(attempt))
                attempt += 1
            else:
                attempt = 0
            finally:
                _close(subscription)

    def _listen(self, subscription: PubSub) -> None:
        heard: dict[bytes, SlotWorker] = {}
        if self._allowed:
            subscription.subscribe(*self._events)
        self._bell.ring(SPREAD_SECONDS)  # what came while we were deaf
        while True:
            for worker in self._workers():
                channel = worker.pubsub_channel_name.encode()
                if heard.get(channel) is not worker:
                    subscription.subscribe(channel)
                    heard[channel] = worker
            if not subscription.subscribed:
                time.sleep(TICK_SECONDS)
                continue
            message = subscription.get_message(ignore_subscribe_messages=True, timeout=TICK_SECONDS)
            if message is not None:
                self._hear(message, heard)

    def _hear(self, message: dict[str, Any], heard: dict[bytes, SlotWorker]) -> None:
        if message["channel"] in self._events:
            if message["data"] in PUSHED:
                self._bell.ring(SPREAD_SECONDS)
            return
        worker = heard.get(message["channel"])
        if worker is not None:
            try:
                worker.handle_payload(message)  # type: ignore[no-untyped-call]
            except Exception as error:  # noqa: BLE001 - anybody may publish anything
                log.warning("a command on %s was not understood: %r", message["channel"], error)


def _close(subscription: PubSub) -> None:
    with contextlib.suppress(*REDIS_TROUBLE):
        subscription.close()
