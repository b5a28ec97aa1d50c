"""The text of the files, to the byte; and how they reach the disk."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import pytest

from pool_contract.jobs import TranscriptionResult, TranscriptSegment, TranscriptWord
from pool_worker.transcribe import formats, outputs
from pool_worker.transcribe.outputs import OutputError


def segment(start: float, end: float, text: str, words: list[TranscriptWord] | None = None) -> TranscriptSegment:
    quality = {"avg_logprob": -0.25, "no_speech_prob": 0.01, "compression_ratio": 1.2}
    return TranscriptSegment(start=start, end=end, text=text, words=words, **quality)


SEGMENTS = [
    segment(0.0, 1.5, "Hello, world."),
    segment(61.001, 62.9996, "Grüße, 日本語 & <b>!"),
    segment(3_600.0, 3_600.0, "a --> b"),
    segment(360_000.5, 360_001.0, "a hundred hours"),
]


def result(segments=SEGMENTS, **fields) -> TranscriptionResult:
    given = {
        "job": "a1",
        "source": "/media/a.mp3",
        "model": "tiny.en",
        "language": "en",
        "language_probability": 1.0,
        "duration_seconds": 9.5,
        "text": "Hello",
        "files": {"json": "/out/a1.json"},
        "segments": segments,
    }
    return TranscriptionResult(**(given | fields))


def test_srt():
    assert formats.srt(SEGMENTS) == (
        "1\n00:00:00,000 --> 00:00:01,500\nHello, world.\n"
        "\n2\n00:01:01,001 --> 00:01:03,000\nGrüße, 日本語 & <b>!\n"
        "\n3\n01:00:00,000 --> 01:00:00,001\na -> b\n"
        "\n4\n100:00:00,500 --> 100:00:01,000\na hundred hours\n"
    )


def test_vtt():
    assert formats.vtt(SEGMENTS) == (
        "WEBVTT\n"
        "\n00:00:00.000 --> 00:00:01.500\nHello, world.\n"
        "\n00:01:01.001 --> 00:01:03.000\nGrüße, 日本語 &amp; &lt;b&gt;!\n"
        "\n01:00:00.000 --> 01:00:00.001\na --&gt; b\n"
        "\n100:00:00.500 --> 100:00:01.000\na hundred hours\n"
    )


def test_txt():
    assert formats.txt(SEGMENTS) == "Hello, world.\nGrüße, 日本語 & <b>!\na --> b\na hundred hours\n"


def test_nothing_said_is_still_a_file_of_each_kind():
    assert (formats.srt([]), formats.vtt([]), formats.txt([])) == ("", "WEBVTT\n", "")


def test_json_reads_back_and_keeps_letters():
    words = [TranscriptWord(start=0.0, end=0.5, word="Grüße", probability=0.9)]
    text = formats.render(result([segment(0, 1, "Grüße", words)]))["json"]
    assert "Grüße" in text
    assert text.endswith("}\n")
    assert TranscriptionResult.model_validate_json(text) == result([segment(0, 1, "Grüße", words)])
    assert "words" not in json.loads(formats.render(result())["json"])["segments"][0]


# --- on disk ------------------------------------------------------------------------------------------------

CONTENTS = {ending: f"content of {ending}\n" for ending in ("json", "srt", "vtt", "txt")}


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_files_appear_whole_under_the_jobs_id_and_a_second_run_replaces_them(tmp_path):
    files = outputs.file_names(tmp_path, "job-1_A")
    outputs.write(files, dict.fromkeys(CONTENTS, "old"))
    outputs.write(files, CONTENTS)
    assert names(tmp_path) == {"job-1_A.json", "job-1_A.srt", "job-1_A.vtt", "job-1_A.txt"}
    for ending, content in CONTENTS.items():
        assert (tmp_path / f"job-1_A.{ending}").read_text() == content


def test_the_json_is_named_last(tmp_path, monkeypatch):
    order: list[str] = []
    replace = Path.replace

    def watched(path: Path, target: str) -> Path:
        order.append(Path(target).suffix)
        return replace(path, target)

    monkeypatch.setattr(Path, "replace", watched)
    outputs.write(outputs.file_names(tmp_path, "a"), CONTENTS)
    assert order[-1] == ".json"
    assert sorted(order) == [".json", ".srt", ".txt", ".vtt"]


@pytest.mark.parametrize("failing", range(5))
def test_a_disk_that_fills_up_leaves_the_old_files_and_no_rest(failing, tmp_path, monkeypatch):
    files = outputs.file_names(tmp_path, "a")
    outputs.write(files, dict.fromkeys(CONTENTS, "old"))
    calls = iter(range(100))

    def full(_handle: int) -> None:
        if next(calls) == failing:
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OutputError) as caught:
        outputs.write(files, CONTENTS)
    assert str(caught.value).startswith(f"output: the disk is full: no space left in {tmp_path}")
    assert names(tmp_path) == {"a.json", "a.srt", "a.vtt", "a.txt"}
    kept = {(tmp_path / f"a.{ending}").read_text() == "old" for ending in CONTENTS}
    assert kept == {failing < 4}, "all old, or (the last one syncs the folder) all new"


@pytest.mark.parametrize("job_id", ["", "../a", "a/b", "a b", ".a", "x" * 201, "a\n"])
def test_an_id_that_is_no_file_name_is_refused(job_id, tmp_path):
    with pytest.raises(OutputError, match="cannot be a file name"):
        outputs.file_names(tmp_path, job_id)


def test_the_output_folder_is_the_jobs_else_the_workers_and_is_made(tmp_path):
    assert outputs.output_folder(str(tmp_path / "a" / "b"), tmp_path / "c") == tmp_path / "a" / "b"
    assert outputs.output_folder(None, tmp_path / "c") == tmp_path / "c"
    assert names(tmp_path) == {"a", "c"}
    assert names(tmp_path / "a" / "b") == set()


def test_no_output_folder_or_an_unusable_one_is_said_before_any_work(tmp_path):
    (tmp_path / "file").write_text("x")
    for job_output, default, sentence in (
        (None, None, "neither the job nor the worker .PROCESSINGPOOL_OUTPUT. names an output folder"),
        (str(tmp_path / "file"), None, "is not a folder"),
        (str(tmp_path / "file" / "below"), None, "is not a folder"),
        ("/proc/none", None, "cannot write to /proc/none"),
        ("/sys/none", None, "cannot write to|may not write to"),
    ):
        with pytest.raises(OutputError, match=sentence):
            outputs.output_folder(job_output, default)
