"""May this job run here? Decided on its bytes alone, before anything it names is imported. Pure.

A refused job goes to the failed registry with the sentence from here; what it carries is kept as it was.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

LARGEST_PAYLOAD_BYTES: Final = 64 * 1024 * 1024
"""Unpacked; a zlib bomb in Redis must not take the worker's memory."""
CALLBACKS: Final = ("success_callback_name", "failure_callback_name", "stopped_callback_name")
PICKLE_START: Final = 0x80  # every pickle of protocol 2 or later begins with it
START_WITH_PICKLE: Final = "start the worker with --serializer pickle (PROCESSINGPOOL_SERIALIZER=pickle)"
Serializer = Literal["json", "pickle"]


class RefusedError(Exception):
    """One sentence that names the setting and the fix."""


@dataclass(frozen=True, slots=True)
class AllowList:
    """Patterns `package.module:function`, `package.module:*` (one public name of that module) and `*` (everything)."""

    patterns: tuple[str, ...]

    def allows(self, name: str) -> bool:
        """Whether RQ's dotted name of a function may be imported and called."""
        return any(_matches(pattern, name) for pattern in self.patterns)

    def by_wildcard(self, name: str) -> str | None:
        """The module whose own functions may run, if only `module:*` lets this one in."""
        if any(pattern == "*" or (_matches(pattern, name) and not pattern.endswith(":*")) for pattern in self.patterns):
            return None
        return name.rpartition(".")[0]


def _matches(pattern: str, name: str) -> bool:
    if pattern == "*":
        return True
    module, _, allowed = pattern.partition(":")
    if allowed != "*":
        return name == f"{module}.{allowed}"
    # exactly one more part: RQ would walk `module.os.system` down to the os module that `module` imports
    head, _, tail = name.rpartition(".")
    return head == module and tail.isidentifier() and not tail.startswith("_")


def unpack(stored: bytes) -> bytes:
    """The job's payload as its producer serialized it."""
    unpacker = zlib.decompressobj()
    try:
        payload = unpacker.decompress(stored, LARGEST_PAYLOAD_BYTES)
    except zlib.error:
        return stored  # RQ reads payloads that are not compressed, too
    if unpacker.unconsumed_tail:
        raise RefusedError(
            f"the job's payload is larger than {LARGEST_PAYLOAD_BYTES >> 20} MiB: put large input into a file and "
            "enqueue its path"
        )
    return payload if unpacker.eof else stored


def admit(raw: Mapping[bytes, bytes], serializer: Serializer, allowed: AllowList) -> None:
    """Check a job hash as it stands in Redis.

    Raises:
        RefusedError: it may not run here.
    """
    stored = raw.get(b"data")
    if stored is None:
        raise RefusedError("the job has no payload (field `data`): RQ did not write it; delete it and enqueue it anew")
    payload = unpack(stored)
    if serializer == "json":
        _admit_function(_read_json(payload), allowed)
    elif payload[:1] != bytes([PICKLE_START]) and _is_json(payload):
        raise RefusedError(
            "the job was written with the json serializer, but this worker reads pickle: start the worker with "
            "--serializer json (PROCESSINGPOOL_SERIALIZER=json)"
        )
    for field in CALLBACKS:
        name = raw.get(field.encode(), b"").decode("utf-8", "replace")
        if name:
            _admit_name(name, allowed, f"the job's {field.removesuffix('_name').replace('_', ' ')}")


def _read_json(payload: bytes) -> Any:
    try:
        return json.loads(payload)
    except (ValueError, RecursionError):
        pass
    if payload[:1] == bytes([PICKLE_START]):
        raise RefusedError(
            "the job was written with RQ's default serializer (pickle), but this worker reads json: enqueue with "
            f"serializer='json', or, where every producer is trusted, {START_WITH_PICKLE}"
        )
    raise RefusedError("the job's payload is not JSON: enqueue with RQ's serializer='json'")


def _is_json(payload: bytes) -> bool:
    try:
        json.loads(payload)
    except (ValueError, RecursionError):
        return False
    return True


def _admit_function(payload: Any, allowed: AllowList) -> None:
    if not isinstance(payload, list) or len(payload) != 4:
        raise RefusedError("the job's payload is not RQ's [function, instance, args, kwargs]: enqueue it with RQ")
    function, instance, positional, named = payload
    if not isinstance(function, str) or not isinstance(positional, list) or not isinstance(named, dict):
        raise RefusedError("the job's payload is not RQ's [function, instance, args, kwargs]: enqueue it with RQ")
    if instance is not None:
        raise RefusedError(f"the job calls '{function[:200]}' on an object from its payload: enqueue a plain function")
    _admit_name(function, allowed, "the job's function")


def _admit_name(name: str, allowed: AllowList, what: str) -> None:
    if not allowed.allows(name):
        raise RefusedError(not_allowed(name, what))


def not_allowed(name: str, what: str) -> str:
    """The sentence for a function that is not on the list."""
    module, _, function = name[:200].rpartition(".")
    return (
        f"{what} '{name[:200]}' is not on this worker's allow-list: start the worker with "
        f"--allow {module or 'package.module'}:{function} (PROCESSINGPOOL_ALLOW)"
    )


def defined_there(function: object, module: str) -> bool:
    """Whether a function that `module:*` lets in is the module's own, not something it merely imports."""
    return getattr(function, "__module__", None) == module
