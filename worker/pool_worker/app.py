"""`processingpool worker`: composition root.

The signal handlers come first, before anything heavy is imported: as PID 1 of a container, this process would ignore
SIGTERM until then.
"""

from __future__ import annotations

import os
import signal
import sys
from types import FrameType

from pool_worker.errors import WorkerError
from pool_worker.events import Event, Inbox

STANDS_FOR = "processingpool worker"


def main(arguments: list[str]) -> int:
    """Run a worker until a signal ends it. `arguments` start with the command's own name."""
    inbox: Inbox = Inbox()
    listen_to_signals(inbox)
    try:
        status = _run(arguments[1:], inbox)
    except WorkerError as error:
        print(f"{STANDS_FOR}: {error}", file=sys.stderr)
        status = 2
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)  # job code in other threads must not go on, nor finish


def listen_to_signals(inbox: Inbox) -> None:
    def note(number: int, _: FrameType | None) -> None:
        inbox.put((Event.SIGNAL, signal.Signals(number).name))

    signal.signal(signal.SIGTERM, note)
    signal.signal(signal.SIGINT, note)


def _run(arguments: list[str], inbox: Inbox) -> int:
    from pool_worker import flags, settings

    configuration = settings.load(flags.read(arguments), os.environ)
    settings.export(configuration, os.environ)  # before rq is imported: it reads its prefix then
    sys.path[:0] = configuration.path

    from pool_worker import start

    return start.run(configuration, inbox)
