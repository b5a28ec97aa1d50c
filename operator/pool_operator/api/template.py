"""What the rest of us reads out of a pool's template. A template of the wrong shape reads as an empty one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pool_operator.names import WORKER_CONTAINER

Raw = Mapping[str, Any]


def pod_spec(template: Raw) -> Raw:
    return mapping(template.get("spec"))


def containers(template: Raw) -> Iterator[Raw]:
    """Every container, init and ephemeral ones included."""
    for field in ("initContainers", "containers", "ephemeralContainers"):
        yield from mappings(pod_spec(template).get(field))


def worker_container(template: Raw) -> Raw | None:
    found = mappings(pod_spec(template).get("containers"))
    return next((one for one in found if one.get("name") == WORKER_CONTAINER), None)


def environment(container: Raw) -> dict[str, str]:
    """The variables that have their value in the template itself."""
    return {
        str(one["name"]): str(one["value"]) for one in mappings(container.get("env")) if {"name", "value"} <= one.keys()
    }


def limits(container: Raw) -> Raw:
    """resources.limits"""
    return mapping(mapping(container.get("resources")).get("limits"))


def mapping(value: Any) -> Raw:
    return value if isinstance(value, Mapping) else {}


def mappings(value: Any) -> list[Raw]:
    return [one for one in value if isinstance(one, Mapping)] if isinstance(value, list) else []
