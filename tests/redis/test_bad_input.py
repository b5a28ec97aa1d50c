"""What a user types wrongly, as a user sees it; docs/bad-input.md lists every row."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from importlib import import_module

import pytest
import yaml
from redis import Redis
from rq import Queue
from rq.serializers import JSONSerializer
from tests.redis.local_run import COMMAND, machine, until

from pool_contract import keys
from pool_operator.cli import COMMANDS


@pytest.fixture
def call(tmp_path):
    """Any command, to its end: (exit status, stdout, stderr)."""

    def to_its_end(*arguments, **environment):
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("PROCESSINGPOOL_", "RQ_"))}
        done = subprocess.run(
            [COMMAND, *arguments],
            cwd=tmp_path,
            env={**kept, "XDG_STATE_HOME": str(tmp_path / "state"), "COLUMNS": "200", **environment},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert "Traceback" not in done.stderr
        return done.returncode, done.stdout, done.stderr

    return to_its_end


def refused(answer, *words):
    status, out, err = answer
    assert (status, out) == (2, "")
    assert len(err.strip().splitlines()) == 1, err
    for one in words:
        assert one in err


@pytest.fixture
def clip(tmp_path):
    (tmp_path / "a.mp3").touch()
    return "a.mp3"


NOWHERE = "redis://127.0.0.1:1/0"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["jobs", "--redis-url", "redis://127.0.0.1:99999/0"], "--redis-url 'redis://127.0.0.1:99999/0'"),
        (["jobs", "--redis-url", "redis://127.0.0.1:1/abc"], "write redis://host:port/database"),
        (["jobs", "--redis-url", f"{NOWHERE}?db=abc"], "what follows the ? is not understood (Invalid value for 'db'"),
        (["submit", "a.mp3", "--redis-url", f"{NOWHERE}?foo=1"], "got an unexpected keyword argument 'foo'"),
        (
            ["status", "--redis-url", f"{NOWHERE}?decode_responses=1"],
            "(decode_responses: answers are read as bytes here)",
        ),
        (["jobs", "--redis-url", NOWHERE, "--limit", "0"], "--limit 0: must be at least 1"),
        (["jobs", "--redis-url", NOWHERE, "--status", "fialed"], "--status 'fialed': there are queued"),
        (["jobs", "list", "abc", "--redis-url", NOWHERE], "`jobs list` takes no job ids"),
        (["jobs", "list", "--all-failed", "--redis-url", NOWHERE], "--all-failed goes with `jobs retry` only"),
        (["jobs", "--redis-url", NOWHERE, "--queue", "a b"], "--queue 'a b': is no queue name"),
        (["submit", "--redis-url", NOWHERE, "a.mp3", "--queue", ""], "--queue '': is no queue name"),
        (["submit", "--redis-url", NOWHERE, "https://x/a.mp3"], "is a URL; only local files"),
        (["submit", "--redis-url", NOWHERE, "/dev/null"], "'/dev/null': is no regular file"),
        (["submit", "--redis-url", NOWHERE, "empty"], "'empty': there is no audio or video file in this folder"),
        (["crd", "extra"], "unrecognized arguments: extra"),
        (["crd", "--check", "none"], "--check none: cannot be read (No such file or directory)"),
    ],
)
@pytest.mark.usefixtures("clip")
def test_wrong_usage_is_one_sentence_and_status_2(capsys, tmp_path, monkeypatch, arguments, words):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    status = import_module(COMMANDS[arguments[0]][0]).main(arguments)
    refused((status, *capsys.readouterr()), words)


def test_there_is_no_such_command(call):
    status, out, err = call("rnu")
    assert (status, out) == (2, "")
    assert err.startswith("processingpool: there is no command 'rnu'")


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("POLL_SECONDS", "x", "--poll-seconds 'x' (PROCESSINGPOOL_OPERATOR_POLL_SECONDS): must be a number"),
        ("LOG_LEVEL", "loud", "--log-level 'loud' (PROCESSINGPOOL_OPERATOR_LOG_LEVEL): must be debug, info,"),
        ("LEADER_ELECTION", "maybe", "(PROCESSINGPOOL_OPERATOR_LEADER_ELECTION): must be true or false"),
    ],
)
def test_a_wrong_variable_of_the_operator_is_named(call, name, value, words):
    refused(call("operator", **{f"PROCESSINGPOOL_OPERATOR_{name}": value}), words)


@pytest.mark.parametrize(("content", "words"), [(None, "there is no such file"), (b"a: [1,", "it is not YAML")])
def test_a_kubeconfig_that_is_none_is_named(call, tmp_path, content, words):
    if content is not None:
        (tmp_path / "config").write_bytes(content)
    status, _, err = call("operator", "--health-port", "0", KUBECONFIG="config")
    assert status == 2
    assert f"no cluster to work on: KUBECONFIG 'config': {'is no kubeconfig file: ' * bool(content)}{words}" in err


def test_a_name_that_is_not_utf_8_is_refused_before_anything_is_submitted(call, valkey, tmp_path, clip):
    (tmp_path / os.fsdecode(b"caf\xe9.mp3")).touch()
    refused(call("submit", "--redis-url", valkey.url, "*.mp3"), r"caf\xe9.mp3': this file's name is not UTF-8")
    with valkey.client() as redis:
        assert redis.dbsize() == 0


def test_spaces_quotes_and_dashes_are_only_names(call, valkey, tmp_path):
    names = ["-i.mp3", "a 'b' \"c\".mp3", "two\nlines.mp3", "[bold]x.mp3"]
    for name in names:
        (tmp_path / name).touch()
    assert call("submit", "--redis-url", valkey.url, ".")[0] == 0
    _, out, _ = call("jobs", "--redis-url", valkey.url)
    assert {line.split("queued")[1].strip() for line in out.splitlines()[1:]} == {
        one.replace("\n", "?") for one in names
    }


def test_a_wrong_password_names_the_variables_and_the_right_one_is_taken_from_them(call, valkey, clip):
    with valkey.client() as redis:
        redis.config_set("requirepass", "right")
    try:
        for login in ("", ":wrong@"):
            url = f"redis://{login}127.0.0.1:{valkey.port}/0"
            refused(call("jobs", "--redis-url", url), "refuses the user or password", "PROCESSINGPOOL_REDIS_PASSWORD")
        assert call("submit", "--redis-url", valkey.url, clip, PROCESSINGPOOL_REDIS_PASSWORD="right")[0] == 0
        assert call("status", "--redis-url", valkey.url, PROCESSINGPOOL_REDIS_PASSWORD="right")[0] == 1
    finally:
        with Redis.from_url(valkey.url, password="right") as redis:
            redis.config_set("requirepass", "")


def test_a_key_of_the_wrong_type_is_named_and_the_file_can_be_submitted_once_it_is_gone(call, valkey, clip):
    with valkey.client() as redis:
        redis.set(keys.queue("rq", "default"), "mine")
        refused(call("submit", "--redis-url", valkey.url, clip), "the key 'rq:queue:default'", "delete or rename")
        refused(call("jobs", "--redis-url", valkey.url), "the key 'rq:queue:default'", "holds a string")
        redis.delete(keys.queue("rq", "default"))
        status, out, _ = call("submit", "--redis-url", valkey.url, clip)
        assert status == 0
        assert "1 job on queue 'default'" in out
        assert redis.llen(keys.queue("rq", "default")) == 1


def test_a_database_that_does_not_exist_is_said(call, valkey):
    refused(call("jobs", "--redis-url", f"redis://127.0.0.1:{valkey.port}/9999"), "no database of this number")


def test_a_read_only_replica_is_said(call, valkey, clip):
    with valkey.client() as redis:
        redis.replicaof("127.0.0.1", 1)
        try:
            refused(call("submit", "--redis-url", valkey.url, clip), "is a read-only replica: name its primary")
        finally:
            redis.replicaof("NO", "ONE")


def test_what_others_write_into_descriptions_moves_no_cursor(call, valkey):
    queue = Queue("default", connection=valkey.client(), serializer=JSONSerializer)
    queue.enqueue("x.y", description="\x1b[31mred\x07")
    _, out, _ = call("jobs", "--redis-url", valkey.url)
    assert "?[31mred?" in out
    assert "\x1b" not in out


def test_a_reader_that_has_seen_enough_is_no_error(call, tmp_path):
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "wb") as pipe:
        process = subprocess.run([COMMAND, "crd"], stdout=pipe, stderr=subprocess.PIPE, check=False, timeout=60)
    assert (process.returncode, process.stderr) == (141, b"")


def test_an_output_that_is_full_is_said():
    with open("/dev/full", "wb") as full:
        process = subprocess.run([COMMAND, "crd"], stdout=full, stderr=subprocess.PIPE, check=False, timeout=60)
    assert (process.returncode, process.stderr) == (1, b"processingpool crd: No space left on device\n")


def test_a_mistyped_variable_of_the_worker_is_told(tmp_path):
    environment = {**os.environ, "PROCESSINGPOOL_SLOTZ": "3"}
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen([COMMAND, "worker", "--url", NOWHERE], stderr=log, env=environment)
    try:
        sentence = "PROCESSINGPOOL_SLOTZ is no setting and has no effect; did you mean PROCESSINGPOOL_SLOTS?"
        until(lambda: sentence in (tmp_path / "log").read_text(), "the warning")
    finally:
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0


# --- run ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--grace-seconds", "nan"], "--grace-seconds nan: must be from 1 to 7200"),
        (["--queue", "quick"], "--queue goes with --submit only"),
        (["--output", "pool.yaml"], "--output pool.yaml: is a file; name a folder"),
        (["--report", "state"], "--report state: is a folder; name a file in it"),
    ],
)
def test_a_wrong_flag_of_run_starts_nothing(tmp_path, flags, words):
    with machine(tmp_path) as it:
        (tmp_path / "state").mkdir()
        done = it.call("run", "pool.yaml", *flags)
        refused((done.returncode, done.stdout, done.stderr), words)
        assert not it.state.exists()


def test_run_with_a_redis_of_ones_own_takes_the_password_from_the_environment(valkey, tmp_path, clip):
    redis = {"host": "127.0.0.1", "port": valkey.port, "credentialsSecretRef": {"name": "login"}}
    with valkey.client() as client:
        client.config_set("requirepass", "right")
    try:
        with machine(tmp_path, redis=redis) as it:
            wrong = it.call("run", "pool.yaml", PROCESSINGPOOL_REDIS_PASSWORD="wrong")
            refused(
                (wrong.returncode, wrong.stdout, wrong.stderr), "refuses the login", "PROCESSINGPOOL_REDIS_PASSWORD"
            )
            flags = ("--submit", clip, "--until-done")
            right = it.call("run", "pool.yaml", *flags, PROCESSINGPOOL_REDIS_PASSWORD="right")
            assert "1 file submitted to queue 'quick'" in right.stdout
            # the pool's allow-list has other functions: the job fails, and the run says why before it ends
            assert right.returncode == 1
            assert "failed: a.mp3 (" in right.stdout
            assert "'pool_worker.jobs.transcribe' is not on this worker's allow-list" in right.stdout
    finally:
        with Redis.from_url(valkey.url, password="right") as client:
            client.config_set("requirepass", "")


def test_run_names_a_key_of_the_wrong_type(valkey, tmp_path):
    with machine(tmp_path, port=valkey.port) as it, valkey.client() as redis:
        redis.set(keys.queue("rq", "quick"), "mine")
        process = it.start("--until-done", "--submit", "pool.yaml")
        assert process.wait(60) == 1
        assert "the key 'rq:queue:quick'" in it.log()
        assert "Traceback" not in it.log()


@pytest.mark.parametrize("seconds", [0.3, 1.0])
def test_ctrl_c_while_it_starts_leaves_no_traceback_and_no_process(tmp_path, seconds):
    with machine(tmp_path, minReplicas=1) as it:
        process = it.start("--plain")
        time.sleep(seconds)  # any moment will do: what is checked must hold at each
        process.send_signal(signal.SIGINT)
        assert process.wait(60) in {0, -signal.SIGINT}
        assert "Traceback" not in it.log()
        if (it.state / "processes").exists():
            assert it.processes() == []


def test_a_reader_that_ends_ends_the_run_in_order(tmp_path):
    with machine(tmp_path) as it:
        read, write = os.pipe()
        with os.fdopen(write, "wb") as pipe:
            process = subprocess.Popen(
                [COMMAND, "run", "pool.yaml", "--plain"],
                cwd=tmp_path,
                env=it.environment,
                stdout=pipe,
                stderr=subprocess.PIPE,
            )
        os.close(read)
        _, err = process.communicate(timeout=60)
        assert (process.returncode, err) == (0, b"")
        assert it.processes() == []


def test_two_documents_are_not_one_pool(tmp_path):
    with machine(tmp_path) as it:
        text = it.file.read_text()
        it.file.write_text(yaml.safe_dump_all([yaml.safe_load(text)] * 2))
        done = it.call("run", "pool.yaml")
        refused((done.returncode, done.stdout, done.stderr), "holds 2 YAML documents")
