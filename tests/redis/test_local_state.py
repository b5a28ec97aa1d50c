"""What is kept between runs on one machine, and the embedded server that keeps it."""

from __future__ import annotations

import asyncio
import signal
import socket
import subprocess
import sys

import pytest
from redis import AuthenticationError, Redis

from pool_operator.backends.local import server
from pool_operator.backends.local.server import EmbeddedServer, ServerError
from pool_operator.backends.local.state import PoolBusyError, StateFolder

SLEEPER = [sys.executable, "-S", "-c", "import signal; print(1, flush=True); signal.pause()"]
STUBBORN = [
    sys.executable,
    "-S",
    "-c",
    "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(1, flush=True)\nwhile True: signal.pause()",
]


@pytest.fixture
def state(tmp_path):
    it = StateFolder(tmp_path / "pool")
    with it.locked("media/speech"):
        yield it


def started(command):
    process = subprocess.Popen(command, stdout=subprocess.PIPE)
    process.stdout.readline()
    return process


def ended(process):
    process.stdout.close()
    return process.wait(20)


def test_a_second_run_is_refused_while_the_first_one_holds_the_folder(state):
    with pytest.raises(PoolBusyError, match=r"pool 'media/speech' runs on this machine already \(process \d+\)"):
        StateFolder(state.path).locked("media/speech").__enter__()
    assert state.path.stat().st_mode & 0o77 == 0


def test_the_uid_stays_and_epochs_only_rise_even_over_a_broken_file(state):
    assert state.uid() == StateFolder(state.path).uid()
    assert [state.next_epoch(), state.next_epoch()] == [1, 2]
    (state.path / "epoch").write_text("?")
    assert state.next_epoch() > 2


def test_processes_of_a_killed_run_are_ended_also_stubborn_ones(state, monkeypatch):
    monkeypatch.setattr("pool_operator.backends.local.state.LEFTOVER_SECONDS", 0.5)
    polite, stubborn = started(SLEEPER), started(STUBBORN)
    state.note("local-polite", polite.pid)
    state.note("local-stubborn", stubborn.pid)
    assert asyncio.run(state.end_leftovers()) == ["local-polite", "local-stubborn"]
    assert [ended(polite), ended(stubborn)] == [-signal.SIGTERM, -signal.SIGKILL]
    assert asyncio.run(state.end_leftovers()) == []


def test_another_process_that_got_the_same_pid_is_left_alone(state):
    stranger = started(SLEEPER)
    try:
        (state.path / "processes" / "local-gone").write_text(f"{stranger.pid} 12345")
        (state.path / "processes" / "local-broken").write_text("?")
        asyncio.run(state.end_leftovers())
        assert stranger.poll() is None
    finally:
        stranger.kill()
        ended(stranger)


def test_only_the_newest_logs_are_kept(state, monkeypatch):
    monkeypatch.setattr("pool_operator.backends.local.state.KEPT_LOGS", 2)
    for number in range(4):
        (state.logs / f"local-{number}.log").touch()
    (state.logs / "valkey.log").touch()
    state.prune_logs()
    assert len(list(state.logs.glob("local-*.log"))) == 2
    assert (state.logs / "valkey.log").exists()


def test_the_embedded_server_keeps_data_port_and_password_and_lets_nobody_else_in(state):
    async def scenario():
        first = await EmbeddedServer.start(state, port=None, password=None)
        with Redis(port=first.port) as stranger, pytest.raises(AuthenticationError):
            stranger.ping()
        with Redis(port=first.port, password=first.password) as client:
            client.rpush("list", "kept")
            assert client.config_get("notify-keyspace-events")["notify-keyspace-events"] != ""
            assert client.config_get("bind")["bind"] == "127.0.0.1"
        await first.stop()
        second = await EmbeddedServer.start(state, port=first.port, password=first.password)
        assert (second.port, second.password) == (first.port, first.password)
        with Redis(port=second.port, password=second.password) as client:
            assert client.lrange("list", 0, -1) == [b"kept"]
        await second.stop()

    asyncio.run(scenario())


def test_a_port_that_is_taken_meanwhile_is_replaced_by_another(state):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]

        async def scenario():
            server = await EmbeddedServer.start(state, port=port, password=None)
            assert server.port != port
            await server.stop()

        asyncio.run(scenario())


def test_data_that_cannot_be_read_is_told_with_the_servers_own_words(state):
    (state.data / "appendonlydir").write_text("a file where a folder belongs")
    with pytest.raises(ServerError, match=r"the embedded Valkey does not start: .+log: "):
        asyncio.run(EmbeddedServer.start(state, port=None, password=None))


def test_a_disk_that_is_too_full_for_the_servers_log_is_said(state, monkeypatch):
    (state.data / "appendonlydir").write_text("a file where a folder belongs")
    monkeypatch.setattr(server.process, "last_line", lambda _log: "")
    monkeypatch.setattr(server, "SMALLEST_DISK_BYTES", 2**62)
    with pytest.raises(ServerError, match=r"the disk of .+ is full: make room there"):
        asyncio.run(EmbeddedServer.start(state, port=None, password=None))
