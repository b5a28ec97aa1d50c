"""The worker's small parts: interrupts, time-outs, runs, the bell, memory, health."""

from __future__ import annotations

import subprocess
import sys
import threading
import time

import pytest
import redis
from rq.timeouts import JobTimeoutException

from pool_contract.scripts import Claimed
from pool_worker import memory
from pool_worker.bell import Bell
from pool_worker.connection import Link, pause_seconds, sentence
from pool_worker.errors import JobInterrupt
from pool_worker.health import health_document
from pool_worker.interrupts import Deadline, Interrupts, Watchdog
from pool_worker.run import Run, RunPhase

GIB = 1024**3
FOREVER = 60.0


def a_run():
    return Run(Claimed("job", "default", "e1", alone=False, exhausted=False, losses=0))


# --- interrupts -----------------------------------------------------------------------------------------------------


def test_an_armed_thread_is_interrupted_and_an_unarmed_one_is_not():
    interrupts, seen, go = Interrupts(), [], threading.Event()
    assert not interrupts.fire(JobInterrupt)

    def work():
        interrupts.arm("first")
        go.set()
        try:
            while True:
                time.sleep(0.001)
        except JobInterrupt:
            seen.append("interrupted")
        finally:
            interrupts.disarm()

    thread = threading.Thread(target=work)
    thread.start()
    go.wait(FOREVER)
    assert not interrupts.fire(JobInterrupt, "something else")
    assert interrupts.fire(JobInterrupt, "first")
    thread.join(FOREVER)
    assert seen == ["interrupted"]
    assert not interrupts.fire(JobInterrupt)


def test_an_interrupt_that_comes_at_the_very_end_is_taken_back():
    interrupts, seen = Interrupts(), []

    def job():
        try:
            interrupts.arm("job")
        finally:
            interrupts.disarm()

    def work():
        for _ in range(2000):
            try:
                job()
            except JobInterrupt:  # it may still come while disarm is being entered
                interrupts.disarm()
            _bookkeeping()
        seen.append("clean")

    thread = threading.Thread(target=work)
    thread.start()
    while thread.is_alive():
        interrupts.fire(JobInterrupt)
    assert seen == ["clean"]


def _bookkeeping():
    """Nothing may arrive here."""
    for _ in range(10):
        time.monotonic()


def deadline(timeout, *, cap=FOREVER, stuck=lambda: None, stuck_seconds=FOREVER, interrupts=None, watchdog=None):
    return Deadline(
        timeout,
        JobTimeoutException,
        job_id="x",
        interrupts=interrupts or Interrupts(),
        watchdog=watchdog or started(),
        cap=lambda: cap,
        stuck_seconds=stuck_seconds,
        stuck=stuck,
    )


def started():
    watchdog = Watchdog()
    watchdog.start()
    return watchdog


@pytest.mark.parametrize(
    ("timeout", "cap", "says"), [(0.05, 9, "0.05"), (-1, 0.05, "0.05"), (100, 0.05, "0.05"), (0, 0.05, "0.05")]
)
def test_a_time_out_is_capped_and_rqs_no_time_out_is_the_cap(timeout, cap, says):
    end = time.monotonic() + FOREVER

    def work():
        with deadline(timeout, cap=cap):
            while time.monotonic() < end:
                time.sleep(0.001)

    with pytest.raises(JobTimeoutException, match=rf"exceeded maximum timeout value \({says} seconds\)"):
        work()


def test_code_that_ignores_its_time_out_is_reported():
    stuck = threading.Event()
    with deadline(0.01, stuck=stuck.set, stuck_seconds=0.01):
        ignored = False
        try:
            stuck.wait(FOREVER)
        except JobTimeoutException:
            ignored = True
        assert ignored
        assert stuck.wait(FOREVER)


def test_a_time_out_of_one_job_never_hits_the_next():
    interrupts, watchdog = Interrupts(), started()
    first = deadline(0.01, interrupts=interrupts, watchdog=watchdog)
    second = deadline(FOREVER, interrupts=interrupts, watchdog=watchdog)
    with second:
        first._fire()  # as if the watchdog had been about to call it
        first._look()
        for _ in range(1000):
            pass
    assert not watchdog._due


def test_the_watchdog_calls_the_earliest_first():
    watchdog, called, done = Watchdog(), [], threading.Event()
    watchdog.set("late", 0.1, lambda: (called.append("late"), done.set()))
    watchdog.set("early", 0.01, lambda: called.append("early"))
    watchdog.set("never", 0.02, lambda: called.append("never"))
    watchdog.cancel("never")
    watchdog.start()
    assert done.wait(FOREVER)
    assert called == ["early", "late"]


# --- runs ------------------------------------------------------------------------------------------------------------


def test_a_run_is_ended_by_one_only():
    finishing, taken = a_run(), a_run()
    assert finishing.begin_finish()
    assert not finishing.take_away(RunPhase.RELEASED, pytest.fail)
    assert not finishing.interrupt(pytest.fail)
    assert finishing.is_open
    interrupted = []
    assert taken.take_away(RunPhase.LOST, lambda: interrupted.append(1))
    assert interrupted == [1]
    assert not taken.begin_finish()
    assert not taken.is_open


