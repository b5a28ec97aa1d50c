"""The five use cases as scenarios, by name: `processingpool simulate --scenario NAME` prints and judges them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from pool_operator.simulate.scenarios.base import Part, Row, Scenario
from pool_operator.simulate.scenarios.burst_audio import BURST_AUDIO
from pool_operator.simulate.scenarios.channel_backfill import CHANNEL_BACKFILL
from pool_operator.simulate.scenarios.clip_export import CLIP_EXPORT
from pool_operator.simulate.scenarios.podcast_growth import PODCAST_GROWTH
from pool_operator.simulate.scenarios.video_pipeline import VIDEO_PIPELINE

__all__ = ["SCENARIOS", "Part", "Row", "Scenario"]

SCENARIOS: Final[Mapping[str, Scenario]] = {
    one.name: one for one in (PODCAST_GROWTH, CHANNEL_BACKFILL, VIDEO_PIPELINE, BURST_AUDIO, CLIP_EXPORT)
}
