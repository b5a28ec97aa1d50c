"""`processingpool submit`, `jobs` and `status` as a user types them."""

from __future__ import annotations

import json

import pytest
import yaml

from pool_client import cli
from pool_contract import keys
from pool_contract.local import LocalEndpoint, read_endpoint, state_folder, write_endpoint
from pool_contract.messages import PoolSettings
from pool_contract.scripts import Scripts, publish_settings
from pool_operator.cli import status


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.delenv("PROCESSINGPOOL_REDIS_URL", raising=False)
    monkeypatch.setenv("RQ_KEY_PREFIX", "rq")
    return tmp_path


@pytest.fixture
def say(capsys):
    """Run a command: (exit status, stdout, stderr)."""

    def call(*arguments):
        answer = (status if arguments[0] == "status" else cli).main(arguments)
        return answer, *capsys.readouterr()

    return call


def pool_file(folder, *, redis=None, queues=("speech", "later")):
    spec = {
        "queues": [{"name": name} for name in queues],
        "maxReplicas": 1,
        "template": {"spec": {"containers": [{"name": "worker", "image": "x"}]}},
    }
    pool = {
        "apiVersion": "processingpool.dev/v1alpha1",
        "kind": "ProcessingPool",
        "metadata": {"name": "speech", "namespace": "media"},
        "spec": spec | ({"redis": redis} if redis else {}),
    }
    (folder / "pool.yaml").write_text(yaml.safe_dump(pool))


def test_files_go_to_the_pools_first_queue_and_are_listed(say, valkey, folder):
    pool_file(folder, redis={"host": "127.0.0.1", "port": valkey.port})
    for name in ("a.mp3", "b.mp3"):
        (folder / name).touch()
    code, out, err = say("submit", "--pool", "pool.yaml", "*.mp3", "--language", "en")
    assert (code, err) == (0, "")
    assert "2 jobs on queue 'speech'" in out
    code, out, _ = say("submit", "--pool", "pool.yaml", "a.mp3", "b.mp3", "--language", "en")
    assert "0 jobs on queue 'speech', 2 were there already" in out
    code, out, _ = say("jobs", "list", "--pool", "pool.yaml", "--json")
    assert [one["description"] for one in json.loads(out)] == ["a.mp3", "b.mp3"]
    code, out, _ = say("jobs", "--pool", "pool.yaml", "--status", "failed")
    assert (code, out.strip()) == (0, "no jobs")
    code, out, _ = say("submit", "--redis-url", valkey.url, "a.mp3", "--queue", "later", "--again", "--quiet")
    with valkey.client() as redis:
        assert redis.lrange(keys.queue("rq", "later"), 0, -1) == [out.strip().encode()]


def test_jobs_are_cancelled_and_retried_by_id_each_with_its_own_answer(say, valkey, folder):
    (folder / "a.mp3").touch()
    _, out, _ = say("submit", "--redis-url", valkey.url, "a.mp3", "--quiet")
    job = out.strip()
    code, out, err = say("jobs", "cancel", job, "nothing", "--redis-url", valkey.url)
    assert code == 1
    assert f"{job}  canceled" in out
    assert "there is no job 'nothing'" in err
    code, out, _ = say("jobs", "retry", job, "--redis-url", valkey.url)
    assert (code, out.strip()) == (0, f"{job}  queued again")
    say("jobs", "cancel", job, "--redis-url", valkey.url)
    code, out, _ = say("jobs", "follow", job, "--redis-url", valkey.url)
    assert (code, out.strip()) == (1, f"{job}  canceled  a.mp3")


def test_a_pool_of_this_machine_is_found_by_its_state_folder(say, valkey, folder):
    pool_file(folder)
    (folder / "a.mp3").touch()
    code, _, err = say("submit", "--pool", "pool.yaml", "a.mp3")
    assert code == 2
    assert "processingpool run pool.yaml" in err
    state = state_folder("media", "speech")
    state.mkdir(parents=True)
    write_endpoint(
        state, LocalEndpoint(namespace="media", name="speech", pool="uid", host="127.0.0.1", port=valkey.port)
    )
    code, _out, err = say("submit", "--pool", "pool.yaml", "a.mp3")
    assert (code, err) == (0, "")
    with valkey.client() as redis:
        assert redis.llen(keys.queue("rq", "speech")) == 1
    valkey.stop()
    code, _, err = say("jobs", "--pool", "pool.yaml")
    assert code == 2
    assert "does the pool run?" in err
    assert len(err.strip().splitlines()) == 1


