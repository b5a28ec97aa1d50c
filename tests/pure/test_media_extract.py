"""Sound keeps its place in time, also when the file does not."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys

import numpy as np
import pytest
from tests.fixtures import media
from tests.fixtures.tiny_whisper import RATE

from pool_worker.media import audio
from pool_worker.media.errors import MediaError
from pool_worker.media.limits import Limits
from pool_worker.media.workspace import PREFIX, remove_abandoned, workspace

LIMITS = Limits()
CODEC_DELAY_SECONDS = 0.12


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    return media.Library(tmp_path_factory.mktemp("library"))


@pytest.fixture(params=sorted(media.programs()))
def program(request, monkeypatch):
    path = media.programs()[request.param]
    monkeypatch.setattr(audio, "find_ffmpeg", lambda: path)
    return path


def extract(source, tmp_path, limits=LIMITS, on_progress=lambda _share: None):
    return audio.extract_audio(str(source), tmp_path, limits, on_progress)


def loud_seconds(found) -> set[int]:
    """The seconds in whose middle something is heard."""
    samples = np.fromfile(found.path, "<i2").astype(float)
    return {
        s
        for s in range(round(found.seconds))
        if np.abs(samples[int((s + 0.4) * RATE) : int((s + 0.6) * RATE)]).mean() > 500
    }


@pytest.mark.parametrize("ending", ["wav", *media.ENCODINGS])
def test_every_codec_keeps_length_and_time(ending, program, library, tmp_path):
    shares: list[float] = []
    found = extract(library.encoded(ending), tmp_path, on_progress=shares.append)
    assert found.seconds == pytest.approx(media.SECONDS, abs=CODEC_DELAY_SECONDS)
    assert loud_seconds(found) == set(media.SPOKEN)
    assert found.warnings == ()
    assert shares == sorted(shares)
    assert shares[-1] == pytest.approx(1.0, abs=0.01)


def test_a_sound_that_starts_late_stays_late(program, library, tmp_path):
    film = ["-f", "lavfi", "-i", "testsrc=size=64x64:rate=5:d=25", "-map", "0:a", "-map", "1:v", "-c:v", "mpeg4"]
    for name, codec in (("late.mp4", "aac"), ("late.mkv", "libopus")):
        media.ffmpeg("-itsoffset", "5", "-i", library.wav, *film, "-c:a", codec, tmp_path / name)
        found = extract(tmp_path / name, tmp_path)
        assert loud_seconds(found) == {second + 5 for second in media.SPOKEN}


def test_a_gap_in_time_stays_a_gap(program, library, tmp_path):
    gap = "asetpts='if(gte(T,10),PTS+20/TB,PTS)'"
    media.ffmpeg("-i", library.wav, "-c:a", "libopus", "-af", gap, tmp_path / "gap.mkv")
    found = extract(tmp_path / "gap.mkv", tmp_path)
    assert loud_seconds(found) == {second + 20 * (second >= 10) for second in media.SPOKEN}


def test_damage_in_the_middle_is_a_warning_and_does_not_multiply(program, library, tmp_path):
    for ending in ("mp3", "aac", "m4a", "opus", "flac"):
        found = extract(media.damaged(library.encoded(ending), 0.4, 0.5, tmp_path), tmp_path)
        assert media.SECONDS * 0.8 < found.seconds < media.SECONDS + 1, ending
        assert found.warnings, ending
        assert "0x" not in "".join(found.warnings), "addresses differ from run to run"


def test_too_much_missing_is_an_error_and_how_much_can_be_set(library, tmp_path):
    broken = media.damaged(library.encoded("mp3"), 0.4, 0.5, tmp_path)
    with pytest.raises(MediaError, match=r"only 18\.\d s of 20\.\d s could be decoded \(1\d% missing\)"):
        extract(broken, tmp_path, Limits(fail_missing_fraction=0.05))
    patient = extract(broken, tmp_path, Limits(warn_missing_fraction=0.15))
    assert not any("could be decoded" in warning for warning in patient.warnings)


def test_joined_files_are_read_to_their_end(program, library, tmp_path):
    one = library.encoded("mp3").read_bytes()
    (tmp_path / "joined.mp3").write_bytes(one + one)
    assert extract(tmp_path / "joined.mp3", tmp_path).seconds == pytest.approx(40, abs=0.5)


def test_a_rate_that_changes_within_a_file_does_not_stretch_it(program, library, tmp_path):
    one = library.encoded("aac")
    media.ffmpeg("-i", one, "-ar", "22050", "-c:a", "aac", tmp_path / "other.aac")
    (tmp_path / "mixed.aac").write_bytes(one.read_bytes() + (tmp_path / "other.aac").read_bytes())
    assert extract(tmp_path / "mixed.aac", tmp_path).seconds == pytest.approx(40, abs=0.5)


def test_a_picture_may_go_on_after_the_sound(program, library, tmp_path):
    film = ["-f", "lavfi", "-i", "testsrc=size=64x64:rate=5:d=60", "-c:v", "mpeg4", "-c:a", "aac"]
    media.ffmpeg("-i", library.wav, *film, tmp_path / "long.mp4")
    found = extract(tmp_path / "long.mp4", tmp_path)
    assert found.seconds == pytest.approx(media.SECONDS, abs=CODEC_DELAY_SECONDS)
    assert found.warnings == ()


def test_odd_headers_are_no_reason_to_refuse(program, library, tmp_path):
    samples = library.wav.read_bytes()[44:]
    streamed = media.wav_bytes(samples=samples, size=0xFFFFFFFF)
    floats = np.array([np.inf, np.nan, -0.5] * RATE, "<f4").tobytes()
    for content, seconds in (
        (streamed, 20.0),
        (media.wav_bytes(samples=b"\1\0"), 0.0),
        (media.wav_bytes(samples=b"\1\0" * 100, rate=1), 100.0),
        (media.wav_bytes(samples=floats, bits=32, code=3), 3.0),
    ):
        (tmp_path / "odd.wav").write_bytes(content)
        assert extract(tmp_path / "odd.wav", tmp_path).seconds == pytest.approx(seconds, abs=0.01)


def test_any_name_is_only_a_name(program, library, tmp_path):
    for name in ("-i.wav", "%d.wav", "a:b|c,d;e[f]'g\"h\\i.wav", "zeile\nzwei.wav", "Überschrift 日本.wav"):
        (tmp_path / name).write_bytes(library.wav.read_bytes())
        assert extract(tmp_path / name, tmp_path).seconds == media.SECONDS


def test_a_description_forged_in_a_title_changes_no_limit(program, library, tmp_path):
    title = "x\nInput #0, mov, from 'y'\n  Duration: 00:00:01.00, start: 0\n  Stream #0:0: Video: z"
    media.ffmpeg("-i", library.wav, "-metadata", f"title={title}", "-c:a", "libopus", tmp_path / "forged.mkv")
    assert extract(tmp_path / "forged.mkv", tmp_path).seconds == pytest.approx(media.SECONDS, abs=CODEC_DELAY_SECONDS)


# --- the folder of a job ------------------------------------------------------------------------------------


def test_a_folder_that_is_just_being_made_is_not_taken_for_an_abandoned_one(tmp_path, monkeypatch):
    lock = fcntl.flock

    def while_somebody_looks(file, how):
        if how == fcntl.LOCK_EX:  # the owner's; who looks for leftovers does not wait
            remove_abandoned(tmp_path)
        lock(file, how)

    monkeypatch.setattr(fcntl, "flock", while_somebody_looks)
    with workspace(tmp_path) as folder:
        assert folder.is_dir()
        (folder / "audio.s16").touch()


def test_a_jobs_folder_is_gone_after_it_however_it_ends(tmp_path):
    with workspace(tmp_path) as folder:
        (folder / "big").write_bytes(b"x")
    with pytest.raises(KeyboardInterrupt), workspace(tmp_path):
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


def test_the_folder_of_a_killed_process_is_removed_by_the_next_job_and_a_living_ones_is_not(tmp_path):
    code = "import sys\nfrom pathlib import Path\nfrom pool_worker.media.workspace import workspace\nwith workspace(Path(sys.argv[1])):\n print('in', flush=True)\n sys.stdin.read()"
    path = os.pathsep.join(["worker", "contract"])
    command = [sys.executable, "-c", code, str(tmp_path)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": path}
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"in\n"
        with workspace(tmp_path) as mine:
            assert len(list(tmp_path.glob(f"{PREFIX}*"))) == 2
        assert len(list(tmp_path.glob(f"{PREFIX}*"))) == 1
        other.kill()
        other.wait()
        with workspace(tmp_path) as mine:
            assert list(tmp_path.glob(f"{PREFIX}*")) == [mine]


def test_a_folder_in_the_making_is_left_alone(tmp_path):
    (tmp_path / f"{PREFIX}new").mkdir()
    held = tmp_path / f"{PREFIX}held"
    held.mkdir()
    with (held / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        remove_abandoned(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {f"{PREFIX}new", f"{PREFIX}held"}


def test_no_room_for_a_folder_is_said(tmp_path):
    with (
        pytest.raises(MediaError, match="the worker cannot write to /proc/none: No such file"),
        workspace(tmp_path.__class__("/proc/none")),
    ):
        pass
