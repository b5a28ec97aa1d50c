"""A thin client over `kubernetes.aio`: JSON in, JSON out, every call bounded, errors as ours.

The generated models are left out on purpose: they refuse a `null` that a server may send, and building one costs more
than the whole decision. Connection, TLS and credentials (in-cluster token rotation, exec plugins) are the library's.
"""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import Callable, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode

import aiohttp
from kubernetes.aio import client, config
from yaml import YAMLError

from pool_operator.backends.base import BackendError
from pool_operator.names import PassError

CALL_SECONDS: Final = 10.0
CALLS_AT_ONCE: Final = 16
NO_ANSWER: Final = "none"
Json = dict[str, Any]


class Content(StrEnum):
    JSON = "application/json"
    MERGE = "application/merge-patch+json"
    APPLY = "application/apply-patch+yaml"  # JSON is YAML


class ApiError(BackendError):
    """The API server refused a call: its status code and its own message."""

    error = PassError.API_REFUSED

    def __init__(self, status: int, reason: str, message: str) -> None:
        super().__init__(f"{status} {reason}: {message}")
        self.status = status
        self.reason = reason
        self.message = message


class ApiUnavailableError(BackendError):
    """The API server did not answer in time, or not at all."""

    error = PassError.API_UNAVAILABLE


class KubeApi:
    """Calls to one API server; at most CALLS_AT_ONCE at a time."""

    def __init__(self, api: client.ApiClient) -> None:
        self.told: Callable[[str, str, str, float], None] = lambda _verb, _resource, _code, _seconds: None
        """Told each call's verb, resource, status code (or NO_ANSWER) and seconds, for metrics."""
        self._api = api
        self._slots = asyncio.Semaphore(CALLS_AT_ONCE)

    @classmethod
    async def connect(cls) -> KubeApi:
        """From the pod's ServiceAccount, else from the kubeconfig (KUBECONFIG, ~/.kube/config).

        Raises kubernetes.aio's ConfigException where there is neither.
        """
        configuration = client.Configuration()
        try:
            config.load_incluster_config(client_configuration=configuration)  # type: ignore[no-untyped-call]
        except config.ConfigException:
            file = _kubeconfig()
            try:
                await config.load_kube_config(config_file=file, client_configuration=configuration)  # type: ignore[no-untyped-call]
            except (YAMLError, UnicodeDecodeError) as error:
                raise config.ConfigException(f"KUBECONFIG '{file}': is no kubeconfig file: it is not YAML") from error
        return cls(client.ApiClient(configuration))

    @property
    def host(self) -> str:
        return str(self._api.configuration.host)

    async def close(self) -> None:
        await self._api.close()  # type: ignore[no-untyped-call]

    async def get(self, path: str, query: Mapping[str, str] | None = None, *, seconds: float = CALL_SECONDS) -> Json:
        return await self.call("GET", path, query=query, seconds=seconds)

    async def call(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Mapping[str, Any] | None = None,
        content: Content = Content.JSON,
        seconds: float = CALL_SECONDS,
    ) -> Json:
        """One request.

        Raises:
            ApiError: the server said no.
            ApiUnavailableError: no answer within `seconds`, or no connection.
        """
        resource = path + ("?" + urlencode(query) if query else "")
        headers = {"Accept": "application/json", "Content-Type": content.value}
        code, started = NO_ANSWER, time.monotonic()
        try:
            async with self._slots, asyncio.timeout(seconds):
                prepared = await self._api.param_serialize(
                    method, resource, header_params=headers, body=body, auth_settings=["BearerToken"]
                )
                url, sent_headers, sent_body = prepared[1], prepared[2], prepared[3]
                response = await self._api.rest_client.request(  # type: ignore[no-untyped-call]
                    method, url, headers=sent_headers, body=sent_body, _request_timeout=seconds
                )
                text = await response.read()
                code = str(response.status)
        except (TimeoutError, aiohttp.ClientError, OSError) as error:
            raise ApiUnavailableError(f"{method} {path}: {type(error).__name__} {error}".rstrip()) from error
        finally:
            self.told(method, resource_of(path), code, time.monotonic() - started)
        return _answer(response.status, text)


def resource_of(path: str) -> str:
    """The plural of a path in paths.py, with its subresource: /apis/apps/v1/namespaces/n/deployments/d/scale -> deployments/scale."""
    parts = path.strip("/").split("/")
    parts = parts[2 if parts[0] == "api" else 3 :]
    if parts[:1] == ["namespaces"]:
        parts = parts[2:]
    return "/".join((*parts[:1], *parts[2:3]))


def _kubeconfig() -> str | None:
    """Named by us: the library reads the variable only once, when it is imported."""
    file = os.environ.get("KUBECONFIG")
    if file and not any(Path(one).is_file() for one in file.split(os.pathsep)):
        raise config.ConfigException(f"KUBECONFIG '{file}': there is no such file")
    return file


def _answer(status: int, text: bytes) -> Json:
    try:
        answer: Json = json.loads(text)
    except ValueError:
        answer = {"message": text[:200].decode(errors="replace")}
    if status >= 400:
        raise ApiError(status, str(answer.get("reason", "")), str(answer.get("message", "")))
    return answer
