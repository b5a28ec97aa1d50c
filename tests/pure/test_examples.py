"""The examples are what they say: readable by the strict reader, one for each team, with the numbers of their comments."""

from __future__ import annotations

from pathlib import Path

import pytest

from pool_operator.api.load import load_pool
from pool_operator.backends.kubernetes.refusals import Allowed, refusal
from pool_operator.engine.spec import pool_spec
from pool_operator.engine.types import PoolSpec

EXAMPLES = sorted((Path(__file__).parents[2] / "examples").glob("*.yaml"))
SLOTS = {
    "first-pool": 1,
    "podcast-growth": 2,
    "channel-backfill": 1,
    "video-pipeline": 1,
    "burst-audio": 1,
    "clip-export": 1,
}


def test_there_is_one_for_each_team_and_one_to_begin_with():
    assert {path.stem for path in EXAMPLES} == set(SLOTS)


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_can_be_followed(path):
    metadata, crd = load_pool(path)
    assert metadata.name == path.stem
    assert refusal(crd, Allowed()) == ""
    spec = pool_spec(crd, deleted=False)
    assert isinstance(spec, PoolSpec), spec
    assert spec.slots_per_replica == SLOTS[path.stem]


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_says_for_whom(path):
    assert path.read_text(encoding="utf-8").startswith("# For ")


def test_twice_the_memory_exports_two_clips_at_once():
    _, crd = load_pool(next(path for path in EXAMPLES if path.stem == "clip-export"))
    wide = crd.model_dump(by_alias=True)
    wide["template"]["spec"]["containers"][0]["resources"]["limits"]["memory"] = "15300M"
    assert pool_spec(type(crd).model_validate(wide), deleted=False).slots_per_replica == 2
