"""Relay TCP ports of this machine's loopback into a network namespace: `python -m tests.node.relay NAME PORT:PORT …`.

The listening sockets stay in the namespace they were made in; only then does the process move, so that the connections
it opens begin in the other one. Nothing is routed between the two.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import socket
import sys
from functools import partial
from pathlib import Path

CHUNK_BYTES = 65536


def enter(name: str) -> None:
    """Move this process into the network namespace (os.setns needs Python 3.12)."""
    libc = ctypes.CDLL(None, use_errno=True)
    with Path("/run/netns", name).open("rb") as namespace:
        if libc.setns(namespace.fileno(), 0) != 0:
            raise OSError(ctypes.get_errno(), f"cannot enter the network namespace {name}")


def listen(port: int) -> socket.socket:
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", port))
    listener.listen(128)
    return listener


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(CHUNK_BYTES):
            writer.write(data)
            await writer.drain()
    writer.close()


async def _connected(port: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        writer.close()  # nothing listens there yet
        return
    await asyncio.gather(_copy(reader, far_writer), _copy(far_reader, writer))


async def serve(listeners: dict[int, socket.socket]) -> None:
    servers = [await asyncio.start_server(partial(_connected, port), sock=one) for port, one in listeners.items()]
    await asyncio.gather(*(server.serve_forever() for server in servers))


def main() -> None:
    name, *pairs = sys.argv[1:]
    listeners = {int(far): listen(int(near)) for near, far in (pair.split(":") for pair in pairs)}
    enter(name)
    asyncio.run(serve(listeners))


if __name__ == "__main__":
    main()
