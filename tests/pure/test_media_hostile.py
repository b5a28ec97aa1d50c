"""Files that are broken or want something else than to be heard: one sentence each, and nothing else is touched.

Run with each ffmpeg that a worker may meet here: Debian's on PATH is years older than the wheel's, and opens more.
"""

from __future__ import annotations

import os
import shutil
import socket
import zipfile
from pathlib import Path

import pytest
from tests.fixtures import media

from pool_worker.media import audio, tool
from pool_worker.media.errors import MediaError
from pool_worker.media.limits import Limits

LIMITS = Limits(max_media_seconds=7200)
NOT_ACCEPTED = "the file is of a kind that is not accepted"
NOT_MEDIA = "the file is not audio or video, or it is damaged"


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    return media.Library(tmp_path_factory.mktemp("library"))


@pytest.fixture(params=sorted(media.programs()))
def program(request, monkeypatch):
    path = media.programs()[request.param]
    monkeypatch.setattr(audio, "find_ffmpeg", lambda: path)
    return path


def refused(source: object, folder: Path, limits: Limits = LIMITS) -> str:
    work = folder / "work"
    work.mkdir(exist_ok=True)
    with pytest.raises(MediaError) as caught:
        audio.extract_audio(str(source), work, limits)
    sentence = str(caught.value)
    assert "\n" not in sentence
    return sentence


def made(folder: Path, name: str, content: bytes | str) -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


# --- nothing that ffmpeg should ever be shown ---------------------------------------------------------------


def test_what_is_no_file_is_refused_before_ffmpeg_sees_it(tmp_path, monkeypatch):
    monkeypatch.setattr(audio, "find_ffmpeg", lambda: pytest.fail("ffmpeg was looked for"))
    os.mkfifo(tmp_path / "pipe.mp3")
    (tmp_path / "endless.mp3").symlink_to("/dev/zero")
    (tmp_path / "loop.mp3").symlink_to(tmp_path / "loop.mp3")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "s.mp3"))
        assert "is a socket, not a file" in refused(tmp_path / "s.mp3", tmp_path)
    assert "is a pipe, not a file" in refused(tmp_path / "pipe.mp3", tmp_path)
    assert "is a device, not a file" in refused(tmp_path / "endless.mp3", tmp_path)
    assert "is a folder, not a file" in refused(tmp_path, tmp_path)
    assert "cannot be read" in refused(tmp_path / "loop.mp3", tmp_path)
    assert "there is no file" in refused(tmp_path / "absent.mp3", tmp_path)
    assert "cannot be read" in refused("/" + "x" * 300, tmp_path)
    assert "is empty (0 bytes)" in refused(made(tmp_path, "empty.mp3", b""), tmp_path)


@pytest.mark.parametrize(
    "source",
    ["concat:a.wav|b.wav", "subfile,,start,0,end,9,,:/etc/hostname", "async:/etc/hostname", "-i", "data:audio/wav,x"],
)
def test_the_names_of_ffmpegs_protocols_are_only_names_of_absent_files(source, program, tmp_path):
    assert "there is no file" in refused(source, tmp_path)


def test_a_file_that_may_not_be_read_is_told_apart(tmp_path, monkeypatch):
    source = made(tmp_path, "secret.wav", media.wav_bytes(samples=b"\1\0" * 100))
    source.chmod(0)
    if os.geteuid() == 0:  # root may read everything: let the system call say what it says to others
        monkeypatch.setattr(Path, "open", _denied)
    assert "may not read" in refused(source, tmp_path)


def _denied(path: Path, *_arguments, **_options):
    raise PermissionError(13, "Permission denied", str(path))


# --- broken -------------------------------------------------------------------------------------------------


def test_bytes_that_are_no_media(program, tmp_path):
    assert NOT_MEDIA in refused(made(tmp_path, "random.mp4", os.urandom(100_000)), tmp_path)
    assert NOT_MEDIA in refused(made(tmp_path, "text.mp3", "hello world\n" * 100), tmp_path)
    archive = tmp_path / "zip.mp3"
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("a", "b" * 1000)
    assert NOT_MEDIA in refused(archive, tmp_path)
    assert NOT_MEDIA in refused(made(tmp_path, "rate0.wav", media.wav_bytes(samples=bytes(2000), rate=0)), tmp_path)


