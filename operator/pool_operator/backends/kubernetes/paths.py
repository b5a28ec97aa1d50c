"""Paths of the API objects we touch: the whole list, so that RBAC can be compared with it."""

from __future__ import annotations

from typing import Final

from pool_operator.names import GROUP, LABEL_MANAGED_BY, MANAGED_BY, PLURAL, VERSION

OURS: Final = f"{LABEL_MANAGED_BY}={MANAGED_BY}"
"""Label selector of everything we watch but the pools themselves."""


def _in(namespace: str) -> str:
    return f"/namespaces/{namespace}" if namespace else ""


def pools(namespace: str = "") -> str:
    return f"/apis/{GROUP}/{VERSION}{_in(namespace)}/{PLURAL}"


def pool_status(namespace: str, name: str) -> str:
    return f"{pools(namespace)}/{name}/status"


def deployments(namespace: str = "") -> str:
    return f"/apis/apps/v1{_in(namespace)}/deployments"


def deployment(namespace: str, name: str) -> str:
    return f"{deployments(namespace)}/{name}"


def scale(namespace: str, name: str) -> str:
    return f"{deployment(namespace, name)}/scale"


def replica_sets(namespace: str = "") -> str:
    return f"/apis/apps/v1{_in(namespace)}/replicasets"


def pods(namespace: str = "") -> str:
    return f"/api/v1{_in(namespace)}/pods"


def pod(namespace: str, name: str) -> str:
    return f"{pods(namespace)}/{name}"


def secret(namespace: str, name: str) -> str:
    return f"/api/v1{_in(namespace)}/secrets/{name}"


def events(namespace: str) -> str:
    return f"/apis/events.k8s.io/v1{_in(namespace)}/events"


def leases(namespace: str) -> str:
    return f"/apis/coordination.k8s.io/v1{_in(namespace)}/leases"


def lease(namespace: str, name: str) -> str:
    return f"{leases(namespace)}/{name}"
