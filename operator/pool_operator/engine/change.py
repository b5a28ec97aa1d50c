"""What is new in a snapshot, and back: a pool that hardly moves costs the ledger hardly a byte.

`patch(before, change(before, after)) == after`, the order of replicas, queues and runs included.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from typing import Any, Final, get_type_hints

from pool_operator.engine.checkpoint import UnreadableError, from_data, to_data
from pool_operator.engine.types import Ended, Observed, QueueReading, Reading, Replica, Unknown

_ANY_READING: Final[Any] = Reading | Unknown
_SPECIAL: Final = frozenset({"reading", "replicas", "ended", "at", "queues"})  # have a shorter form of their own


def change(before: Observed, after: Observed) -> dict[str, Any]:
    """JSON-able; empty if nothing is new.

    5 jobs wait at second 10, still 5 at second 11: `{"reading": {"at": 11.0}}`.
    """
    found = _plain(before, after)
    if before.reading != after.reading:
        found["reading"] = _reading(before.reading, after.reading)
    if before.replicas != after.replicas:
        found["replicas"] = _replicas(before.replicas, after.replicas)
    if before.ended != after.ended:
        found["ended"] = _ended(before.ended, after.ended)
    return found


def patch(before: Observed, data: Mapping[str, Any]) -> Observed:
    """The snapshot after.

    Raises:
        UnreadableError: this is no change of that snapshot.
    """
    try:
        return replace(
            before,
            reading=_patched_reading(before.reading, data["reading"]) if "reading" in data else before.reading,
            replicas=_patched_replicas(before.replicas, data["replicas"]) if "replicas" in data else before.replicas,
            ended=_patched_ended(before.ended, data["ended"]) if "ended" in data else before.ended,
            **_patched_plain(Observed, data),
        )
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise UnreadableError(f"a change of the snapshot cannot be read: {error}") from error


# --- fields without a shorter form, also those that are still to come ---------------------------------------------


_PLAIN: Final[dict[type, dict[str, Any]]] = {
    kind: {one.name: get_type_hints(kind)[one.name] for one in fields(kind) if one.name not in _SPECIAL}
    for kind in (Observed, Reading)
}


def _plain(before: Observed | Reading, after: Observed | Reading) -> dict[str, Any]:
    return {
        name: to_data(kind, new)
        for name, kind in _PLAIN[type(after)].items()
        if getattr(before, name) != (new := getattr(after, name))
    }


def _patched_plain(kind: type, data: Mapping[str, Any]) -> dict[str, Any]:
    return {name: from_data(hint, data[name]) for name, hint in _PLAIN[kind].items() if name in data}


# --- readings -----------------------------------------------------------------------------------------------------


def _reading(before: Reading | Unknown, after: Reading | Unknown) -> dict[str, Any]:
    if isinstance(before, Unknown) or isinstance(after, Unknown) or tuple(before.queues) != tuple(after.queues):
        return {"all": to_data(_ANY_READING, after)}
    found = _plain(before, after)
    if before.at != after.at:
        found["at"] = after.at
    waits = [one.oldest_wait_seconds for one in after.queues.values()]
    if waits != [one.oldest_wait_seconds for one in before.queues.values()]:
        found["waits"] = waits  # they grow from reading to reading, mostly alone
    moved = {
        name: to_data(QueueReading, now)
        for (name, now), old in zip(after.queues.items(), before.queues.values(), strict=True)
        if now != replace(old, oldest_wait_seconds=now.oldest_wait_seconds)
    }
    if moved:
        found["queues"] = moved
    return found


def _patched_reading(before: Reading | Unknown, data: Mapping[str, Any]) -> Reading | Unknown:
    if "all" in data:
        found: Reading | Unknown = from_data(_ANY_READING, data["all"])
        return found
    if isinstance(before, Unknown):
        raise UnreadableError("a reading follows from none")
    moved = data.get("queues", {})
    queues = {
        name: from_data(QueueReading, moved[name]) if name in moved else old for name, old in before.queues.items()
    }
    if "waits" in data:
        queues = {
            name: replace(one, oldest_wait_seconds=wait)
            for (name, one), wait in zip(queues.items(), data["waits"], strict=True)
        }
    return replace(before, at=data.get("at", before.at), queues=queues, **_patched_plain(Reading, data))


# --- replicas -----------------------------------------------------------------------------------------------------


def _replicas(before: Sequence[Replica], after: Sequence[Replica]) -> dict[str, Any]:
    """`order`: runs [first, number] of the replicas before, and new ones; `changed`: place after, and what is there.

    Replicas a, b, c; b goes and d comes: `{"order": [[0, 1], [2, 1], {"id": "d", …}]}`.
    """
    found: dict[str, Any] = {}
    places = {one.id: place for place, one in enumerate(before)}
    if [one.id for one in before] != [one.id for one in after]:
        found["order"] = _order(places, after)
    changed = [
        [place, to_data(Replica, one)]
        for place, one in enumerate(after)
        if (old := places.get(one.id)) is not None and before[old] != one
    ]
    if changed:
        found["changed"] = changed
    return found


def _order(places: Mapping[str, int], after: Sequence[Replica]) -> list[Any]:
    order: list[Any] = []
    for one in after:
        place = places.get(one.id)
        if place is None:
            order.append(to_data(Replica, one))
        elif order and isinstance(order[-1], list) and sum(order[-1]) == place:
            order[-1][1] += 1
        else:
            order.append([place, 1])
    return order


def _patched_replicas(before: Sequence[Replica], data: Mapping[str, Any]) -> tuple[Replica, ...]:
    after: list[Replica] = []
    for part in data.get("order", [[0, len(before)]]):
        if isinstance(part, list):
            first, number = part
            after += before[first : first + number]
        else:
            after.append(from_data(Replica, part))
    for place, one in data.get("changed", ()):
        after[place] = from_data(Replica, one)
    return tuple(after)


# --- runs that ended: a list that moves on --------------------------------------------------------------------------


def _ended(before: tuple[Ended, ...], after: tuple[Ended, ...]) -> dict[str, Any]:
    drop = before.index(after[0]) if after and after[0] in before else len(before)
    kept = len(before) - drop
    if before[drop:] != after[:kept]:
        drop, kept = len(before), 0
    return {"drop": drop, "add": [to_data(Ended, one) for one in after[kept:]]}


def _patched_ended(before: tuple[Ended, ...], data: Mapping[str, Any]) -> tuple[Ended, ...]:
    return (*before[data["drop"] :], *(from_data(Ended, one) for one in data["add"]))
