"""The local backend on real processes: the contract of every backend, and what only processes do."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import asynccontextmanager

import pytest
from tests.pure.backend_contract import BackendContract, drive, ready, target
from tests.redis.local_harness import BROKEN, STEADY, STUBBORN, local

from pool_operator.backends.local.replica import Cause
from pool_operator.engine.types import ReplicaPhase
from pool_operator.names import ConditionReason


class TestLocalBackend(BackendContract):
    @asynccontextmanager
    async def harness(self):
        with tempfile.TemporaryDirectory() as folder:
            async with local(folder) as it:
                yield it


def alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    with open(f"/proc/{pid}/stat") as file:
        return file.read().rpartition(")")[2].split()[0] != "Z"


def wait_for(condition, what, seconds=30.0):
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, f"never: {what}"
        time.sleep(0.02)
    return found


def test_a_killed_process_is_gone_told_and_started_again_under_a_new_id(tmp_path):
    async def scenario():
        async with local(tmp_path) as it:
            await it.backend.apply(it.pool, target(2))
            first = ready(await it.until(lambda view: len(ready(view)) == 2, "two ready"))
            os.kill(it.process(first[0]).pid, signal.SIGKILL)
            view = await it.until(lambda view: len(view.replicas) == 1, "one left")
            assert view.wanted == 2
            assert view.capacity_problem is None
            assert abs(view.out_of_memory_at - time.time()) < 60  # who else would send SIGKILL
            await drive(it, lambda _: target(2), lambda view: len(ready(view)) == 2, "two again")
            assert it.ended == [first[0]]
            assert first[0] not in ready(it.backend.view(it.pool))

    asyncio.run(scenario())


def test_a_replica_that_died_is_not_started_again_when_fewer_are_wanted(tmp_path):
    async def scenario():
        async with local(tmp_path) as it:
            await it.backend.apply(it.pool, target(2))
            first = ready(await it.until(lambda view: len(ready(view)) == 2, "two ready"))
            os.kill(it.process(first[0]).pid, signal.SIGKILL)
            await it.until(lambda view: len(view.replicas) == 1, "one left")
            applied = await it.backend.apply(it.pool, target(1))
            assert applied.wanted == 1
            assert ready(it.backend.view(it.pool)) == first[1:]

    asyncio.run(scenario())


def test_starts_that_fail_are_told_in_the_workers_own_words_and_tried_ever_more_seldom(tmp_path):
    async def scenario():
        async with local(tmp_path, BROKEN) as it:
            waits = []

            def wish(_view):
                return target(4)

            for _ in range(3):
                applied = await it.backend.apply(it.pool, wish(None))
                await it.until(lambda view: not view.replicas, "all ended")
                waits.append((await it.backend.apply(it.pool, wish(None))).wait_seconds)
                await asyncio.sleep(waits[-1] + 0.01)
            assert waits[0] < waits[1] < waits[2]
            problem = it.backend.view(it.pool).capacity_problem
            assert problem.reason is ConditionReason.STARTS_FAILING
            assert "exit status 1" in problem.message
            assert "the model is missing: fetch it" in problem.message
            # the first round tried all four at once, the later ones a single one each
            assert len(it.backend.history) == 6
            assert applied.wanted == 4

            it.code = STEADY
            await drive(it, wish, lambda view: len(ready(view)) == 4, "four ready")
            assert it.backend.view(it.pool).capacity_problem is None

    asyncio.run(scenario())


def test_a_command_that_is_not_there_is_a_problem_and_not_an_exception(tmp_path):
    async def scenario():
        async with local(tmp_path) as it:
            it.command = ("no-such-command-here",)
            applied = await it.backend.apply(it.pool, target(2))
            assert applied.wait_seconds > 0
            problem = it.backend.view(it.pool).capacity_problem
            assert problem.reason is ConditionReason.STARTS_FAILING
            assert "no-such-command-here" in problem.message

    asyncio.run(scenario())


def test_a_drained_replica_that_does_not_end_is_made_to(tmp_path, monkeypatch):
    monkeypatch.setattr("pool_operator.backends.local.backend.KILL_MARGIN_SECONDS", 0.0)

    async def scenario():
        async with local(tmp_path, STUBBORN, grace_seconds=0.3) as it:
            await it.backend.apply(it.pool, target(1))
            first = ready(await it.until(lambda view: len(ready(view)) == 1, "one ready"))
            await it.backend.apply(it.pool, target(0, drained=first))
            assert it.backend.view(it.pool).replicas[0].phase is ReplicaPhase.TERMINATING
            await it.until(lambda view: not view.replicas, "none left")
            assert it.process(first[0]).returncode == -signal.SIGKILL
            assert it.backend.view(it.pool).out_of_memory_at is None  # that was us
            assert it.backend.history[0].cause is Cause.SCALING

    asyncio.run(scenario())


def test_what_a_dead_worker_started_does_not_go_on_without_it(tmp_path):
    code = f"""
import pathlib, signal, subprocess, sys
child = subprocess.Popen([sys.executable, "-S", "-c", "import signal; signal.pause()"])
pathlib.Path({str(tmp_path / "child")!r}).write_text(str(child.pid))
pathlib.Path(sys.argv[1]).touch()
signal.pause()
"""

    async def scenario():
        async with local(tmp_path, code) as it:
            await it.backend.apply(it.pool, target(1))
            first = ready(await it.until(lambda view: len(ready(view)) == 1, "one ready"))
            child = int((tmp_path / "child").read_text())
            assert alive(child)
            os.kill(it.process(first[0]).pid, signal.SIGKILL)
            await it.until(lambda view: not view.replicas, "gone")
            for _ in range(500):
                if not alive(child):
                    return
                await asyncio.sleep(0.01)
            raise AssertionError("the child lives on")

    asyncio.run(scenario())


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="PR_SET_PDEATHSIG is Linux's")
def test_a_worker_is_told_to_end_when_its_parent_is_killed(tmp_path):
    code = f"""
import asyncio, os, pathlib, sys
from pool_operator.backends.local.process import start

async def main():
    command = (sys.executable, "-S", "-c", {STEADY!r}, {str(tmp_path / "ready")!r})
    process = await start(command, environment={{}}, log=pathlib.Path({str(tmp_path / "log")!r}))
    print(process.pid, flush=True)
    await process.wait()

asyncio.run(main())
"""
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    try:
        child = int(parent.stdout.readline())
        wait_for((tmp_path / "ready").exists, "the worker is ready")
        assert alive(child)
    finally:
        parent.kill()
        parent.wait()
        parent.stdout.close()
    wait_for(lambda: not alive(child), "the worker has ended")