def test_files_without_sound(program, tmp_path):
    media.ffmpeg("-f", "lavfi", "-i", "testsrc=d=2:size=64x64", tmp_path / "film.mp4")
    media.ffmpeg("-f", "lavfi", "-i", "testsrc=d=1:size=64x64", "-frames:v", "1", tmp_path / "picture.png")
    assert refused(tmp_path / "film.mp4", tmp_path) == "the file has no audio track"
    assert NOT_ACCEPTED in refused(tmp_path / "picture.png", tmp_path)
    assert NOT_ACCEPTED in refused(made(tmp_path, "a.srt", "1\n00:00:00,000 --> 00:00:02,000\nhello\n\n"), tmp_path)
    assert "no sound in it (0 samples)" in refused(made(tmp_path, "zero.wav", media.wav_bytes()), tmp_path)


def test_a_film_of_a_billion_pixels_is_refused_by_its_header(program, tmp_path):
    header = "YUV4MPEG2 W32000 H32000 F25:1 Ip A1:1 C420jpeg\nFRAME\n"
    assert NOT_ACCEPTED in refused(made(tmp_path, "film.y4m", header), tmp_path)
    refused(made(tmp_path, "film.mp4", header), tmp_path)  # under another name, too


def test_a_file_cut_off_in_the_middle(program, library, tmp_path):
    assert "only 10.0 s of 20" in refused(media.cut(library.encoded("mp3"), 0.5, tmp_path), tmp_path)
    film = library.encoded("mp4")
    assert "moov atom not found" in refused(media.cut(film, 0.6, tmp_path), tmp_path)
    media.ffmpeg("-i", film, "-c", "copy", "-movflags", "+faststart", tmp_path / "fast.mp4")
    assert "the file is damaged or cut off" in refused(media.cut(tmp_path / "fast.mp4", 0.58, tmp_path), tmp_path)


def test_sound_that_cannot_become_one_channel(program, tmp_path):
    source = made(tmp_path, "many.wav", media.wav_bytes(samples=bytes(128_000), channels=64))
    assert "cannot be decoded (ffmpeg: " in refused(source, tmp_path)
    refused(made(tmp_path, "fast.wav", media.wav_bytes(samples=bytes(2000), rate=2_000_000_000)), tmp_path)


# --- playlists: files that name other files -----------------------------------------------------------------


@pytest.mark.parametrize("ending", ["m3u8", "mp3", "mp4", "wav"])
def test_a_playlist_under_any_name_opens_no_other_file(ending, program, library, tmp_path):
    media.ffmpeg("-i", library.wav, "-c:a", "aac", "-f", "mpegts", tmp_path / "other.ts")
    shutil.copy(library.wav, tmp_path / "sibling.wav")
    playlist = f"#EXTM3U\n#EXT-X-TARGETDURATION:20\n#EXTINF:20,\nfile://{tmp_path}/other.ts\n#EXT-X-ENDLIST\n"
    for content in (
        playlist,
        "ffconcat version 1.0\nfile sibling.wav\n",
        f"ffconcat version 1.0\nfile {tmp_path}/sibling.wav\n",
    ):
        sentence = refused(made(tmp_path, f"list.{ending}", content), tmp_path)
        assert NOT_ACCEPTED in sentence or NOT_MEDIA in sentence


