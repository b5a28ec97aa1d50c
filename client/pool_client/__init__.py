"""Submit jobs to a pool's queues, follow, cancel and retry them. RQ below, JSON only, sensible limits by default.

    from pool_client import Client

What needs rq is imported when it is first asked for: rq reads RQ_KEY_PREFIX at its import.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pool_client.client import Client, Submitted
    from pool_client.errors import ClientError

__all__ = ["Client", "ClientError", "Submitted"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'pool_client' has no attribute '{name}'")
    from pool_client import client

    return getattr(client, name)
