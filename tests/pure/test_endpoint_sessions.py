"""How soon an endpoint connects again: at once after a session that worked, and never in a hot loop."""

from __future__ import annotations

import asyncio

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError

from pool_operator.backends.base import Credentials
from pool_operator.observe.connection import EndpointKey, Place
from pool_operator.observe.endpoint import Endpoint

KEY = EndpointKey(place=Place(host="redis", port=6379, database=0, prefix="rq"))


class Clock:
    """Notes each pause, and ends the test at the third."""

    def __init__(self):
        self.now = 0.0
        self.pauses = []

    def unix(self):
        return self.now

    def monotonic(self):
        return self.now

    async def sleep(self, seconds):
        self.pauses.append(seconds)
        if len(self.pauses) == 3:
            raise asyncio.CancelledError


@pytest.mark.parametrize(("lasted", "at_once"), [(30.0, True), (0.01, False)])
def test_a_server_that_answers_and_then_hangs_up_at_once_is_not_called_in_a_hot_loop(monkeypatch, lasted, at_once):
    clock = Clock()
    endpoint = Endpoint(KEY, Credentials(), poll_seconds=5.0, stale_seconds=30.0, clock=clock, changed=lambda *_: None)

    async def session():
        clock.now += lasted
        endpoint._seen, endpoint._strikes = object(), 0  # a good reading
        raise RedisConnectionError("Connection closed by server.")

    monkeypatch.setattr(endpoint, "_session", session)
    with pytest.raises(asyncio.CancelledError):
        asyncio.run(endpoint.run())
    assert all((pause == 0.0) is at_once for pause in clock.pauses), clock.pauses