def test_the_endpoints_file_is_for_its_owner_and_holds_no_surprise(folder):
    endpoint = LocalEndpoint(
        namespace="media", name="speech", pool="uid", host="127.0.0.1", port=7000, password="p@ss/word"
    )
    write_endpoint(folder, endpoint)
    assert (folder / "redis.json").stat().st_mode & 0o77 == 0
    assert read_endpoint(folder) == endpoint
    assert endpoint.url == "redis://:p%40ss%2Fword@127.0.0.1:7000/0"
    assert "p@ss" not in repr(endpoint)
    (folder / "redis.json").write_text("{")
    assert read_endpoint(folder) is None


def test_status_shows_pools_that_were_served_and_says_when_there_is_none(say, valkey, folder):
    code, _, err = say("status", "--redis-url", valkey.url)
    assert code == 1
    assert "no pool has been served" in err
    settings = PoolSettings(namespace="media", name="speech", queues=("speech", "later"))
    with valkey.client() as redis:
        Scripts(redis).run(publish_settings("rq", pool="uid", epoch=1, settings=settings))
        redis.set(keys.queue("rq", "later"), "not a list")
    pool_file(folder, redis={"host": "127.0.0.1", "port": valkey.port})
    code, out, _ = say("status", "pool.yaml")
    assert code == 0
    assert "media/speech  0 replicas" in out
    assert "rq:queue:later" in out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["submit", "a.mp3"], "which Redis?"),
        (["submit"], "--help lists the options"),
        (["submit", "--redis-url", "http://x", "a.mp3"], "--redis-url 'http://x'"),
        (["submit", "--redis-url", "redis://127.0.0.1:1/0", "no.mp3"], "'no.mp3': there is no such file"),
        (["submit", "--redis-url", "redis://127.0.0.1:1/0", "a.mp3"], "Redis at 127.0.0.1:1/0 cannot be used"),
        (["submit", "--redis-url", "redis://u:secret@127.0.0.1:1/0", "a.mp3"], "127.0.0.1:1/0"),
        (["submit", "--pool", "none.yaml", "a.mp3"], "none.yaml"),
        (["jobs", "drop"], "drop"),
        (["jobs", "cancel", "--redis-url", "redis://127.0.0.1:1/0"], "which jobs?"),
        (["status"], "which Redis?"),
        (["status", "none.yaml"], "none.yaml"),
        (["status", "--redis-url", "redis://127.0.0.1:1/0"], "Redis at 127.0.0.1:1/0 cannot be used"),
    ],
)
def test_wrong_input_is_one_sentence_and_status_2(say, folder, arguments, words):
    (folder / "a.mp3").touch()
    code, out, err = say(*arguments)
    assert (code, out) == (2, "")
    assert words in err
    assert "secret" not in err
    assert len(err.strip().splitlines()) == 1


def test_a_job_that_no_worker_would_take_is_refused_before_anything_is_submitted(say, valkey, folder):
    (folder / "a.mp3").touch()
    code, _, err = say("submit", "--redis-url", valkey.url, "a.mp3", "--language", "English")
    assert code == 2
    assert "a.mp3: language: must be a code of two or three small letters" in err
    with valkey.client() as redis:
        assert redis.dbsize() == 0


def test_a_queue_that_the_pool_does_not_serve_is_refused(say, valkey, folder):
    pool_file(folder, redis={"host": "127.0.0.1", "port": valkey.port})
    (folder / "a.mp3").touch()
    code, _, err = say("submit", "--pool", "pool.yaml", "a.mp3", "--queue", "other")
    assert code == 2
    assert "the pool serves speech, later" in err
