"""The clips of the demo, and how transcripts are judged."""

from __future__ import annotations

import json
import shutil
import wave

import pytest
from demo import speech


def test_a_hundred_texts_differ_and_are_always_the_same():
    texts = [speech.sentence(number) for number in range(1, 1001)]
    assert len(set(texts)) == 1000
    assert texts[0] == "The teacher bought some flowers while the children were sleeping."


@pytest.mark.parametrize("by", ["library", "program"])
def test_clips_are_spoken_by_the_library_or_the_program(by, tmp_path, monkeypatch):
    if by == "program":
        if shutil.which("espeak-ng") is None:
            pytest.skip("the program espeak-ng is missing: apt install espeak-ng")
        monkeypatch.setattr(speech, "_library_speaker", _no_library)
    manifest = speech.make_clips(tmp_path, 3)
    assert json.loads((tmp_path / "manifest.json").read_text()) == manifest
    assert list(manifest) == ["clip-001.wav", "clip-002.wav", "clip-003.wav"]
    for name in manifest:
        with wave.open(str(tmp_path / name)) as file:
            assert 2.5 < file.getnframes() / file.getframerate() < 7


def _no_library():
    raise ImportError("espeakng_loader")


def test_no_voice_at_all_is_said(monkeypatch):
    monkeypatch.setattr(speech, "_library_speaker", _no_library)
    monkeypatch.setattr(speech.shutil, "which", lambda _name: None)
    with pytest.raises(speech.SpeechError, match="pip install espeakng-loader"):
        speech.speaker()


@pytest.mark.parametrize(
    ("said", "heard", "rate"),
    [
        ("The old farmer.", "the old farmer", 0.0),
        ("the old farmer", "the young farmer", 1 / 3),
        ("the old farmer", "the farmer", 1 / 3),
        ("the old farmer", "and the very old farmer", 2 / 3),
        ("the old farmer", "", 1.0),
        ("", "", 0.0),
        ("", "something", 1.0),
        ("don't", "Don’t!", 0.0),
        ("one two", "a b c d", 2.0),
    ],
)
def test_word_error_rate(said, heard, rate):
    assert speech.word_error_rate(said, heard) == pytest.approx(rate)
