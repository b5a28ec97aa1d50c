"""Reading ffmpeg's description of a file, and its progress. Pure."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from pool_worker.media import commands
from pool_worker.media.limits import Limits
from pool_worker.media.probe import parse
from pool_worker.media.progress import position_seconds

VIDEO = """\
Input #0, mov,mp4,m4a,3gp,3g2,mj2, from 'file:/media/film.mp4':
  Metadata:
    major_brand     : isom
    title           : Stream #0:9: Audio: not a stream
  Duration: 01:02:03.45, start: -0.021000, bitrate: 29 kb/s
  Stream #0:0[0x1](und): Video: h264 (High) (avc1 / 0x31637661), yuv420p, 160x120, 5 fps (default)
    Metadata:
      handler_name    : VideoHandler
  Stream #0:1[0x2](eng): Audio: aac (LC) (mp4a / 0x6134706D), 16000 Hz, mono, fltp, 69 kb/s (default)
  Stream #0:2[0x3](eng): Subtitle: mov_text (tx3g / 0x67337874)
At least one output file must be specified
"""
WITH_COVER = """\
Input #0, mp3, from 'file:/media/song.mp3':
  Duration: 00:00:20.04, start: 0.025057, bitrate: 48 kb/s
  Stream #0:0: Audio: mp3 (mp3float), 16000 Hz, mono, fltp, 48 kb/s
  Stream #0:1: Video: mjpeg (Baseline), yuvj444p(pc), 90x90, 90k tbr (attached pic)
"""
ESTIMATED = """\
[aac @ 0x55] Estimating duration from bitrate, this may be inaccurate
Input #0, aac, from 'file:/media/a.aac':
  Duration: 00:00:21.15, bitrate: 60 kb/s
  Stream #0:0: Audio: aac (LC), 16000 Hz, mono, fltp, 60 kb/s
"""
NO_LENGTH = """\
Input #0, wav, from 'file:/media/zero.wav':
  Duration: N/A, bitrate: 256 kb/s
  Stream #0:0: Audio: pcm_s16le ([1][0][0][0] / 0x0001), 16000 Hz, 1 channels, s16, 256 kb/s
"""


def test_a_video_is_read_with_its_length_start_and_tracks():
    found = parse(VIDEO)
    assert found is not None
    assert found.formats == ("mov", "mp4", "m4a", "3gp", "3g2", "mj2")
    assert found.duration_seconds == pytest.approx(3723.45)
    assert found.start_seconds == pytest.approx(-0.021)
    assert (found.audio_streams, found.streams) == (1, 3)
    assert found.has_clock
    assert found.sound_may_be_shorter
    assert not found.duration_is_estimate


def test_a_cover_picture_is_no_track():
    found = parse(WITH_COVER)
    assert found is not None
    assert (found.audio_streams, found.streams) == (1, 1)
    assert not found.has_clock
    assert not found.sound_may_be_shorter


def test_a_length_guessed_from_the_bit_rate_is_told_apart():
    found = parse(ESTIMATED)
    assert found is not None
    assert found.duration_is_estimate
    assert found.start_seconds == 0


def test_a_file_may_not_say_how_long_it_is():
    found = parse(NO_LENGTH)
    assert found is not None
    assert found.duration_seconds is None


@pytest.mark.parametrize("text", ["", "moov atom not found\n", "file:/x: Invalid data found when processing input\n"])
def test_what_ffmpeg_does_not_recognise_is_none(text):
    assert parse(text) is None


@pytest.mark.parametrize(
    ("line", "seconds"),
    [
        ("out_time_us=1500000", 1.5),
        ("out_time_us=0", 0.0),
        ("out_time_us=N/A", None),
        ("out_time_us=-9223372036854775807", None),
        ("out_time_ms=1500000", None),
        ("progress=end", None),
        ("", None),
    ],
)
def test_only_the_microseconds_of_the_output_are_a_position(line, seconds):
    assert position_seconds(line) == seconds


def test_the_command_lines_name_files_as_files_and_restrict_what_is_read():
    source, limits = Path("/media/a.mp4"), Limits(max_pixels=123)
    probe = commands.probe("ffmpeg", source, limits)
    found = parse(VIDEO)
    assert found is not None
    extract = commands.extract("ffmpeg", source, Path("/tmp/w/audio.s16"), found, 12.5, limits)
    for command in (probe, extract):
        reading = command[: command.index("-i") + 2]
        assert reading[-1] == "file:/media/a.mp4"
        options = dict(itertools.pairwise(reading))
        assert options["-protocol_whitelist"] == "file"
        assert options["-max_pixels"] == "123"
        assert {"hls", "concat", "dash", "sdp", "image2"}.isdisjoint(options["-format_whitelist"].split(","))
        assert "-nostdin" in command
    assert probe[-2] == "-i", "no output is named"
    assert extract[-1] == "file:/tmp/w/audio.s16"
    bounds = dict(itertools.pairwise(extract))
    assert (bounds["-t"], bounds["-fs"]) == ("12.500", "400000")
