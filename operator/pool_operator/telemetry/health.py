"""/livez, /readyz and /metrics over a minimal HTTP/1.1 server: no framework for three GET paths.

/livez fails only when the event loop or the reconciler is stuck, never because Redis or the API server is away: a
restart would heal neither.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from pool_operator.telemetry.metrics import Metrics

log = logging.getLogger(__name__)
REQUEST_SECONDS: Final = 5.0
LONGEST_LINE_BYTES: Final = 8192
MOST_HEADERS: Final = 100
STUCK_SECONDS: Final = 30.0
TEXT: Final = "text/plain; charset=utf-8"
EXPOSITION: Final = "text/plain; version=0.0.4; charset=utf-8"
PHRASES: Final = {200: "OK", 404: "Not Found", 405: "Method Not Allowed", 503: "Service Unavailable"}

Answer = tuple[int, str, bytes]


class HealthServer:
    """Serves until cancelled.

    Args:
        alive: "" or the sentence why this process should be restarted.
        ready: "" or the sentence why it is not ready yet (caches not synced).
    """

    def __init__(
        self, *, host: str, port: int, metrics: Metrics, alive: Callable[[], str], ready: Callable[[], str]
    ) -> None:
        self._host = host
        self._wanted_port = port
        self._metrics = metrics
        self._checks = {"/livez": alive, "/readyz": ready}
        self._server: asyncio.Server | None = None

    @property
    def port(self) -> int:
        """The port in use (after `start`)."""
        assert self._server is not None
        return int(self._server.sockets[0].getsockname()[1])

    async def start(self) -> None:
        """Listen. Raises OSError with one sentence when the port is in use."""
        try:
            self._server = await asyncio.start_server(
                self._serve, self._host, self._wanted_port, limit=LONGEST_LINE_BYTES
            )
        except OSError as error:
            raise OSError(
                f"--health-port {self._wanted_port}: cannot listen on {self._host}:{self._wanted_port} ({_cause(error)}); "
                "choose another one, or 0 for any free one"
            ) from error
        log.info("health and metrics on port %d", self.port)

    async def run(self) -> None:
        """Start if need be, and serve until cancelled."""
        if self._server is None:
            await self.start()
        assert self._server is not None
        try:
            await asyncio.Event().wait()
        finally:
            self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # a client that is slow, gone or speaks nonsense is its own problem
        with suppress(OSError, TimeoutError, ValueError, asyncio.IncompleteReadError):
            try:
                async with asyncio.timeout(REQUEST_SECONDS):
                    method, path = await _request(reader)
                    await _reply(writer, self._answer(method, path), head=method == "HEAD")
            finally:
                writer.close()

    def _answer(self, method: str, path: str) -> Answer:
        if method not in {"GET", "HEAD"}:
            return 405, TEXT, b"only GET\n"
        if path == "/metrics":
            return 200, EXPOSITION, self._metrics.exposition()
        check = self._checks.get(path)
        if check is None:
            return 404, TEXT, b"try /livez, /readyz or /metrics\n"
        trouble = check()
        return (503, TEXT, f"{trouble}\n".encode()) if trouble else (200, TEXT, b"ok\n")


def stuck(beat_age: Callable[[], float]) -> Callable[[], str]:
    """A liveness check on the age of the last heartbeat."""

    def check() -> str:
        age = beat_age()
        return f"the event loop has not come round for {age:.0f} s" if age > STUCK_SECONDS else ""

    return check


def _cause(error: OSError) -> str:
    """What the system said: asyncio wraps it in words of its own."""
    return os.strerror(error.errno).lower() if error.errno else str(error)


async def _request(reader: asyncio.StreamReader) -> tuple[str, str]:
    line = (await reader.readline()).decode("latin-1").split()
    if len(line) < 2:
        raise ValueError("not a request line")
    for _ in range(MOST_HEADERS):
        if (await reader.readline()) in {b"\r\n", b"\n", b""}:
            break
    return line[0], line[1].partition("?")[0]


async def _reply(writer: asyncio.StreamWriter, answer: Answer, *, head: bool) -> None:
    status, kind, body = answer
    lines = (
        f"HTTP/1.1 {status} {PHRASES[status]}",
        f"Content-Type: {kind}",
        f"Content-Length: {len(body)}",
        "Connection: close",
    )
    writer.write(("\r\n".join(lines) + "\r\n\r\n").encode() + (b"" if head else body))
    await writer.drain()
