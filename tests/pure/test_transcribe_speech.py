"""The real model on real voices: LibriVox readers (Debian's pocketsphinx-testdata) and espeak-ng."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from demo.speech import make_clips, word_error_rate

from pool_contract.jobs import TranscriptionJob
from pool_worker.transcribe import model as models
from pool_worker.transcribe.model import ModelSettings
from pool_worker.transcribe.pipeline import PipelineSettings, transcribe_file

LIBRIVOX = Path("/usr/share/pocketsphinx/test/data/librivox")
BOUND = 0.25


def _need(condition: bool, reason: str) -> None:
    if condition:
        return
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="module")
def model():
    folder = models.models_folder() / "tiny.en"
    _need(folder.is_dir(), "the model tiny.en is not there: make model")
    models.unload()
    yield models.load(ModelSettings(name="tiny.en", device="cpu", cpu_threads=1))
    models.unload()


def transcripts(clips: dict[Path, str], model, folder: Path) -> float:
    """Transcribe all; print and return the words that are wrong, per word."""
    wrong = words = 0.0
    for number, (path, text) in enumerate(clips.items()):
        job = TranscriptionJob(source=str(path), output=str(folder), language="en", beam_size=1)
        found = transcribe_file(job, f"clip-{number}", model, PipelineSettings())
        count = len(text.split())
        wrong += count * word_error_rate(text, found.text)
        words += count
        print(f"  said  {text}\n  heard {found.text}")
    print(f"word error rate {wrong / words:.3f} over {words:.0f} words")
    return wrong / words


def test_librivox_readers_are_understood(model, tmp_path):
    _need(LIBRIVOX.is_dir(), "LibriVox clips are missing: apt install pocketsphinx-testdata")
    lines = re.findall(r"<s> (.*?) </s> \((.*)\)", (LIBRIVOX / "transcription").read_text())
    clips = {LIBRIVOX / f"{name}.wav": text for text, name in lines}
    assert len(clips) == 5
    assert transcripts(clips, model, tmp_path) <= BOUND


def test_the_demos_clips_are_understood(model, tmp_path):
    manifest = make_clips(tmp_path / "clips", 5)
    clips = {tmp_path / "clips" / name: text for name, text in manifest.items()}
    assert transcripts(clips, model, tmp_path) <= BOUND


def test_an_english_model_refuses_another_language(model, tmp_path):
    job = TranscriptionJob(source="/media/a.mp3", output=str(tmp_path), language="de")
    with pytest.raises(ValueError, match=r"language: the model tiny\.en does not know 'de'; it knows en"):
        transcribe_file(job, "a", model, PipelineSettings())
