"""What a result depends on: the sources that a policy is made of. Same sources, same trace, same terms: same result."""

from __future__ import annotations

import ast
import hashlib
from functools import cache
from pathlib import Path

ROOTS = {
    name: Path(__file__).resolve().parents[2] / "operator" / "pool_operator" / name for name in ("engine", "simulate")
}
PREFIX = "pool_operator"


@cache
def fingerprint(*modules: str, alone: tuple[str, ...] = ()) -> str:
    """Hash of these modules' sources in engine/ and simulate/, and of those that they import, and so on.

    Args:
        modules: full names.
        alone: modules whose own text counts, but not what they import.
    """
    found = sources(*modules) | {name: path for name in alone if (path := _file(name)) is not None}
    digest = hashlib.sha256()
    for name in sorted(found):
        digest.update(f"{name}\n".encode() + found[name].read_bytes())
    return digest.hexdigest()


def sources(*modules: str) -> dict[str, Path]:
    """The modules themselves and all that they import, by name."""
    found: dict[str, Path] = {}
    left = list(modules)
    while left:
        name = left.pop()
        path = _file(name)
        if path is not None and name not in found:
            found[name] = path
            left += _imports(path)
    return found


def _file(module: str) -> Path | None:
    """Only of engine/ and simulate/; None: not there, or no module."""
    parts = module.split(".")
    if parts[0] != PREFIX or len(parts) < 3 or parts[1] not in ROOTS:
        return None
    path = ROOTS[parts[1]].joinpath(*parts[2:]).with_suffix(".py")
    return path if path.is_file() else None


def _imports(path: Path) -> list[str]:
    names: list[str] = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names += [one.name for one in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names += [node.module, *(f"{node.module}.{one.name}" for one in node.names)]
    return names
