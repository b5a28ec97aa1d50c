"""What is wrong with a spec, in one sentence that names the field, the value and the fix."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from typing import Any, Final, get_args

from pydantic import BaseModel, ValidationError

from pool_operator.api.money import MONEY_PATTERN
from pool_operator.api.quantity import QUANTITY_PATTERN

LONGEST_VALUE: Final = 60
_WORDS: Final = (
    ("Input should", "must"),
    ("String should", "must"),
    ("Tuple should", "must"),
    (" after validation, not 0", ""),
    ("a valid tuple", "a list"),
    ("a valid dictionary", "an object"),
    ("a valid integer, unable to parse string as an integer", "a whole number"),
    ("a valid integer", "a whole number"),
    ("a valid number, unable to parse string as a number", "a number"),
    ("a valid boolean, unable to interpret input", "true or false"),
    ("must match pattern '^(debug|info|warning|error)$'", "must be debug, info, warning or error"),
    ("must match pattern '^(text|json)$'", "must be text or json"),
    ("greater than or equal to", "at least"),
    ("less than or equal to", "at most"),
    ("a valid string", "text"),
)


def sentence(error: ValidationError, model: type[BaseModel], root: str = "spec") -> str:
    """The first thing that is wrong.

    Args:
        error: of validating `model`.
        model: for the names that exist.
        root: where the model stands, as in `spec`.
    """
    # a field that we do not know first: it may be the one that is missing, mistyped
    every = error.errors()
    first = next((one for one in every if one["type"] == "extra_forbidden"), every[0])
    where = _path(root, first["loc"])
    kind, value = first["type"], first["input"]
    if kind == "extra_forbidden":
        known = sorted(_fields(model, first["loc"][:-1]))
        close = get_close_matches(str(first["loc"][-1]), known, n=1)
        fix = f"did you mean '{close[0]}'?" if close else f"there are {', '.join(known)}"
        return f"{where}: is not a field of a pool; {fix}"
    if kind == "missing":
        return f"{where}: is missing; add it"
    if kind == "value_error":
        # our own rules over several fields begin with the field's name
        return f"{where}{': ' if first['loc'] else '.'}{first['ctx']['error']}"
    if kind == "string_pattern_mismatch" and first["ctx"]["pattern"] == QUANTITY_PATTERN:
        return f"{where}: {_shown(value)}: is not a quantity; write it like 1500Mi or 8Gi"
    if kind == "string_pattern_mismatch" and first["ctx"]["pattern"] == MONEY_PATTERN:
        return f'{where}: {_shown(value)}: is no amount of money; write it like "0.69"'
    hint = "; put it in quotes" if kind == "string_type" and isinstance(value, (int, float)) else ""
    return f"{where}: {_shown(value)}: {plain(first['msg'])}{hint or '; correct it'}"


def _path(root: str, location: Sequence[int | str]) -> str:
    text = root
    for part in location:
        text += f"[{part}]" if isinstance(part, int) else f".{part}"
    return text


def _shown(value: Any) -> str:
    text = repr(value) if isinstance(value, (str, int, float, bool)) or value is None else f"a {type(value).__name__}"
    return text if len(text) <= LONGEST_VALUE else f"{text[:LONGEST_VALUE]}…"


def plain(message: str) -> str:
    """Pydantic's words in a user's."""
    for theirs, ours in _WORDS:
        message = message.replace(theirs, ours)
    return message


def _fields(model: type[BaseModel], location: Sequence[int | str]) -> Iterator[str]:
    """Names that may stand at this place, as users write them."""
    current: type[BaseModel] | None = model
    for part in location:
        if isinstance(part, int) or current is None:
            continue
        field = next((one for name, one in current.model_fields.items() if part in {name, one.alias}), None)
        current = None if field is None else next(_models(field.annotation), None)
    for name, field in current.model_fields.items() if current else ():
        yield field.alias or name


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from _models(argument)
