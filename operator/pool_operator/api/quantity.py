"""Kubernetes quantities: "8Gi", "1500Mi", "2G", "1e9" → bytes."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Annotated, Any, Final

from pydantic import BeforeValidator, Field

QUANTITY_PATTERN: Final = r"^[0-9]+(\.[0-9]+)?(Ki|Mi|Gi|Ti|k|M|G|T)?$"
_FACTORS: Final = {
    "": Decimal(1),
    "m": Decimal("0.001"),
    **{unit: Decimal(1000) ** power for power, unit in enumerate(("k", "M", "G", "T", "P", "E"), start=1)},
    **{unit: Decimal(1024) ** power for power, unit in enumerate(("Ki", "Mi", "Gi", "Ti", "Pi", "Ei"), start=1)},
}
_PARTS: Final = re.compile(r"^\+?([0-9]+(?:\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]{1,3}|[A-Za-z]{0,2})$")


def _as_text(value: Any) -> Any:
    """The API server stores a bare number as a number."""
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


Quantity = Annotated[
    str,
    Field(pattern=QUANTITY_PATTERN, max_length=32, json_schema_extra={"x-kubernetes-int-or-string": True}),
    BeforeValidator(_as_text),
]


def parse_bytes(quantity: object) -> int:
    """Bytes of a quantity in any form that Kubernetes itself accepts.

    >>> parse_bytes("1500Mi"), parse_bytes("2G"), parse_bytes(1024), parse_bytes("1e3")
    (1572864000, 2000000000, 1024, 1000)

    Raises:
        ValueError: it is none.
    """
    found = _PARTS.match(str(quantity)) if isinstance(quantity, (str, int)) and not isinstance(quantity, bool) else None
    if found is None:
        raise ValueError(f"'{quantity}' is not a quantity; write it like 1500Mi or 8Gi")
    number, unit = found.groups()
    if unit[:1] in {"e", "E"} and len(unit) > 1:
        return int(Decimal(number + unit))
    if unit not in _FACTORS:
        raise ValueError(f"'{quantity}' has the unknown unit '{unit}'; write it like 1500Mi or 8Gi")
    return int(Decimal(number) * _FACTORS[unit])


def in_words(amount: int) -> str:
    """Bytes for a sentence: "1500Mi", "8Gi".

    >>> in_words(8 * 1024**3), in_words(1572864000)
    ('8Gi', '1500Mi')
    """
    mebibytes = amount / 1024**2
    if mebibytes >= 1024 and mebibytes % 1024 == 0:
        return f"{int(mebibytes // 1024)}Gi"
    return f"{mebibytes:.0f}Mi"
