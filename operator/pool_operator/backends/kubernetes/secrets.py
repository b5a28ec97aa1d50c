"""Reads a pool's Secret: one, by name, in the pool's own namespace. RBAC grants `get` and neither `list` nor `watch`."""

from __future__ import annotations

import base64
import binascii
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

from pool_operator.backends.base import Credentials, Problem
from pool_operator.backends.kubernetes import paths
from pool_operator.backends.kubernetes.api import ApiError, ApiUnavailableError, KubeApi
from pool_operator.names import ConditionReason

KEEP_SECONDS: Final = 10.0
"""Reconciles within this time share one answer; a changed Secret is seen after it."""
FORGET_SECONDS: Final = 7200.0
"""What nobody has asked for so long belongs to no pool any more: twice the longest period at which pools ask."""


class KubernetesSecrets:
    """Implements backends.base.SecretReader."""

    def __init__(self, api: KubeApi, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._api = api
        self._monotonic = monotonic
        self._kept: dict[tuple[str, str], tuple[float, Credentials | Problem]] = {}
        self._asked: dict[tuple[str, str], float] = {}

    async def credentials(self, namespace: str, name: str) -> Credentials | Problem:
        """Keys `username`, `password`, `ca.crt`; what is wrong with the Secret is a Problem.

        While the API server is away, or in trouble, the last answer stands.
        """
        now = self._asked[namespace, name] = self._monotonic()
        kept = self._kept.get((namespace, name))
        if kept is not None and now - kept[0] < KEEP_SECONDS:
            return kept[1]
        try:
            answer = _parse(await self._api.get(paths.secret(namespace, name)), namespace, name)
        except ApiError as error:
            if kept is not None and (error.status == 429 or error.status >= 500):
                return kept[1]  # says nothing about the Secret
            answer = _refused(error, namespace, name)
        except ApiUnavailableError as error:
            if kept is not None:
                return kept[1]
            answer = Problem(
                reason=ConditionReason.SECRET_NOT_FOUND,
                message=f"Secret '{name}' in namespace '{namespace}' cannot be read now: {error}",
            )
        self._kept[namespace, name] = (now, answer)
        return answer

    def forget_unasked(self) -> None:
        """Keep no credentials of pools that are gone; called now and then."""
        before = self._monotonic() - FORGET_SECONDS
        for secret in [secret for secret, asked in self._asked.items() if asked < before]:
            del self._asked[secret]
            self._kept.pop(secret, None)


def _refused(error: ApiError, namespace: str, name: str) -> Problem:
    if error.status == 404:
        message = (
            f"spec.redis.credentialsSecretRef.name: there is no Secret '{name}' in namespace '{namespace}'; create it "
            "with the keys username, password and, for TLS, ca.crt"
        )
    elif error.status == 403:
        message = f"the operator may not read Secret '{name}' in namespace '{namespace}': its role lacks `get` on secrets there"
    else:
        message = f"Secret '{name}' in namespace '{namespace}' cannot be read: {error.message}"
    return Problem(reason=ConditionReason.SECRET_NOT_FOUND, message=message)


def _parse(raw: Mapping[str, Any], namespace: str, name: str) -> Credentials | Problem:
    data: Mapping[str, str] = raw.get("data") or {}
    try:
        texts = {key: base64.b64decode(data[key]).decode() for key in ("username", "password", "ca.crt") if key in data}
    except (binascii.Error, UnicodeDecodeError):
        message = f"Secret '{name}' in namespace '{namespace}': username, password and ca.crt must be text"
        return Problem(reason=ConditionReason.SECRET_NOT_FOUND, message=message)
    return Credentials(
        # a trailing newline comes from `echo x | base64` and is never meant
        username=texts.get("username", "").strip() or None,
        password=texts.get("password", "").rstrip("\r\n") or None,
        ca_pem=texts.get("ca.crt") or None,
    )
