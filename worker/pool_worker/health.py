"""/livez, /readyz, /health and /metrics over the standard library's server: four GET paths need no framework.

Readiness latches: it does not fall because the worker is busy or Redis is away, since a ReplicaSet removes pods that are
not ready before it looks at what they cost to delete.
"""

from __future__ import annotations

import json
import logging
import socket
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final

from pool_worker.errors import WorkerError

log = logging.getLogger(__name__)
REQUEST_SECONDS: Final = 5.0
TEXT: Final = "text/plain; charset=utf-8"
EXPOSITION: Final = "text/plain; version=0.0.4; charset=utf-8"
GIB: Final = 1024**3


@dataclass(frozen=True, slots=True)
class Checks:
    """What the paths answer from. `alive` and `ready` give "" or the sentence why not."""

    alive: Callable[[], str]
    ready: Callable[[], str]
    health: Callable[[], Mapping[str, Any]]
    metrics: Callable[[], bytes]


def serve(port: int, checks: Checks) -> int:
    """Listen and serve in threads of their own; returns the port. Port 0 is any free one, on this machine only.

    Raises:
        WorkerError: the port is in use.
    """
    handler = type("Handler", (_Handler,), {"checks": checks})
    server = ThreadingHTTPServer(("127.0.0.1", port), handler, bind_and_activate=False)
    server.daemon_threads = True
    server.socket.close()
    try:
        server.socket = _listen(port)
    except OSError as error:
        raise WorkerError(
            f"--health-port (PROCESSINGPOOL_HEALTH_PORT): cannot listen on port {port} ({error.strerror or error}): "
            "choose another one, or 0 for any free one"
        ) from None
    threading.Thread(target=server.serve_forever, name="health", daemon=True).start()
    return int(server.socket.getsockname()[1])


def _listen(port: int) -> socket.socket:
    if port == 0:
        return socket.create_server(("127.0.0.1", 0))
    if socket.has_dualstack_ipv6():
        return socket.create_server(("", port), family=socket.AF_INET6, dualstack_ipv6=True)
    return socket.create_server(("", port))


def health_document(
    *,
    status: str,
    used_bytes: int | None,
    limit_bytes: int | None,
    cpu_percent: int,
    waiting: int,
    active: int,
    completed: int,
    uptime_seconds: float,
) -> dict[str, Any]:
    """The JSON of /health."""
    memory: dict[str, Any] = {"used": _gigabytes(used_bytes), "limit": _gigabytes(limit_bytes), "percentage": 0}
    if used_bytes is not None and limit_bytes:
        memory["percentage"] = round(100 * used_bytes / limit_bytes)
    return {
        "status": status,
        "memory": memory,
        "cpu": {"usage": cpu_percent},
        "queue": {"waiting": waiting, "active": active, "completed": completed},
        "uptime": int(uptime_seconds),
    }


def _gigabytes(number: int | None) -> str:
    return "unknown" if number is None else f"{number / GIB:.1f}GB"


class _Handler(BaseHTTPRequestHandler):
    checks: Checks
    timeout = REQUEST_SECONDS
    protocol_version = "HTTP/1.0"
    server_version = "processingpool"
    sys_version = ""

    def do_GET(self) -> None:
        status, kind, body = self._answer(self.path.partition("?")[0])
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_HEAD = do_GET  # noqa: N815

    def _answer(self, path: str) -> tuple[int, str, bytes]:
        if path == "/metrics":
            return 200, EXPOSITION, self.checks.metrics()
        if path == "/health":
            document = self.checks.health()
            status = 200 if document["status"] == "healthy" else 503
            return status, "application/json", json.dumps(document).encode() + b"\n"
        check = {"/livez": self.checks.alive, "/readyz": self.checks.ready}.get(path)
        if check is None:
            return 404, TEXT, b"try /livez, /readyz, /health or /metrics\n"
        trouble = check()
        return (503, TEXT, f"{trouble}\n".encode()) if trouble else (200, TEXT, b"ok\n")

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
        log.debug(format, *args)
