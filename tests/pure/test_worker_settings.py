"""Flags and environment become one object, or one sentence."""

from __future__ import annotations

import pytest

from pool_worker import flags
from pool_worker.errors import WorkerError
from pool_worker.settings import Settings, environment_name, export, flag_name, load


def settings(*arguments, **environment):
    return load(flags.read(list(arguments)), {environment_name(name): value for name, value in environment.items()})


def sentence(*arguments, **environment):
    with pytest.raises(WorkerError) as caught:
        settings(*arguments, **environment)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_with_nothing_said_it_stands_in_for_rq_worker():
    it = settings()
    assert it.queues == ("default",)
    assert it.redis_url == "redis://localhost:6379/0"
    assert it.serializer == "json"
    assert it.allow == ("pool_worker.jobs:*",)
    assert it.standalone
    assert it.replica != settings().replica


def test_the_operator_s_environment_is_read():
    it = settings(
        pool="media/speech",
        pool_uid="u",
        replica="r",
        queues="urgent, default",
        grace_seconds="120",
        slots="3",
        run_log="1",
    )
    assert not it.standalone
    assert (it.queues, it.grace_seconds, it.slots, it.replica, it.run_log) == (("urgent", "default"), 120, 3, "r", True)


def test_a_flag_wins_over_the_environment_and_an_empty_variable_is_none():
    it = settings("a", "b", "--slots", "2", "--allow", "x.y:*", "--allow", "x:z", queues="c", slots="5", model="")
    assert (it.queues, it.slots, it.allow, it.model) == (("a", "b"), 2, ("x.y:*", "x:z"), None)


def test_each_field_has_a_flag_with_its_variable_in_the_help(capsys):
    with pytest.raises(SystemExit):
        flags.read(["--help"])
    text = capsys.readouterr().out
    for field in Settings.model_fields:
        assert environment_name(field) in text
        assert field == "queues" or flag_name(field) in text


def test_what_rq_worker_reads_is_read():
    assert load({}, {"RQ_REDIS_URL": "redis://there:1/2"}).redis_url == "redis://there:1/2"
    assert load({}, {"RQ_KEY_PREFIX": "mine"}).key_prefix == "mine"


@pytest.mark.parametrize(
    ("arguments", "environment", "says"),
    [
        (("--slots", "0"), {}, "--slots (PROCESSINGPOOL_SLOTS) is '0': must be at least 1"),
        ((), {"slots": "many"}, "--slots (PROCESSINGPOOL_SLOTS) is 'many': "),
        (("--allow", "os"), {}, "--allow (PROCESSINGPOOL_ALLOW): 'os' is no pattern: write package.module:function"),
        (("a b",), {}, "QUEUE (PROCESSINGPOOL_QUEUES): 'a b' is no queue name"),
        (
            ("--serializer", "yaml"),
            {},
            "--serializer (PROCESSINGPOOL_SERIALIZER) is 'yaml': must be 'json' or 'pickle'",
        ),
        (("--heartbeat-seconds", "50"), {}, "--lease-seconds (60) must be at least twice --heartbeat-seconds (50)"),
        ((), {"pool_uid": "u"}, "PROCESSINGPOOL_POOL_UID is set but PROCESSINGPOOL_REPLICA is not"),
        (("--url", "redis://x:1/abc"), {}, "--url (PROCESSINGPOOL_REDIS_URL): write redis://host:port/database"),
        (("--redis-ca-file", "/none"), {}, "--redis-ca-file (PROCESSINGPOOL_REDIS_CA_FILE): '/none' cannot be read"),
        ((), {"burst": "maybe"}, "--burst (PROCESSINGPOOL_BURST) is 'maybe': must be true or false"),
        (("--folders", "/media,out"), {}, "--folders (PROCESSINGPOOL_FOLDERS): 'out' must be an absolute path"),
        (("--nothing",), {}, "unrecognized arguments: --nothing; see processingpool worker --help"),
        (("--slots",), {}, "argument --slots: expected one argument; see processingpool worker --help"),
    ],
)
def test_a_wrong_value_is_one_sentence_with_flag_and_variable(arguments, environment, says):
    assert sentence(*arguments, **environment).startswith(says)


@pytest.mark.parametrize("url", ["http://me:secret@host", "redis://me:secret@host:port", "nonsense secret"])
def test_a_secret_is_never_shown(url):
    assert "secret" not in sentence("--url", url)
    assert "secret" not in repr(settings("--url", "redis://me:secret@host", redis_password="secret"))


def test_a_flag_reaches_the_code_of_jobs_as_its_variable_would():
    environment = {}
    export(settings("--model", "tiny.en", "--run-log", "--output", "/out", "--key-prefix", "mine"), environment)
    assert environment["PROCESSINGPOOL_MODEL"] == "tiny.en"
    assert environment["PROCESSINGPOOL_RUN_LOG"] == "1"
    assert environment["PROCESSINGPOOL_OUTPUT"] == "/out"
    assert environment["PROCESSINGPOOL_FOLDERS"] == ""
    assert environment["RQ_KEY_PREFIX"] == environment["PROCESSINGPOOL_KEY_PREFIX"] == "mine"
    assert environment["PROCESSINGPOOL_REPLICA"]
    export(settings("--folders", "/media, /out"), environment)
    assert environment["PROCESSINGPOOL_FOLDERS"] == "/media,/out"


@pytest.mark.parametrize(("grace", "margin"), [(1, 0.25), (8, 2), (30, 5), (7200, 5)])
def test_jobs_are_handed_back_a_little_before_the_grace_ends(grace, margin):
    assert settings("--grace-seconds", str(grace)).stop_margin_seconds == margin
