"""Slices cover the sound once, evenly, in whole seconds."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pool_worker.media.limits import SAMPLE_RATE
from pool_worker.transcribe.slices import Slice, plan, read


@given(samples=st.integers(0, 7 * 3600 * SAMPLE_RATE), slice_seconds=st.integers(1, 600))
def test_slices_cover_all_samples_once_and_none_is_long_or_tiny(samples, slice_seconds):
    parts = plan(samples, slice_seconds)
    assert [part.end for part in parts[:-1]] == [part.start for part in parts[1:]]
    assert (parts[0].start, parts[-1].end) == (0, samples) if samples else parts == []
    for part in parts:
        assert 0 < part.seconds <= slice_seconds
        assert part.start % SAMPLE_RATE == 0
        assert part.seconds > slice_seconds / 2 - 2 or len(parts) == 1


def test_a_second_too_many_makes_two_halves_and_no_crumb():
    assert [part.seconds for part in plan(301 * SAMPLE_RATE, 300)] == [150, 151]


def test_a_slice_is_read_from_its_place(tmp_path):
    path = tmp_path / "audio.s16"
    np.arange(-100, 100, dtype="<i2").tofile(path)
    got = read(path, Slice(40, 43))
    assert got.dtype == np.float32
    assert got.tolist() == pytest.approx([-60 / 32768, -59 / 32768, -58 / 32768])
