"""Everything in a database, comparable between two runs a moment apart."""

from __future__ import annotations

import zlib

TIMES = {b"created_at", b"enqueued_at", b"started_at", b"ended_at", b"last_heartbeat", b"total_working_time"}
CLOSE_SECONDS = 60


class Close(float):
    """A time that another run has, too, within a minute."""

    def __eq__(self, other):
        return isinstance(other, Close) and abs(float(self) - float(other)) < CLOSE_SECONDS

    __hash__ = float.__hash__


def dump(redis):
    """Key -> (type, content, time to live), with times made comparable."""
    return {key.decode(): (*_content(redis, key), _ttl(redis, key)) for key in sorted(redis.keys("*"))}


def _ttl(redis, key):
    ttl = redis.ttl(key)
    return None if ttl == -1 else Close(ttl)


def _content(redis, key):
    kind = redis.type(key)
    if kind == b"hash":
        return kind, {name: _field(name, value) for name, value in redis.hgetall(key).items()}
    if kind == b"list":
        return kind, redis.lrange(key, 0, -1)
    if kind == b"set":
        return kind, redis.smembers(key)
    if kind == b"zset":
        return kind, {member: Close(score) for member, score in redis.zrange(key, 0, -1, withscores=True)}
    if kind == b"stream":
        return kind, redis.xlen(key)
    return kind, "a time" if b"first_seen" in key else redis.get(key)


def _field(name, value):
    if name in TIMES:
        return "a time" if value else value
    if name == b"data":
        return zlib.decompress(value)
    return value
