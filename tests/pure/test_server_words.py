"""What a server says of an error is shown without the password that it quotes."""

from __future__ import annotations

import pytest
from redis.exceptions import ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

from pool_client.trouble import trouble
from pool_contract.server_words import server_words
from pool_operator.observe.problems import classify
from pool_worker.connection import sentence

WHERE = "redis:6379/0"
QUOTED = [
    "unknown command 'HELLO', with args beginning with: '3' 'AUTH' 'default' 'hush-hush' ",
    "unknown command `HELLO`, with args beginning with: `3`, `AUTH`, `default`, `hush-hush`, ",
]


@pytest.mark.parametrize("said", QUOTED)
def test_no_password_reaches_a_status_a_log_or_a_terminal(said):
    error = ResponseError(said)
    for text in (classify(error, WHERE).message, sentence(error, WHERE), trouble(None, error)):
        assert "HELLO" in text
        assert "hush" not in text
    assert "Redis 6 or newer" in classify(error, WHERE).message


def test_an_error_without_words_has_none():
    assert server_words(RedisTimeoutError()) == ""
    assert "does not answer in time" in classify(RedisTimeoutError(), WHERE).message
