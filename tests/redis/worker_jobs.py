"""Functions that tests of the worker enqueue; imported by worker processes only."""

from __future__ import annotations

import ctypes
import os
import threading
import time
from os import getcwd  # noqa: F401 - something this module only imports

from rq import Retry, get_current_job

from pool_contract.jobs import JobError
from pool_worker.media.errors import MachineError, MediaError

LIST = "test:log"


def note(text):
    """Write it where the test reads it, and whoever looks later can count."""
    get_current_job().connection.rpush(LIST, f"{text}:{os.getpid()}")


def add(a, b):
    return a + b


def noop():
    pass


def fail(text="no"):
    raise ValueError(text)


def no_memory():
    raise MemoryError


def hopeless(kind):
    note("hopeless")
    raise {"payload": JobError, "media": MediaError, "machine": MachineError}[kind]("the one sentence")


def fail_once():
    """Fails at the first attempt of this job."""
    job = get_current_job()
    if job.connection.incr(f"test:attempts:{job.id}") == 1:
        raise ValueError("at first")
    return "at last"


def ask_again():
    """Returns RQ's Retry at the first attempt."""
    job = get_current_job()
    return Retry(max=2) if job.connection.incr(f"test:attempts:{job.id}") == 1 else "at last"


def unwritable_meta():
    job = get_current_job()
    job.meta["what"] = object()
    raise ValueError("and its meta cannot be written")


def remember(text):
    note(text)
    return text


def until(name, text="waiter"):
    """Says that it runs, and goes on until the test sets a key."""
    connection = get_current_job().connection
    note(f"{text} begins")
    while not connection.exists(name):
        time.sleep(0.01)
    note(f"{text} ends")
    return text


def spin(seconds):
    """Without Redis."""
    note("spin begins")
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        time.sleep(0.01)
    return "spun"


def take(mebibytes):
    """Takes memory for a moment."""
    return len(bytearray(b"\1") * (mebibytes << 20))


def hold(mebibytes, name):
    """Takes memory until the test sets a key."""
    space = bytearray(b"\1") * (mebibytes << 20)
    until(name, "holder")
    return len(space)


def hang():
    """In C, where no exception of Python arrives."""
    note("hang begins")
    ctypes.CDLL(None).sleep(60)


def die():
    """As a crash in a library ends the process."""
    note("die begins")
    os.kill(os.getpid(), 9)


def threads():
    """Names of this process's threads."""
    return sorted(one.name for one in threading.enumerate())


def end_heartbeat():
    """Make the thread that renews leases end, as a fault in it would."""
    [thread] = [one for one in threading.enumerate() if one.name == "heartbeat"]
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread.ident), ctypes.py_object(SystemExit))


def _private():
    pass


def succeeded(job, connection, result):
    connection.rpush(LIST, f"success {job.id} {result}")


def failed(job, connection, kind, value, traceback):
    connection.rpush(LIST, f"failure {job.id} {kind.__name__}")


def failing_callback(job, connection, result):
    raise ValueError("the callback fails")


def stopped(job, connection):
    connection.rpush(LIST, f"stopped {job.id}")
