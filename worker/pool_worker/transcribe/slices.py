"""Cut long sound into slices, so that a job's memory does not depend on its length."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pool_worker.media.limits import BYTES_PER_SAMPLE, SAMPLE_RATE

SLICE_SECONDS = 300


@dataclass(frozen=True, slots=True)
class Slice:
    """Samples from `start` up to `end`."""

    start: int
    end: int

    @property
    def start_ms(self) -> int:
        return self.start * 1000 // SAMPLE_RATE

    @property
    def seconds(self) -> float:
        return (self.end - self.start) / SAMPLE_RATE


def plan(samples: int, slice_seconds: int = SLICE_SECONDS) -> list[Slice]:
    """Slices of equal length in whole seconds, none longer than `slice_seconds`.

    Equal, because a last slice of a second or two gives a model nothing to go by, and it makes up words.
    """
    seconds = math.ceil(samples / SAMPLE_RATE)
    if seconds == 0:
        return []
    count = math.ceil(seconds / slice_seconds)
    borders = [seconds * number // count * SAMPLE_RATE for number in range(count)]
    return [Slice(start, min(end, samples)) for start, end in zip(borders, [*borders[1:], samples], strict=True)]


def read(path: Path, part: Slice) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
    """The samples of one slice as the model wants them: -1..1."""
    raw = np.fromfile(path, dtype="<i2", count=part.end - part.start, offset=part.start * BYTES_PER_SAMPLE)
    return raw.astype(np.float32) / 32768.0
