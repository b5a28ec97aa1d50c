"""How much one media file may cost: time, disk and memory of the ffmpeg child."""

from __future__ import annotations

import os
from dataclasses import dataclass

from pool_worker.media.errors import MachineError

SAMPLE_RATE = 16_000
BYTES_PER_SAMPLE = 2
BYTES_PER_SECOND = SAMPLE_RATE * BYTES_PER_SAMPLE


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Bounds for one file; a small file can unpack to very much, so each is enforced while ffmpeg runs."""

    max_media_seconds: float = 6 * 3600
    max_streams: int = 64
    max_pixels: int = 7680 * 4320
    memory_bytes: int = 1 << 30  # address space of ffmpeg; reading audio needs a tenth
    probe_timeout_seconds: float = 60.0
    extract_min_timeout_seconds: float = 120.0
    warn_missing_fraction: float = 0.01
    fail_missing_fraction: float = 0.20

    @classmethod
    def from_environment(cls) -> Limits:
        """The defaults, but for PROCESSINGPOOL_MAX_MEDIA_SECONDS.

        Raises:
            MachineError: when that is no number.
        """
        text = os.environ.get("PROCESSINGPOOL_MAX_MEDIA_SECONDS")
        if not text:
            return cls()
        if not text.isdigit() or int(text) == 0:
            raise MachineError(f"PROCESSINGPOOL_MAX_MEDIA_SECONDS: {text[:40]!r} is not a whole number of at least 1")
        return cls(max_media_seconds=float(text))

    def extract_timeout_seconds(self, media_seconds: float) -> float:
        """Wall clock for reading `media_seconds`: thirty times what a slow core needs."""
        return self.extract_min_timeout_seconds + media_seconds / 4
