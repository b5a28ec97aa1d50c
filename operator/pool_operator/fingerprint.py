"""On what a decision was made: the same fingerprint, the same decisions, bit for bit."""

from __future__ import annotations

import hashlib
import platform
import sys
from functools import cache
from importlib.metadata import version
from importlib.resources import files
from typing import Final

_LIBRARIES: Final = ("cronsim", "tzdata")  # schedules and days of a budget go by them


@cache
def fingerprint() -> str:
    """For example `engine 3f6c0a9d2b41, cronsim 2.7, tzdata 2026.3, CPython 3.11.2, Linux x86_64`."""
    libraries = ", ".join(f"{name} {version(name)}" for name in _LIBRARIES)
    python = f"{platform.python_implementation()} {platform.python_version()}"
    return f"engine {_engine()}, {libraries}, {python}, {platform.system()} {platform.machine()} {sys.byteorder}"


def _engine() -> str:
    """Of the engine's source, whatever version it claims to be."""
    package = files("pool_operator")
    sources = [one for one in package.joinpath("engine").iterdir() if one.name.endswith(".py")]
    digest = hashlib.sha256()
    for source in (*sorted(sources, key=lambda one: one.name), package.joinpath("names.py")):
        digest.update(source.name.encode() + b"\0" + source.read_bytes() + b"\0")
    return digest.hexdigest()[:12]
