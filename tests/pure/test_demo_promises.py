"""The demo fails, with a sentence, whenever its report is not what it promises."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from demo.demo import error_rate, summary

GOOD = {
    "jobs": 100,
    "finished": 100,
    "failed": 0,
    "waiting": 0,
    "lost": 0,
    "duplicated": 0,
    "killed": 0,
    "interrupted": 0,
    "peak_replicas": 10,
    "final_replicas": 0,
    "wait_seconds": {"p50": 1.0, "p99": 2.0},
    "word_error_rate": 0.25,
    "replica_seconds": 500.0,
    "cost": "0.10",
    "seconds": 60.0,
}


def judged(capsys, *, spoken=True, peak=10, **changed):
    status = summary(GOOD | changed, Path("transcripts"), spoken=spoken, peak=peak)
    return status, capsys.readouterr().err.splitlines()


def test_a_report_as_promised_is_status_0(capsys):
    assert judged(capsys) == (0, [])


@pytest.mark.parametrize("name", ["failed", "waiting", "lost", "duplicated", "killed", "interrupted"])
def test_nothing_may_have_gone_wrong(name, capsys):
    assert judged(capsys, **{name: 1}) == (1, [f"demo: {name} is 1, not 0"])


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"finished": 99}, "99 of 100 jobs are finished, not all"),
        ({"final_replicas": 2}, "2 replicas are left"),
        ({"peak_replicas": 9}, "the peak was 9 replicas, not 10"),
        ({"word_error_rate": 0.2501}, "the word error rate is 0.2501, more than 0.25"),
        ({"word_error_rate": float("nan")}, "the word error rate is nan, more than 0.25"),
        ({"word_error_rate": None}, "there is no word error rate: no words are known, or none were compared"),
    ],
)
def test_every_number_is_judged(changed, sentence, capsys):
    assert judged(capsys, **changed) == (1, [f"demo: {sentence}"])


def test_of_your_own_files_no_words_are_known_and_no_peak_is_promised(capsys):
    assert judged(capsys, spoken=False, peak=None, word_error_rate=None, peak_replicas=3) == (0, [])
    assert judged(capsys, spoken=False, peak=None, word_error_rate=None, lost=1)[0] == 1


def test_a_clip_without_a_transcript_is_all_wrong(tmp_path):
    (tmp_path / "a.json").write_text(json.dumps({"text": "One two three."}))
    assert error_rate(tmp_path, {"a": "one two three"}) == 0
    assert error_rate(tmp_path, {"a": "one two three", "b": "four"}) == 0.25
    assert error_rate(tmp_path, {}) is None
