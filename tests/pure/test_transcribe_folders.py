"""A job's paths lie in the folders that the worker names, as they really are."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from pool_contract.jobs import JobError, TranscriptionJob
from pool_worker.transcribe.folders import inside
from pool_worker.transcribe.pipeline import PipelineSettings, transcribe_file


@pytest.fixture
def media(tmp_path):
    folder = tmp_path / "media"
    (folder / "deep").mkdir(parents=True)
    (tmp_path / "media-of-others").mkdir()
    (tmp_path / "secret").write_text("secret")
    (folder / "link").symlink_to(tmp_path / "secret")
    (folder / "inner").symlink_to(folder / "deep")
    return folder


@pytest.mark.parametrize("path", ["a.wav", "deep/a.wav", "deep/../a.wav", ".", "new/folder"])
def test_a_path_inside_is_taken(media, path):
    assert inside(f"{media}/{path}", [media.parent / "other", media], "source").startswith(str(media))


def test_a_link_inside_is_followed_before_it_is_judged_and_used(media):
    assert inside(f"{media}/inner/a.wav", [media], "source") == f"{media}/deep/a.wav"


def test_a_folder_that_is_a_link_is_the_folder_it_leads_to(media):
    (media.parent / "mounted").symlink_to(media)
    assert inside(f"{media.parent}/mounted/a.wav", [media.parent / "mounted"], "source") == f"{media}/a.wav"


@pytest.mark.parametrize("path", ["link", "../secret", "deep/../../secret", "../media-of-others/a.wav", "/etc/passwd"])
def test_a_path_outside_is_one_sentence_that_names_the_setting(media, path):
    with pytest.raises(JobError) as caught:
        inside(path if path.startswith("/") else f"{media}/{path}", [media], "source")
    text = str(caught.value)
    assert text.startswith("source: ")
    assert f"({media}): name one inside, or add its folder to the worker's --folders (PROCESSINGPOOL_FOLDERS)" in text
    assert "\n" not in text


def test_without_folders_any_path_will_do():
    assert inside("/etc/../etc/passwd", (), "source") == "/etc/../etc/passwd"


@pytest.mark.parametrize("field", ["source", "output"])
def test_a_job_outside_makes_no_folder_and_reads_nothing(media, tmp_path, field, monkeypatch):
    monkeypatch.setenv("PROCESSINGPOOL_FOLDERS", f"{media}, {tmp_path / 'out'}")
    monkeypatch.setenv("PROCESSINGPOOL_OUTPUT", str(tmp_path / "default"))
    paths = {"source": str(media / "a.wav"), "output": str(tmp_path / "out")} | {field: str(tmp_path / "elsewhere")}
    model = SimpleNamespace(languages=("en",), name="none")
    with pytest.raises(JobError, match=f"^{field}: {tmp_path}/elsewhere is outside of the folders"):
        transcribe_file(TranscriptionJob(**paths), "job", model, PipelineSettings.from_environment())
    assert not (tmp_path / "elsewhere").exists()
    assert not (tmp_path / "out").exists()
