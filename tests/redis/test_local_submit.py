"""Files in, transcripts out, by one command on one machine."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from demo import speech
from tests.fixtures import media, tiny_whisper
from tests.redis.local_run import machine

from pool_worker.transcribe.model import models_folder

ROOT = Path(__file__).parents[2]
SOUNDS = {"a": {0: 1, 2: 5}, "b": {1: 9}, "c": {3: 2, 4: 11}}


def test_run_submit_until_done_transcribes_each_file_once(tmp_path):
    model = tiny_whisper.build(tmp_path / "model")
    environment = {"PROCESSINGPOOL_MODEL": str(model), "PROCESSINGPOOL_CPU_THREADS": "1"}
    worker = {"env": [{"name": name, "value": value} for name, value in environment.items()]}
    (tmp_path / "media").mkdir()
    for name, sound in SOUNDS.items():
        wav = tiny_whisper.write_wav(tmp_path / f"{name}.wav", tiny_whisper.tones(sound, 6))
        media.ffmpeg("-i", wav, tmp_path / "media" / f"{name}.mp3")
    (tmp_path / "media" / "notes.txt").write_text("no media")
    with machine(tmp_path, container=worker, maxReplicas=2) as it:
        report = it.done("--submit", "media/*.mp3", "--output", "transcripts")
        again = it.done("--submit", "media/*.mp3", "--output", "transcripts")
        log = it.log(0)
    assert "3 files submitted to queue 'quick'" in log
    assert (report["jobs"], report["finished"], report["final_replicas"]) == (3, 3, 0)
    assert [report[name] for name in ("failed", "waiting", "lost", "duplicated", "killed", "interrupted")] == [0] * 6
    assert 1 <= report["peak_replicas"] <= 2
    found = [json.loads(path.read_text()) for path in (tmp_path / "transcripts").glob("*.json")]
    assert {Path(one["source"]).stem: one["text"].split() for one in found} == {
        name: [tiny_whisper.word(second, pitch) for second, pitch in sorted(sound.items())]
        for name, sound in SOUNDS.items()
    }
    assert len(list((tmp_path / "transcripts").iterdir())) == 4 * len(SOUNDS)
    assert again["peak_replicas"] == 0  # submitted before: nothing to do


@pytest.fixture(scope="module")
def demo_home(tmp_path_factory):
    """A copy of the demo, so that its results stay out of the checkout."""
    if not (models_folder() / "tiny.en").is_dir():
        pytest.skip("the model tiny.en is missing: make model")
    home = tmp_path_factory.mktemp("demo")
    shutil.copytree(ROOT / "demo", home / "demo", ignore=shutil.ignore_patterns("__pycache__"))
    return home


def demo(home, *flags):
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PROCESSINGPOOL_", "RQ_"))}
    return subprocess.run(
        [sys.executable, "-m", "demo", "--plain", *flags],
        cwd=home,
        env=kept,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


def test_the_demo_with_a_few_clips_keeps_its_promises(demo_home):
    run = demo(demo_home, "--clips", "3")
    assert run.returncode == 0, run.stderr
    report = json.loads((demo_home / "build" / "demo" / "report.json").read_text())
    assert (report["jobs"], report["finished"], report["final_replicas"]) == (3, 3, 0)
    assert 3 <= report["peak_replicas"] <= 10
    assert report["word_error_rate"] <= 0.25
    assert len(list((demo_home / "build" / "demo" / "transcripts").glob("*.txt"))) == 3


def test_the_demo_with_your_own_files_shows_their_first_words(demo_home, tmp_path):
    speech.make_clips(tmp_path, 2)
    run = demo(demo_home, "--audio", str(tmp_path))
    assert run.returncode == 0, run.stderr
    for name in ("clip-001.wav", "clip-002.wav"):
        (line,) = [one for one in run.stdout.splitlines() if one.strip().startswith(f"{name}: ")]
        assert line.endswith(".txt]")
    assert "word error rate" not in run.stdout
    assert "flowers" in run.stdout
