"""Our engine against eleven others and the clairvoyant on the same traces: `make bench NAME=policy`."""

from __future__ import annotations

from benchmarks.policy.command import main

__all__ = ["main"]
