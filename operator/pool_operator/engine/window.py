"""The scale-down window: the highest wish of the last seconds is kept before replicas go. As in an HPA."""

from __future__ import annotations

from dataclasses import dataclass

Proposals = tuple[tuple[float, int], ...]


@dataclass(slots=True, kw_only=True)
class Stabilised:
    """`replicas`: the wish, or what the window keeps; `until`: when the window may next let go of some."""

    replicas: int
    proposals: Proposals
    until: float | None = None


def stabilise(proposals: Proposals, wish: int, *, wanted: int, window_seconds: float, now: float) -> Stabilised:
    """Never keeps more than is wanted now: an old, higher wish that a limit capped does not come back as a raise.

    Wishes 5, 3, 2 at seconds 0, 10, 20 with a window of 60 s and 5 wanted: 5 until second 60, 3 until 70, then 2.
    """
    if window_seconds <= 0:
        return Stabilised(replicas=wish, proposals=())
    kept = [(at, number) for at, number in proposals if at + window_seconds > now and number > wish]
    kept.append((now, wish))  # falling from the first to the last: only the highest ahead of each counts
    if wish >= wanted:
        return Stabilised(replicas=wish, proposals=tuple(kept))
    replicas = min(wanted, kept[0][1])
    until = kept[0][0] + window_seconds if replicas > wish else None
    return Stabilised(replicas=replicas, proposals=tuple(kept), until=until)
