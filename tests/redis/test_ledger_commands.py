"""explain, replay, report and export, as a user calls them: over files, a run on this machine, and Redis."""

from __future__ import annotations

import json
from importlib import import_module

import pytest
import yaml
from tests.fakes.pools import TEMPLATE, pool_object
from tests.pure.recorded_pool import RecordedPool

from pool_contract import keys, ledger
from pool_contract.local import state_folder
from pool_contract.scripts import Scripts
from pool_operator.cli import COMMANDS
from pool_operator.cli.ledger_command import told
from pool_operator.engine.record import Recording
from pool_operator.runtime.tape import about
from pool_operator.simulate.trace import read

POOL = pool_object("speech", queues=("urgent", "default"), max_replicas=8, budget={"pricePerReplicaHour": "0.36"})
NAME = "test/speech"


class Life(RecordedPool):
    """With no hard budget, and its spec never changes: what the simulator is asked about."""

    def __init__(self, decisions=500, seed=1, pool=POOL):
        spec = import_module("pool_operator.engine.spec").pool_spec(pool.spec, deleted=False)
        super().__init__(seed, spec=spec, about=about(pool), arrivals_per_second=0.004)
        self.run(decisions, odd=0.0)
        self.flush()


@pytest.fixture(scope="module")
def life():
    return Life()