def test_a_file_that_names_a_host_reaches_nobody(program, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        port = listener.getsockname()[1]
        url = f"http://127.0.0.1:{port}/inner.mp4"
        playlist = f"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n{url}\n#EXT-X-ENDLIST\n"
        manifest = f'<?xml version="1.0"?><MPD type="static"><Period><AdaptationSet><Representation id="1" mimeType="audio/mp4"><BaseURL>{url}</BaseURL></Representation></AdaptationSet></Period></MPD>'
        session = f"v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=audio {port} RTP/AVP 0\n"
        concat = f"ffconcat version 1.0\nfile {url}\n"
        for name, content in (("x.m3u8", playlist), ("x.mpd", manifest), ("x.sdp", session), ("x.ffconcat", concat)):
            refused(made(tmp_path, name, content), tmp_path)
            refused(made(tmp_path, "x.mp4", content), tmp_path)
        with pytest.raises(BlockingIOError):
            listener.accept()


# --- too much -----------------------------------------------------------------------------------------------


def test_ten_hours_of_silence_in_a_few_megabytes(program, tmp_path):
    bomb = tmp_path / "bomb.flac"
    media.ffmpeg("-f", "lavfi", "-i", "anullsrc=r=1000:cl=mono", "-t", "36000", "-c:a", "flac", bomb)
    assert "lasts 36000 s, more than the limit of 7200 s" in refused(bomb, tmp_path)
    # the same without a length in its header: what comes out is bounded
    nameless = made(tmp_path, "nameless.flac", _without_length(bomb.read_bytes()))
    limits = Limits(max_media_seconds=600)
    assert "lasts more than 600 s" in refused(nameless, tmp_path, limits)
    assert (tmp_path / "work" / "audio.s16").stat().st_size <= 602 * 32_000


def _without_length(flac: bytes) -> bytes:
    """FLAC's header keeps the number of samples in 36 bits, of which 0 means unknown."""
    assert flac[:4] == b"fLaC"
    return flac[:21] + bytes([flac[21] & 0xF0]) + bytes(4) + flac[26:]


def test_a_wrong_clock_does_not_become_hours_of_silence(program, library, tmp_path):
    media.ffmpeg(
        "-i", library.wav, "-c:a", "libopus", "-af", "asetpts='if(gte(T,10),PTS+36000/TB,PTS)'", tmp_path / "gap.mkv"
    )
    assert "more than the limit" in refused(tmp_path / "gap.mkv", tmp_path)


def test_too_many_tracks(program, library, tmp_path):
    media.ffmpeg("-t", "1", "-i", library.wav, *["-map", "0:a"] * 65, "-c:a", "pcm_s16le", tmp_path / "tracks.mkv")
    assert refused(tmp_path / "tracks.mkv", tmp_path) == "the file has 65 tracks; at most 64 are read"


def test_a_giant_picture_beside_the_sound_is_not_decoded(program, tmp_path):
    picture = ["-f", "lavfi", "-i", "color=size=16384x8192:d=1:rate=1", "-f", "lavfi", "-i", "sine=d=1"]
    media.ffmpeg(
        *picture, "-frames:v", "1", "-c:v", "png", "-pix_fmt", "monob", "-c:a", "pcm_s16le", tmp_path / "giant.mkv"
    )
    found = audio.extract_audio(str(tmp_path / "giant.mkv"), tmp_path, LIMITS)
    assert found.seconds == pytest.approx(1.0, abs=0.05)
    assert "exceeds specified max pixel count" in found.warnings[0]


# --- this machine -------------------------------------------------------------------------------------------


def test_a_full_disk_is_said(program, library, tmp_path):
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "audio.s16").symlink_to("/dev/full")
    assert "the disk is full: no space left in" in refused(library.wav, tmp_path)


def test_no_ffmpeg_at_all_is_said(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(tool.importlib, "import_module", _absent)
    source = media.wav_bytes(samples=bytes(3200))
    assert "there is no ffmpeg on this worker: install it" in refused(made(tmp_path, "a.wav", source), tmp_path)


def _absent(name: str):
    raise ImportError(name)


def test_the_wheels_ffmpeg_serves_where_none_is_installed(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert tool.find_ffmpeg() == media.FFMPEG


def test_an_ffmpeg_that_cannot_be_started_is_said(tmp_path, monkeypatch):
    broken = made(tmp_path, "ffmpeg", b"\x7fELF no program")
    broken.chmod(0o755)
    monkeypatch.setattr(audio, "find_ffmpeg", lambda: str(broken))
    source = made(tmp_path, "a.wav", media.wav_bytes(samples=bytes(3200)))
    assert f"ffmpeg at {broken} cannot be started" in refused(source, tmp_path)


def test_an_ffmpeg_that_hangs_is_ended(tmp_path, monkeypatch):
    slow = made(tmp_path, "ffmpeg", "#!/bin/sh\nsleep 600\n")
    slow.chmod(0o755)
    monkeypatch.setattr(audio, "find_ffmpeg", lambda: str(slow))
    source = made(tmp_path, "a.wav", media.wav_bytes(samples=bytes(3200)))
    limits = Limits(probe_timeout_seconds=0.5)
    assert "could not tell within" in refused(source, tmp_path, limits)
