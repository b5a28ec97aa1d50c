"""The local backend over small real processes: each says that it is ready by a file, and ends on SIGTERM."""

from __future__ import annotations

import asyncio
import sys
import time
from contextlib import asynccontextmanager
from pathlib import Path

from tests.fakes.pools import pool_object

from pool_operator.backends.local.backend import LocalBackend
from pool_operator.backends.local.process import start

STEADY = """
import pathlib, signal, sys
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
pathlib.Path(sys.argv[1]).touch()
signal.pause()
"""
STUBBORN = """
import pathlib, signal, sys
signal.signal(signal.SIGTERM, signal.SIG_IGN)
pathlib.Path(sys.argv[1]).touch()
signal.pause()
"""
BROKEN = "import sys; print('first line', flush=True); sys.exit('the model is missing: fetch it')"
PATIENCE_SECONDS = 30.0


class Local:
    """Implements the contract's harness, and more."""

    def __init__(self, folder: Path, code: str, grace_seconds: float) -> None:
        self.folder = folder
        self.code = code
        self.command: tuple[str, ...] | None = None
        self.pool = pool_object(max_replicas=4)
        self.ended: list[str] = []
        self.backend = LocalBackend(
            launch=self._launch, ready=self._ready, ended=self._ended, grace_seconds=grace_seconds
        )

    async def _launch(self, pool, replica):
        log = self.folder / f"{replica}.log"
        command = self.command or (sys.executable, "-S", "-c", self.code, str(self.folder / replica))
        return await start(command, environment={}, log=log), log

    async def _ready(self, pool, replicas):
        return [one for one in replicas if (self.folder / one).exists()]

    async def _ended(self, pool, replica):
        self.ended.append(replica)

    async def until(self, condition, what):
        end = time.monotonic() + PATIENCE_SECONDS
        while not condition(view := self.backend.view(self.pool)):
            assert time.monotonic() < end, f"never: {what}; {view}"
            await asyncio.sleep(0.01)
        return view

    async def gone(self):
        return None

    def process(self, replica):
        return next(one.process for one in self.backend.history if one.id == replica)


@asynccontextmanager
async def local(folder, code=STEADY, *, grace_seconds=5.0):
    it = Local(Path(folder), code, grace_seconds)
    watching = asyncio.create_task(it.backend.run())
    try:
        yield it
    finally:
        await it.backend.kill_all()
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)
