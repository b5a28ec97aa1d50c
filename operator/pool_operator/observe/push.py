"""Keyspace events of one endpoint: an event only says "look again".

Whether the server sends any is found out by a probe key of our own; nobody here ever changes a user's Redis
configuration. Events are lossy by nature: the poll behind them covers what is missed.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Callable, Iterable
from typing import Any, Final, Protocol

from redis.asyncio import Redis as AsyncRedis
from redis.exceptions import ResponseError

from pool_contract.server_words import server_words
from pool_operator.observe.connection import CALL_TIMEOUT_SECONDS, Place

log = logging.getLogger(__name__)
PROBE_WAIT_SECONDS: Final = 1.0
PROBE_TTL_SECONDS: Final = 10
TEST_AGAIN_SECONDS: Final = 60.0
PUSHED: Final = frozenset({b"rpush", b"lpush"})


class Sleeper(Protocol):
    async def sleep(self, seconds: float) -> None: ...


class Push:
    """One subscription.

    Args:
        poke: called for each event that may matter.
        watched: names of the queues that matter now.
    """

    def __init__(
        self, client: AsyncRedis, place: Place, *, poke: Callable[[], None], watched: Callable[[], Iterable[str]]
    ) -> None:
        self.works = False
        self._client = client
        self._poke = poke
        self._watched = watched
        self._queue_head = f"__keyspace@{place.database}__:{place.prefix}:queue:".encode()
        self._wip_head = f"__keyspace@{place.database}__:{place.prefix}:wip:".encode()
        self._probe = f"{place.prefix}:pp:probe:{secrets.token_hex(8)}"
        self._probe_channel = f"__keyspace@{place.database}__:{self._probe}".encode()
        self._heard = asyncio.Event()
        self._pubsub = client.pubsub()

    async def subscribe(self) -> bool:
        """True once the server has confirmed all three patterns; False where it refuses, or does not know, the command."""
        patterns = (self._queue_head + b"*", self._wip_head + b"*", self._probe_channel)
        try:
            async with asyncio.timeout(CALL_TIMEOUT_SECONDS):
                await self._pubsub.psubscribe(*patterns)
                confirmed = 0
                while confirmed < len(patterns):
                    message = await self._pubsub.get_message(timeout=CALL_TIMEOUT_SECONDS)
                    confirmed += message is not None and message["type"] == "psubscribe"
        except ResponseError as error:
            log.info("keyspace events are refused here, polling instead: %s", server_words(error))
            return False
        return True

    async def listen(self) -> None:
        while True:
            # a silent death of this connection is noticed by the reader's timeout, which ends the session
            message = await self._pubsub.get_message(timeout=CALL_TIMEOUT_SECONDS)
            if message is not None and message["type"] == "pmessage":
                self._event(message)

    def _event(self, message: dict[str, Any]) -> None:
        channel, event = message["channel"], message["data"]
        if channel == self._probe_channel:
            self._heard.set()
        elif channel.startswith(self._queue_head):
            name = channel[len(self._queue_head) :].decode(errors="replace")
            if event in PUSHED and name in self._watched():  # the pattern matches `:intermediate` too
                self.works = True
                self._poke()
        elif (
            channel.startswith(self._wip_head)
            and channel[len(self._wip_head) :].decode(errors="replace") in self._watched()
        ):
            self._poke()

    async def test_forever(self, clock: Sleeper) -> None:
        """Find out whether push works, now and, while it does not, every minute: somebody may switch it on."""
        while True:
            if not self.works:
                try:
                    self.works = await self._test()
                except ResponseError as error:  # no right to write, or a read-only replica
                    log.debug("the push test is refused, polling: %s", server_words(error))
            await clock.sleep(TEST_AGAIN_SECONDS)

    async def _test(self) -> bool:
        self._heard.clear()
        pipeline = self._client.pipeline(transaction=True)
        pipeline.rpush(self._probe, "probe")  # a list, as queues are: the server's flags tell kinds of keys apart
        pipeline.expire(self._probe, PROBE_TTL_SECONDS)
        async with asyncio.timeout(CALL_TIMEOUT_SECONDS):
            await pipeline.execute()
        try:
            async with asyncio.timeout(PROBE_WAIT_SECONDS):
                await self._heard.wait()
        except TimeoutError:
            return False  # the probe key goes by its TTL
        return True

    async def close(self) -> None:
        await self._pubsub.aclose()  # type: ignore[no-untyped-call]