def test_an_interrupted_run_may_still_record_its_end():
    run, interrupted = a_run(), []
    assert run.interrupt(lambda: interrupted.append(1))
    assert interrupted == [1]
    assert run.begin_finish()


# --- the bell ---------------------------------------------------------------------------------------------------------


def test_one_ring_wakes_one_slot():
    bell, woken = Bell(), []

    def slot():
        bell.wait(FOREVER)
        woken.append(1)

    threads = [threading.Thread(target=slot) for _ in range(3)]
    for thread in threads:
        thread.start()
    _until(lambda: bell.waiting == 3)
    bell.ring()
    _until(lambda: bell.waiting == 2)
    _until(lambda: len(woken) == 1)
    bell.ring_all()
    for thread in threads:
        thread.join(FOREVER)
    assert len(woken) == 3


def test_a_ring_just_before_the_wait_is_not_missed():
    bell = Bell()
    bell.ring(0.001)
    bell.wait(FOREVER)  # returns


def _until(condition):
    end = time.monotonic() + FOREVER
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.001)


# --- memory and health ---------------------------------------------------------------------------------------------------


def tree(root, files):
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root / "proc", root / "cgroup"


@pytest.mark.parametrize(
    ("files", "limit"),
    [
        ({"proc/self/cgroup": "0::/\n", "cgroup/memory.max": f"{2 * GIB}\n"}, 2 * GIB),
        ({"proc/self/cgroup": "0::/a/b\n", "cgroup/a/b/memory.max": "max\n", "cgroup/a/memory.max": f"{GIB}\n"}, GIB),
        ({"proc/self/cgroup": "0::/elsewhere\n", "cgroup/memory.max": f"{GIB}\n"}, GIB),
        ({"proc/self/cgroup": "0::/\n", "cgroup/memory.max": "max\n"}, 8 * GIB),
        (
            {"proc/self/cgroup": "9:memory:/d\n1:name=x:/\n", "cgroup/memory/d/memory.limit_in_bytes": f"{3 * GIB}\n"},
            3 * GIB,
        ),
        ({"proc/self/cgroup": "9:memory:/\n", "cgroup/memory/memory.limit_in_bytes": f"{2**63 - 4096}\n"}, 8 * GIB),
        ({}, 8 * GIB),
    ],
)
def test_the_memory_limit_is_the_smallest_on_the_way_up(tmp_path, files, limit):
    proc, cgroups = tree(tmp_path, {"proc/meminfo": f"MemTotal: {8 * GIB // 1024} kB\n", **files})
    assert memory.limit_bytes(proc, cgroups) == limit


def test_what_cannot_be_read_is_unknown(tmp_path):
    assert memory.limit_bytes(tmp_path, tmp_path) is None
    assert memory.used_bytes(tmp_path) is None


def test_used_memory_is_ours():
    assert 1 << 20 < memory.used_bytes() < memory.limit_bytes()


def test_health_has_the_shape_that_clients_know():
    assert health_document(
        status="healthy",
        used_bytes=int(5.6 * GIB),
        limit_bytes=int(7.6 * GIB),
        cpu_percent=45,
        waiting=3,
        active=1,
        completed=156,
        uptime_seconds=3600.4,
    ) == {
        "status": "healthy",
        "memory": {"used": "5.6GB", "limit": "7.6GB", "percentage": 74},
        "cpu": {"usage": 45},
        "queue": {"waiting": 3, "active": 1, "completed": 156},
        "uptime": 3600,
    }


# --- Redis' troubles ----------------------------------------------------------------------------------------------------------


def test_a_trouble_is_said_once_and_its_end_once(caplog):
    caplog.set_level("INFO")
    link = Link("host:1/0")
    link.up()
    for _ in range(3):
        link.down(redis.ConnectionError("gone"))
    link.up()
    link.up()
    assert caplog.messages == [
        "Redis at host:1/0 cannot be reached (gone); trying again",
        "Redis at host:1/0 is back",
    ]


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (redis.AuthenticationError("WRONGPASS"), "PROCESSINGPOOL_REDIS_PASSWORD"),
        (redis.exceptions.NoPermissionError("no"), "give it more rights"),
        (redis.exceptions.OutOfMemoryError("OOM"), "raise maxmemory"),
        (redis.exceptions.ReadOnlyError("READONLY"), "name the primary"),
        (redis.exceptions.BusyLoadingError(), "is loading its data"),
        (redis.ResponseError("odd"), "answers with an error: odd"),
    ],
)
def test_each_trouble_has_its_sentence(error, says):
    assert says in sentence(error, "host:1/0")


def test_pauses_grow_and_end_growing():
    pauses = [pause_seconds(attempt) for attempt in range(50)]
    assert pauses == sorted(pauses)
    assert pauses[0] == 0.1
    assert pauses[-1] == 2.0


def test_the_signal_handler_is_there_before_anything_heavy_is_imported():
    code = "import sys, pool_worker.app; print([name for name in ('rq', 'redis', 'pydantic', 'numpy') if name in sys.modules])"
    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "[]\n"