@pytest.fixture(autouse=True)
def at_home(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("TZ", "UTC")
    monkeypatch.delenv("PROCESSINGPOOL_REDIS_URL", raising=False)


@pytest.fixture
def file(tmp_path, life):
    ledger.write_file(tmp_path / "ledger.jsonl", life.records)
    return "ledger.jsonl"


@pytest.fixture
def call(capsys):
    def to_its_end(*arguments):
        status = import_module(COMMANDS[arguments[0]][0]).main(list(arguments))
        return status, *capsys.readouterr()

    return to_its_end


def refused(answer, *words, status=2):
    found, out, err = answer
    assert (found, out) == (status, ""), err
    assert len(err.strip().splitlines()) == 1, err
    for one in words:
        assert one in err


def well(answer):
    status, out, _err = answer
    assert status == 0, answer
    return out


def in_redis(server, records, pool=POOL, *, epoch=7):
    with server.client() as redis:
        chunks = ledger.pack(records)
        Scripts(redis).run(ledger.append("rq", pool=pool.uid, epoch=epoch, chunks=chunks, after=None))


# --- explain ------------------------------------------------------------------------------------------------------------


def changes(life):
    """Decisions that changed something, as the ledger has them: the first of each stretch."""
    found = []
    for step in life.steps:
        essence = (
            step.decision.replicas,
            step.decision.slots,
            step.decision.reason,
            step.decision.limited_by,
            set(step.decision.drain),
            step.decision.granted,
        )
        if not found or found[-1][0] != essence:
            found.append((essence, step.decision))
    return [decision for _, decision in found]


def test_the_last_decision_is_explained_sentence_first(call, file, life):
    out = well(call("explain", file))
    last = changes(life)[-1]
    lines = out.splitlines()
    assert lines[0].startswith("ledger.jsonl  2026-11-25 ")
    assert lines[1] == f"{last.reason}: {last.message}"
    for name, value in last.inputs.items():
        words = name.removesuffix("_seconds").replace("_", " ")
        row = next(line for line in lines if line.startswith(words + "  "))
        assert f"{value:g}" in row if isinstance(value, float) else str(value) in row
    for name, number in last.steps:
        assert any(line.startswith(name) and line.rstrip().endswith(str(number)) for line in lines)


def test_what_bound_and_what_there_would_be_without_it(call, file, life):
    bound = next(one for one in changes(life) if one.limited_by is not None and one.without)
    out = well(call("explain", file, "--at", repr(bound.at)))
    assert f"limited by {bound.limited_by}" in out.splitlines()[0]
    limit, number = bound.without[0]
    rows = out.partition("without this limit")[2].splitlines()
    assert any(row.split() == [str(limit), str(number)] for row in rows)


def test_the_decision_in_force_at_a_time(call, file, life):
    for place in (3, 250, 499):
        at = life.steps[place].decision.at
        (found,) = json.loads(well(call("explain", file, "--at", repr(at), "--json")))
        expected = [one for one in changes(life) if one.at <= at][-1]
        assert (found["at"], found["replicas"], found["message"]) == (expected.at, expected.replicas, expected.message)
        assert found["steps"] == dict(expected.steps)
        assert found["inputs"] == expected.inputs


def test_the_last_few_and_all_of_them(call, file, life):
    found = json.loads(well(call("explain", file, "--last", "3", "--json")))
    assert [one["at"] for one in found] == [one.at for one in changes(life)[-3:]]
    everything = json.loads(well(call("explain", file, "--last", "9" * 30, "--json")))
    assert [one["at"] for one in everything] == [one.at for one in changes(life)]
    assert sum(one["calls"] for one in everything) == len(life.steps)


# --- replay -------------------------------------------------------------------------------------------------------------


def test_all_decisions_are_bit_equal(call, file):
    out = well(call("replay", file))
    assert out.startswith("500 decisions, all bit-equal (ledger.jsonl, 2026-11-25 ")


def test_a_part_begins_at_the_checkpoint_before_it(call, file, life):
    since, until = life.steps[200].decision.at, life.steps[300].decision.at
    out = well(call("replay", file, "--from", repr(since), "--to", repr(until)))
    assert 101 <= int(out.split()[0]) < 500
    assert int(well(call("replay", file, "--to", repr(until))).split()[0]) == 301


def test_the_first_difference_is_shown(call, tmp_path, life):
    records = json.loads(json.dumps(life.records))
    for record in records:
        if record["kind"] == "step" and record["observed"].get("all"):
            record["observed"]["all"]["wanted"] += 1
    ledger.write_file(tmp_path / "other.jsonl", records)
    status, out, _err = call("replay", "other.jsonl")
    assert status == 1
    assert out.startswith("the 1st decision differs, at 2026-11-25 ")
    assert "recorded" in out
    assert "replayed" in out


def test_another_memory_is_shown(call, tmp_path, life):
    records = json.loads(json.dumps(life.records))
    middle = [record for record in records if record["kind"] == "checkpoint"][1]
    middle["memory"]["unknown_since"] = 1.0
    ledger.write_file(tmp_path / "other.jsonl", records)
    status, out, _err = call("replay", "other.jsonl")
    assert status == 1
    assert out.startswith("what was learned differs after ")
    assert "unknown_since: recorded 1.0, replayed null" in out


def test_another_fingerprint_is_told(call, tmp_path):
    life = RecordedPool(1).run(20)
    ledger.write_file(tmp_path / "other.jsonl", life.flush())
    status, out, err = call("replay", "other.jsonl")
    assert status == 0
    assert out.startswith("20 decisions, all bit-equal")
    assert err.startswith("processingpool replay: recorded with test, replayed with engine ")


def test_a_gap_is_told(call, tmp_path):
    life = RecordedPool(1).run(20)
    life.recording.lost(since=life.now, until=life.now + 5, steps=9, why="Redis is away")
    life.run(20)
    ledger.write_file(tmp_path / "gap.jsonl", life.flush())
    out = well(call("replay", "gap.jsonl"))
    assert out.startswith("40 decisions, all bit-equal")
    assert "not recorded: 9 decisions in 1 gap, such as: Redis is away" in out
    assert "9 decisions after it not recorded: Redis is away" in well(call("explain", "gap.jsonl", "--last", "99"))


def test_a_gap_of_which_nobody_counted_the_decisions_is_told_so(call, tmp_path):
    life = RecordedPool(1).run(20)
    life.recording.lost(since=life.now, until=life.now + 5, steps=0, why="Redis is away")
    life.run(20)
    ledger.write_file(tmp_path / "gap.jsonl", life.flush())
    unknown = "an unknown number of decisions"
    assert f"not recorded: {unknown} in 1 gap, such as: Redis is away" in well(call("replay", "gap.jsonl"))
    assert f"{unknown} after it not recorded: Redis is away" in well(call("explain", "gap.jsonl", "--last", "99"))
    life.recording.lost(since=life.now, until=life.now + 5, steps=9, why="Redis is away")
    life.run(20)
    ledger.write_file(tmp_path / "gap.jsonl", life.records)
    assert "not recorded: at least 9 decisions in 2 gaps" in well(call("replay", "gap.jsonl"))


def test_a_sentence_that_held_for_a_while_says_that_it_is_the_first(call, file):
    found = json.loads(well(call("explain", file, "--last", "99", "--json")))
    longest = max(found, key=lambda one: one["calls"])
    assert longest["calls"] > 1
    out = well(call("explain", file, "--at", repr(longest["last_at"])))
    moments = [told(longest[name]) for name in ("at", "last_at")]
    assert f"times alike: the sentence is of the first time, at {moments[0]}; the last was at {moments[1]}" in out


def test_other_settings_are_simulated_beside_what_was(call, file, tmp_path):
    out = well(call("replay", file, "--set", "maxReplicas=1", "--set", "scaling.profile=Economy", "--plot", "plot.png"))
    assert "(recorded)" in out
    assert out.count("(simulated)") == 2
    most = next(line for line in out.splitlines() if line.startswith("replicas at most")).split()
    assert most[-1] == "1"
    assert "simulated: " in out
    assert (tmp_path / "plot.png").read_bytes()[:4] == b"\x89PNG"


def test_a_dry_run_is_simulated_as_if_it_acted(call, file):
    """The question before a pool is let loose; a pool that does nothing answers it with jobs that never ran."""
    out = well(call("replay", file, "--set", "mode=DryRun"))
    never = next(line for line in out.splitlines() if line.startswith("jobs that never ran")).split()
    assert never[-2:] == ["0", "0"]
    assert "mode Active" in out


# --- report -------------------------------------------------------------------------------------------------------------


def test_a_month_is_reported(call, file, life):
    out = well(call("report", file, "--month", "2026-11"))
    assert out.startswith("ledger.jsonl  2026-11, 2026-11-25 ")
    assert "(0.36 a replica-hour)" in out
    found = json.loads(well(call("report", file, "--json")))
    told = {one.id: one for step in life.steps for one in step.observed.ended}
    assert found["jobs"] == len(told)
    assert found["failed"] == sum(one.outcome == "Failed" for one in told.values())
    assert found["cost"] == pytest.approx(found["replica_hours"] * 0.36)
    assert found["cost_per_job"] == pytest.approx(found["cost"] / found["finished"])


def test_a_month_without_records_says_so(call, file):
    refused(call("report", file, "--month", "2026-10"), "nothing is recorded of 'ledger.jsonl' in 2026-10", status=1)


# --- export -------------------------------------------------------------------------------------------------------------


def test_a_trace_is_exported(call, file, tmp_path, life):
    status, out, err = call("export", file, "--out", "trace.csv.gz")
    assert (status, out) == (0, "")
    told = {one.id for step in life.steps for one in step.observed.ended}
    assert read(tmp_path / "trace.csv.gz").jobs == len(told)
    assert err.startswith(f"{len(told)} jobs of 'ledger.jsonl' in trace.csv.gz")


def test_an_exported_ledger_is_replayed_the_same(call, file):
    assert call("export", file, "--ledger", "copy.jsonl.gz")[0] == 0
    assert well(call("replay", "copy.jsonl.gz")).startswith("500 decisions, all bit-equal")


def test_a_ledger_without_jobs_has_no_trace(call, tmp_path):
    ledger.write_file(tmp_path / "idle.jsonl", RecordedPool(1, arrivals_per_second=0).quietly(5).flush())
    refused(call("export", "idle.jsonl", "--out", "t.csv"), "no job of 'idle.jsonl' has ended yet", status=1)
    assert not (tmp_path / "t.csv").exists()


# --- where the ledger is ------------------------------------------------------------------------------------------------


def pool_file(tmp_path, **redis):
    spec = {"queues": [{"name": "urgent"}, {"name": "default"}], "maxReplicas": 8, "template": TEMPLATE}
    document = {
        "apiVersion": "processingpool.dev/v1alpha1",
        "kind": "ProcessingPool",
        "metadata": {"name": "speech", "namespace": "test"},
        "spec": spec | ({"redis": redis} if redis else {}),
    }
    (tmp_path / "pool.yaml").write_text(yaml.safe_dump(document))
    return "pool.yaml"


def test_a_run_on_this_machine_is_found_by_its_file_and_by_its_name(call, tmp_path, life):
    pool = pool_file(tmp_path)
    refused(call("explain", pool), "nothing is recorded of 'test/speech' in the state folder ", status=1)
    folder = state_folder("test", "speech")
    folder.mkdir(parents=True)
    ledger.LedgerFiles(folder).append(life.records)
    for name in (pool, NAME):
        assert well(call("replay", name)).startswith("500 decisions, all bit-equal (test/speech, ")
    pool_file(tmp_path, host="redis.invalid")  # it runs here all the same
    assert well(call("replay", pool)).startswith("500 decisions, all bit-equal")


def test_a_pool_of_a_cluster_is_found_in_redis(call, tmp_path, server, life):
    in_redis(server, Life(20, pool=pool_object("other")).records, pool_object("other"))
    refused(call("report", NAME, "--redis-url", server.url), "nothing is recorded of 'test/speech' in Redis", status=1)
    in_redis(server, life.records)
    assert well(call("replay", NAME, "--redis-url", server.url)).startswith("500 decisions, all bit-equal")
    host, port = server.url.removeprefix("redis://").partition("/")[0].rsplit(":", 1)
    pool = pool_file(tmp_path, host=host.rpartition("@")[2], port=int(port))
    for command in (("explain",), ("report",), ("export", "--ledger", "copy.jsonl")):
        assert call(command[0], pool, *command[1:])[0] == 0


def test_a_pool_that_was_made_anew_has_both_lives(call, server):
    first, second = Life(50, 1), Life(70, 2)
    second.recording = Recording(about(POOL))
    in_redis(server, first.records)
    later = pool_object("speech", uid="later")
    in_redis(server, second.records, later)
    assert well(call("replay", NAME, "--redis-url", server.url)).startswith("120 decisions, all bit-equal")


def test_a_key_of_another_program_is_one_sentence(call, server):
    with server.client() as redis:
        redis.set(keys.ledger("rq", "x"), "mine")
    refused(call("explain", NAME, "--redis-url", server.url), "WRONGTYPE")


def test_a_time_zone_that_this_machine_does_not_know_is_one_sentence(call, tmp_path, life):
    records = json.loads(json.dumps(life.records))
    for one in records:
        if one["kind"] == "checkpoint":
            one["spec"]["budget"] = {"price_per_replica_hour": 1.0, "time_zone": "Mars/Olympus"}
    ledger.write_file(tmp_path / "mars.jsonl", records)
    for command in ("report", "replay"):
        refused(call(command, "mars.jsonl"), "No time zone found with key Mars/Olympus on this machine")


# --- wrong input --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["explain"], "the following arguments are required: POOL"),
        (["explain", "nope"], "POOL 'nope': is no file and no namespace/name"),
        (["explain", "nope.yaml"], "nope.yaml: cannot be read"),
        (["explain", "a/b"], "pool 'a/b' has not run on this machine: name its server with --redis-url"),
        (["explain", "a/b", "--redis-url", "http://x"], "--redis-url 'http://x': write redis://"),
        (["explain", "a/b", "--redis-url", "redis://127.0.0.1:1/0"], "Redis at 127.0.0.1:1/0 cannot be used"),
        (["explain", "ledger.jsonl", "--last", "0"], "--last 0: must be at least 1"),
        (["explain", "ledger.jsonl", "--last", "x"], "--last: invalid int value: 'x'"),
        (["explain", "ledger.jsonl", "--at", "yesterday"], "--at 'yesterday': write 2026-11-25T09:30"),
        (["explain", "ledger.jsonl", "--at", "1e99"], "--at 1e99: is no time"),
        (["explain", "ledger.jsonl", "--at", "5"], "--at '5': is before the first decision"),
        (["explain", "trace.csv"], "trace.csv: is no ledger"),
        (["explain", "broken.jsonl"], "a record of the ledger cannot be read"),
        (["explain", "newer.jsonl"], "the ledger has format 99, this program reads 1"),
        (["replay", "ledger.jsonl", "--from", "10", "--to", "5"], "--from '10' is not before --to '5'"),
        (["replay", "ledger.jsonl", "--plot", "x.png"], "--plot goes with --set"),
        (["replay", "ledger.jsonl", "--set", "x"], "--set 'x': write field=value"),
        (["replay", "ledger.jsonl", "--set", "maxReplcas=3"], "did you mean 'maxReplicas'?"),
        (["replay", "ledger.jsonl", "--set", "maxReplicas=many"], "--set: spec.maxReplicas"),
        (["replay", "ledger.jsonl", "--set", "maxReplicas=[1"], "the value is not YAML"),
        (["replay", "ledger.jsonl", "--set", "maxReplicas.x=1"], "'maxReplicas' is no group of fields"),
        (["replay", "ledger.jsonl", "--set", "queues=[{name: other}]"], "has jobs of queue 'urgent'"),
        (["replay", "ledger.jsonl", "--set", "maxReplicas=3", "--plot", "no/x.png"], "the folder 'no' does not exist"),
        (["report", "ledger.jsonl", "--month", "November"], "--month 'November': write year and month"),
        (["report", "ledger.jsonl", "--month", "2026-13"], "--month '2026-13': write year and month"),
        (["export", "ledger.jsonl"], "what shall be written? --out trace.csv"),
        (["export", "ledger.jsonl", "--out", "trace.txt"], "a trace's name ends with .csv or .csv.gz"),
        (["export", "ledger.jsonl", "--out", "no/trace.csv"], "the folder 'no' does not exist"),
        (["export", "ledger.jsonl", "--ledger", "ledger.jsonl"], "is the file that is read"),
    ],
)
@pytest.mark.usefixtures("file")
def test_wrong_input_is_one_sentence_and_status_2(call, tmp_path, arguments, words):
    (tmp_path / "trace.csv").write_text("arrival_s,service_s\n1,2\n")
    (tmp_path / "broken.jsonl").write_text('{"kind":"checkpoint","format":1}\n')
    (tmp_path / "newer.jsonl").write_text('{"kind":"checkpoint","format":99}\n')
    refused(call(*arguments), words)


def test_nothing_in_the_asked_for_time_says_so(call, file):
    refused(call("replay", file, "--to", "5"), "nothing is recorded of 'ledger.jsonl' in this time", status=1)
