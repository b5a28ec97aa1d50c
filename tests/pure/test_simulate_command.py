"""`processingpool simulate` as a user meets it: what it prints and writes, and one sentence for each wrong input."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from tests.pure.test_cli_extras import call

from pool_operator.cli.simulate import main
from pool_operator.names import Profile
from pool_operator.simulate import scenarios
from pool_operator.simulate.generate import GENERATORS
from pool_operator.simulate.peers import PEERS
from pool_operator.simulate.scenarios import SCENARIOS, Scenario
from pool_operator.simulate.scenarios.base import equal

EXAMPLES = sorted((Path(__file__).parents[2] / "examples").glob("*.yaml"))
BACKFILL = next(path for path in EXAMPLES if path.stem == "channel-backfill")
KEYS = {
    "trace",
    "policy",
    "profile",
    "wait_value",
    "cold_start_seconds",
    "slots",
    "jobs",
    "wait_seconds",
    "gpu_hours",
    "work_gpu_hours",
    "oracle_gpu_hours",
    "pod_starts",
    "unused_starts",
    "scale_actions",
    "jobs_hit",
}


@pytest.fixture
def trace(tmp_path):
    """Twelve jobs at once, and one an hour later."""
    path = tmp_path / "small.csv"
    path.write_text("arrival_s,service_s\n" + "0,60\n" * 12 + "3600,60\n")
    return path


def simulate(*arguments):
    return main(["simulate", *map(str, arguments)])


# --- what it prints and writes ------------------------------------------------------------------------------------


def test_ours_stands_beside_every_peer(trace, capsys):
    assert simulate("--trace", trace, "--against", "all") == 0
    out = capsys.readouterr().out
    assert out.startswith("small: 13 jobs, cold start 60 s (simulated)\n")
    rows = out.splitlines()[2:]
    assert rows[0].startswith("processingpool Balanced ")
    assert {row.split()[0] for row in rows} == {"processingpool", *PEERS}


def test_the_folder_gets_a_page_and_a_summary_of_each_policy(trace, tmp_path, capsys):
    out = tmp_path / "new" / "report"
    arguments = ("--profile", *Profile, "--wait-value", "4", "--slots", "2", "--cold-start", "10", "--against", "keda")
    assert simulate("--trace", trace, *arguments, "--out", out) == 0
    printed = capsys.readouterr()
    assert printed.out.splitlines()[-2:] == [f"written: {out / 'report.html'}", f"written: {out / 'summary.json'}"]
    assert printed.err == ""  # no progress where nobody looks

    summary = json.loads((out / "summary.json").read_text())
    assert all(set(entry) == KEYS and set(entry["wait_seconds"]) == {"mean", "p50", "p95", "p99"} for entry in summary)
    assert [(entry["policy"], entry["profile"], entry["wait_value"]) for entry in summary] == [
        ("processingpool", "Economy", 0.1),
        ("processingpool", "Balanced", 2.0),
        ("processingpool", "Fast", 16.0),
        ("processingpool", None, 4.0),
        ("keda", None, None),
    ]
    assert {(entry["trace"], entry["slots"], entry["cold_start_seconds"]) for entry in summary} == {("small", 2, 10.0)}

    page = (out / "report.html").read_text()
    assert [line.partition("<svg")[0] for line in page.splitlines() if line.startswith("<h3>")] == [
        "<h3>Cost against wait: towards the lower left is better</h3>",
        "<h3>How long jobs waited</h3>",
        "<h3>Over time: the highest in each moment</h3>",
        "<h3>The busiest stretch</h3>",
    ]
    assert "http://" not in re.sub(r'xmlns(:\w+)?="[^"]*"|<!DOCTYPE[^>]*>', "", page)
    names = [entry["profile"] or "v=4" for entry in summary[:4]] + ["keda"]
    assert all(f">{name}</text>" in page for name in names)


def test_the_page_of_the_same_run_is_the_same(trace, tmp_path):
    pages = []
    for name in ("one", "two"):
        assert simulate("--trace", trace, "--out", tmp_path / name) == 0
        pages.append((tmp_path / name / "report.html").read_bytes())
    assert pages[0] == pages[1]


def test_a_folder_is_each_of_its_traces(trace, capsys):
    (trace.parent / "more.csv").write_text("arrival_s,service_s\n0,60\n")
    assert simulate("--trace", trace.parent) == 0
    titles = [line.partition(",")[0] for line in capsys.readouterr().out.splitlines() if "(simulated)" in line]
    assert titles == ["more: 1 jobs", "small: 13 jobs"]


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_pool_can_be_simulated(path, trace, capsys):
    assert simulate("--trace", trace, "--pool", path, "--against", "keda") == 0
    printed = capsys.readouterr()
    assert printed.err == ""
    assert "keda" in printed.out


def test_a_pool_that_is_paused_or_overflows_is_simulated_active_and_alone(trace, tmp_path, capsys):
    text = EXAMPLES[0].read_text().replace("spec:\n", "spec:\n  mode: Paused\n", 1)
    text = text.replace(
        "  template:\n", "  overflow: {forPoolRef: {name: own}, afterWaitSeconds: 60}\n  template:\n", 1
    )
    pool = tmp_path / "pool.yaml"
    pool.write_text(text)
    assert simulate("--trace", trace, "--pool", pool) == 0
    printed = capsys.readouterr()
    assert "spec.mode is Paused; simulated as if it were Active" in printed.err
    assert "simulated alone, without the pool of spec.overflow.forPoolRef" in printed.err
    assert "never ended" not in printed.err


@pytest.mark.parametrize(
    ("rules", "names"),
    [
        ("jobs: {ratePerMinute: 5, maxConcurrent: 2}", "spec.jobs.ratePerMinute, spec.jobs.maxConcurrent"),
        ('budget: {pricePerReplicaHour: "1", daily: {soft: "9"}}', "spec.budget"),
        ('budget: {pricePerReplicaHour: "1"}', None),
        ('schedules: [{name: a, start: "0 1 * * *", durationSeconds: 60, minReplicas: 1}]', "spec.schedules"),
        ("scaling: {thresholds: [{metric: Waiting, direction: Up, value: 5}]}", "spec.scaling.thresholds"),
    ],
)
def test_rules_that_only_we_keep_are_named_under_the_table_and_on_the_page(rules, names, trace, tmp_path, capsys):
    pool = tmp_path / "pool.yaml"
    pool.write_text(
        "apiVersion: processingpool.dev/v1alpha1\nkind: ProcessingPool\nmetadata: {name: quick}\nspec:\n"
        f"  queues: [{{name: quick}}]\n  maxReplicas: 5\n  {rules}\n"
        "  template: {spec: {containers: [{name: worker, resources: {limits: {memory: 4Gi}}}]}}\n"
    )
    told = f"Only processingpool keeps {names}; the other policies run without."
    assert simulate("--trace", trace, "--pool", pool, "--against", "keda", "--out", tmp_path) == 0
    assert [line for line in capsys.readouterr().out.splitlines() if "Only" in line] == ([told] if names else [])
    assert (told in (tmp_path / "report.html").read_text()) == bool(names)
    assert simulate("--trace", trace, "--pool", pool) == 0
    assert "Only" not in capsys.readouterr().out


def test_the_queues_of_a_trace_keep_the_pool_s_order(tmp_path):
    """`rest` comes first in the trace; the short urgent job overtakes it with every policy: else the mean is 1,791 s."""
    trace = tmp_path / "two.csv"
    trace.write_text("arrival_s,service_s,queue\n" + "0,600,rest\n" * 6 + "60,10,urgent\n")
    pool = tmp_path / "pool.yaml"
    pool.write_text(BACKFILL.read_text().replace("maxReplicas: 10", "maxReplicas: 1"))
    assert simulate("--trace", trace, "--pool", pool, "--cold-start", "1", "--against", "naive", "--out", tmp_path) == 0
    waits = [entry["wait_seconds"]["mean"] for entry in json.loads((tmp_path / "summary.json").read_text())]
    assert len(waits) == 2
    assert all(1_370 < wait < 1_400 for wait in waits), waits


def test_a_scenario_says_whether_its_numbers_hold(monkeypatch, capsys, tmp_path):
    assert simulate("--scenario", "clip-export", "--out", tmp_path / "out") == 0
    assert "10 clips at once: workers" in capsys.readouterr().out
    assert len(json.loads((tmp_path / "out" / "summary.json").read_text())) == 4

    clips = SCENARIOS["clip-export"]
    wrong = Scenario(
        name=clips.name,
        sentence=clips.sentence,
        pool=clips.pool,
        make_parts=clips.make_parts,
        rows=lambda results: [equal("workers", 99, results[0].peak_replicas)],
    )
    monkeypatch.setitem(scenarios.SCENARIOS, "clip-export", wrong)
    assert simulate("--scenario", "clip-export") == 1
    assert re.search(r"workers +99 +1 +NO", capsys.readouterr().out)


# --- wrong input --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ([], "--trace is missing: name a CSV file with the header arrival_s,service_s, a folder"),
        (["--trace", "none.csv"], "none.csv: cannot be read: No such file or directory"),
        (["--trace", "empty"], "empty: no file that ends with .csv or .csv.gz is in this folder"),
        (["--trace", "text"], "text:1: has no column arrival_s and no column service_s: a trace starts with"),
        (["--trace", "generate:x"], f"there is no such generator; there are {', '.join(sorted(GENERATORS))}"),
        (["--trace", "small.csv", "--trace", "copy/small.csv"], "there is a trace 'small' already"),
        (["--trace", "queues.csv", "--pool", "pool.yaml"], "has jobs of the queue 'other', which the pool does not"),
        (["--trace", "small.csv", "--pool", "none.yaml"], "none.yaml: cannot be read: No such file or directory"),
        (
            ["--trace", "small.csv", "--against", "x,keda"],
            f"--against x: there is no such policy; there are {next(iter(PEERS))}",
        ),
        (["--trace", "small.csv", "--profile", "Slow"], "--profile: 'Slow' must be one of Economy, Balanced, Fast"),
        (["--trace", "small.csv", "--wait-value", "-1"], "--wait-value: '-1' must be a number of replica-seconds"),
        (["--trace", "small.csv", "--slots", "1.5"], "--slots: '1.5' must be a whole number from 1 to 64"),
        (["--trace", "small.csv", "--cold-start", "nan"], "--cold-start: 'nan' must be a number of seconds from 0.1"),
        (["--trace", "small.csv", "--out", "text"], "--out text: is a file, not a folder; name a folder"),
        (["--trace", "small.csv", "--out", "text/x"], "--out text/x: cannot be made: Not a directory; name a folder"),
        (["--trace", "small.csv", "--speed", "9"], "unrecognized arguments: --speed 9; processingpool simulate --help"),
        (["--scenario", "x"], f"--scenario x: there is no such scenario; there are {', '.join(SCENARIOS)}"),
        (["--scenario", "clip-export", "--slots", "2"], "--slots does not go with --scenario, which brings its own"),
        (["--scenario", "clip-export", "--cold-start", "9"], "--cold-start does not go with --scenario"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_wrong_input_is_one_sentence_before_anything_runs(arguments, sentence, trace, monkeypatch, capsys):
    folder = trace.parent
    (folder / "empty").mkdir()
    (folder / "copy").mkdir()
    (folder / "copy" / "small.csv").write_text(trace.read_text())
    (folder / "text").write_text("hello\n")
    (folder / "queues.csv").write_text("arrival_s,service_s,queue\n0,60,other\n")
    (folder / "pool.yaml").write_text(BACKFILL.read_text())
    monkeypatch.chdir(folder)
    assert simulate(*arguments) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("processingpool simulate: ")
    assert printed.err.count("\n") == 1
    assert sentence in printed.err


# --- what is not installed, and Ctrl-C ----------------------------------------------------------------------------


def test_only_the_page_needs_matplotlib(trace, tmp_path):
    run = call(tmp_path, "matplotlib", "simulate", "--trace", str(trace))
    assert run.returncode == 0, run.stderr
    assert "processingpool Balanced" in run.stdout

    run = call(tmp_path, "matplotlib", "simulate", "--trace", str(trace), "--out", "out")
    assert run.returncode == 2
    assert run.stdout == ""
    assert run.stderr == (
        "processingpool simulate: the Python package 'matplotlib' is not installed: "
        "pip install 'processing-pool[simulate]'\n"
    )


def test_without_the_extra_nothing_is_simulated_and_one_sentence_says_so(trace, tmp_path):
    for arguments in (("--trace", str(trace)), ("--scenario", "channel-backfill")):
        run = call(tmp_path, "numpy matplotlib", "simulate", *arguments)
        assert (run.returncode, run.stdout) == (2, "")
        assert run.stderr == (
            "processingpool simulate: the Python package 'numpy' is not installed: "
            "pip install 'processing-pool[simulate]'\n"
        )


def test_ctrl_c_ends_a_long_run_and_gives_the_cursor_back(tmp_path):
    """On a terminal: progress is shown on it, and the cursor, which the bar hides, is there again at the end."""
    leader, follower = pty.openpty()
    code = "import sys; sys.argv[0] = 'processingpool'; from pool_operator.cli import main; sys.exit(main())"
    command = [sys.executable, "-c", code, "simulate", "--trace", "generate:heavy"]
    environment = os.environ | {"TERM": "xterm", "COLUMNS": "100"}
    with subprocess.Popen(
        command, cwd=tmp_path, env=environment, stdin=follower, stdout=subprocess.PIPE, stderr=follower
    ) as run:
        os.close(follower)
        shown = b""
        while b"heavy: processingpool" not in shown:
            shown += os.read(leader, 4096)
        run.send_signal(signal.SIGINT)
        while chunk := _read(leader):
            shown += chunk
        assert run.wait(60) == 130
        assert run.stdout is not None
        assert run.stdout.read() == b""
    os.close(leader)
    assert shown.count(b"\x1b[?25l") == shown.count(b"\x1b[?25h") == 1
    assert b"Traceback" not in shown


def _read(leader):
    try:
        return os.read(leader, 4096)
    except OSError:  # EIO: the other side is closed
        return b""
