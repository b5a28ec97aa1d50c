"""Ending a job's code from outside its thread: time-outs, lost claims, cancellation.

An exception raised asynchronously may arrive a moment late. So it is only sent while the thread is armed, and
disarming clears what was sent but did not arrive: bookkeeping after the job's code never meets it.
"""

from __future__ import annotations

import ctypes
import logging
import threading
import time
from collections.abc import Callable
from typing import Any, Final

from rq.timeouts import BaseDeathPenalty, JobTimeoutException

log = logging.getLogger(__name__)
FOREVER_SECONDS: Final = 3600.0


class Interrupts:
    """Of one slot's thread; `fire` may come from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._thread: int | None = None
        self._what: object = None

    def arm(self, what: object) -> None:
        """From here on the calling thread may be interrupted, in `what` it is doing."""
        with self._lock:
            self._thread, self._what = threading.get_ident(), what

    def is_in(self, what: object) -> bool:
        """Whether the thread is still doing it."""
        with self._lock:
            return self._thread is not None and self._what is what

    def fire(self, kind: type[BaseException], what: object = None) -> bool:
        """Raise `kind` in the thread at its next byte code; False where it is not armed, or does something else by now."""
        with self._lock:
            if self._thread is None or (what is not None and self._what is not what):
                return False
            _raise_in(self._thread, kind)
            return True

    def disarm(self) -> None:
        """Called by the armed thread: nothing arrives any more once this has returned."""
        while True:
            try:
                with self._lock:
                    if self._thread is not None:
                        _raise_in(self._thread, None)
                        self._thread = self._what = None
                return
            except BaseException as late:  # noqa: BLE001 - what was sent just before: the job's code has already ended
                log.debug("an interrupt came after the end of the job's code: %r", late)


def _raise_in(thread: int, kind: type[BaseException] | None) -> None:
    """None takes back what has not arrived yet."""
    what = ctypes.py_object(kind) if kind is not None else None
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), what)


class Watchdog(threading.Thread):
    """Calls back at given times; one thread for all slots, asleep until the earliest."""

    def __init__(self) -> None:
        super().__init__(name="watchdog", daemon=True)
        self._changed = threading.Condition()
        self._due: dict[object, tuple[float, Callable[[], None]]] = {}
        self._wake_at = 0.0

    def set(self, key: object, seconds: float, call: Callable[[], None]) -> None:
        """Call back after `seconds`, unless cancelled or set anew."""
        at = time.monotonic() + seconds
        with self._changed:
            self._due[key] = (at, call)
            if at < self._wake_at:
                self._changed.notify()

    def cancel(self, key: object) -> None:
        with self._changed:
            self._due.pop(key, None)

    def run(self) -> None:
        while True:
            for call in self._wait():
                call()

    def _wait(self) -> list[Callable[[], None]]:
        with self._changed:
            now = time.monotonic()
            self._wake_at = min((at for at, _ in self._due.values()), default=now + FOREVER_SECONDS)
            if self._wake_at > now:
                self._changed.wait(self._wake_at - now)
                self._wake_at = 0.0
            now = time.monotonic()
            ready = sorted((at, place, key) for place, (key, (at, _)) in enumerate(self._due.items()) if at <= now)
            return [self._due.pop(key)[1] for _, _, key in ready]


class Deadline(BaseDeathPenalty):
    """RQ's time-out for a slot's thread: every wait for user code is capped, and one that ignores it is reported.

    Args:
        cap: tells the longest time in seconds; RQ's -1 (no time-out) becomes it.
        stuck: called when the code still runs `stuck_seconds` after its time-out.
        armed: called once the thread can be interrupted; may raise what came before that.
    """

    def __init__(
        self,
        timeout: float,
        exception: type[Exception] = JobTimeoutException,
        *,
        interrupts: Interrupts,
        watchdog: Watchdog,
        cap: Callable[[], float],
        stuck_seconds: float,
        stuck: Callable[[], None],
        armed: Callable[[], None] = lambda: None,
        **_: Any,
    ) -> None:
        longest = cap()
        self._timeout = timeout if 0 < timeout <= longest else longest
        self._exception = exception
        self._interrupts = interrupts
        self._watchdog = watchdog
        self._stuck_seconds = stuck_seconds
        self._stuck = stuck
        self._armed = armed

    def setup_death_penalty(self) -> None:
        self._interrupts.arm(self)
        self._armed()
        self._watchdog.set(self, self._timeout, self._fire)

    def cancel_death_penalty(self) -> None:
        self._interrupts.disarm()
        self._watchdog.cancel(self)

    def _fire(self) -> None:
        text = f"Task exceeded maximum timeout value ({self._timeout:g} seconds)"
        if self._interrupts.fire(_with_text(self._exception, text), self):
            self._watchdog.set(self, self._stuck_seconds, self._look)

    def _look(self) -> None:
        if self._interrupts.is_in(self):
            self._stuck()

    def __exit__(self, *_: object) -> None:
        self.cancel_death_penalty()


def _with_text(kind: type[Exception], text: str) -> type[Exception]:
    """Only a class can be raised in another thread; this one knows its own text."""

    def __init__(self: Exception, *_: object) -> None:  # noqa: N807 - it becomes the class's own
        Exception.__init__(self, text)

    return type(kind.__name__, (kind,), {"__init__": __init__, "__module__": kind.__module__})
