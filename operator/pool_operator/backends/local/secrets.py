"""Implements backends.base.SecretReader where there are no Secrets: what the caller connected with is what there is."""

from __future__ import annotations

from pool_operator.backends.base import Credentials, Problem
from pool_operator.names import ConditionReason


class LocalSecrets:
    """The credentials that the run was started with."""

    def __init__(self, credentials: Credentials) -> None:
        self._credentials = credentials

    async def credentials(self, _namespace: str, name: str) -> Credentials | Problem:
        found = self._credentials
        if not any((found.username, found.password, found.ca_pem)):
            return Problem(
                reason=ConditionReason.SECRET_NOT_FOUND,
                message=f"there is no Secret '{name}' on this machine: set PROCESSINGPOOL_REDIS_PASSWORD",
            )
        return found
