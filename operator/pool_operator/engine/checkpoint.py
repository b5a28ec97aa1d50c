"""The engine's values as JSON and back, equal to the last bit: what the ledger keeps and a new leader goes on with.

Fields that have their default are left out, so that a value of an older version is read with the defaults of today.
FORMAT grows when that would give them another meaning; what has another format is not read.
"""

from __future__ import annotations

import json
from typing import Any, Final, TypeVar, cast

from pydantic import TypeAdapter, ValidationError

from pool_operator.engine.state import Memory

T = TypeVar("T")
FORMAT: Final = 1


class UnreadableError(Exception):
    """This is not, or not any more, how such a value is written."""


_ADAPTERS: Final[dict[type, TypeAdapter[Any]]] = {}


def _adapter(kind: type) -> TypeAdapter[Any]:
    if kind not in _ADAPTERS:  # made when first needed: each costs milliseconds
        _ADAPTERS[kind] = TypeAdapter(kind)
    return _ADAPTERS[kind]


def to_data(kind: type[T], value: T) -> Any:
    """Dicts, lists, numbers and texts; a NamedTuple is a list."""
    return _adapter(kind).dump_python(value, exclude_defaults=True)


def from_data(kind: type[T], data: Any) -> T:
    """Back from what JSON made of `to_data`.

    Raises:
        UnreadableError: the data are of another shape.
    """
    try:
        return cast(T, _adapter(kind).validate_python(data))
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise UnreadableError(f"{kind.__name__} {where}: {first['msg']}") from error


def to_text(data: Any) -> str:
    """JSON as Python writes it: a float is its shortest exact text, infinity is `Infinity`."""
    return json.dumps(data, separators=(",", ":"), ensure_ascii=False)


def memory_text(memory: Memory) -> str:
    """`read_memory(memory_text(memory)) == memory`, for every memory."""
    return to_text({"format": FORMAT, "memory": to_data(Memory, memory)})


def read_memory(text: str | bytes) -> Memory | None:
    """The memory, or None if this is none that we can go on with: then everything is learned anew."""
    try:
        data = json.loads(text)
        if not isinstance(data, dict) or data.get("format") != FORMAT:
            return None
        return from_data(Memory, data.get("memory"))
    except (ValueError, RecursionError, UnreadableError):
        return None
