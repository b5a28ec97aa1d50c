"""Quantiles and rows of the result table."""

from __future__ import annotations

from collections.abc import Sequence


def quantile(values: Sequence[float], q: float) -> float:
    """Nearest-rank quantile, 0 <= q <= 1."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, max(0, round(q * (len(ordered) - 1))))]


def spread_ms(values: Sequence[float]) -> str:
    """p50, p95, p99 and maximum of seconds, printed in milliseconds."""
    return (
        " ".join(
            f"{name} {quantile(values, q) * 1000:.1f}"
            for name, q in (("p50", 0.5), ("p95", 0.95), ("p99", 0.99), ("max", 1.0))
        )
        + " ms"
    )


def row(
    measure: str, value: object, target: str = "", *, holds: bool | None = None, **more: object
) -> dict[str, object]:
    return {"measure": measure, "value": value, "target": target, "holds": holds, **more}
