"""The use cases' scenarios: each holds its numbers, with the pool of its example."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from pool_operator.api.load import load_pool
from pool_operator.engine.spec import pool_spec
from pool_operator.engine.types import PoolSpec
from pool_operator.simulate.run import simulate
from pool_operator.simulate.scenarios import SCENARIOS

EXAMPLES = Path(__file__).parent.parent.parent / "examples"


@pytest.mark.parametrize("name", SCENARIOS)
def test_a_scenario_holds_its_numbers(name):
    scenario = SCENARIOS[name]
    results = [simulate(part.trace, part.ours, part.terms) for part in scenario.make_parts()]
    missed = [row for row in scenario.rows(results) if not row.holds]
    assert not missed


@pytest.mark.parametrize("name", SCENARIOS)
def test_a_scenario_runs_the_pool_of_its_example(name):
    _, found = load_pool(EXAMPLES / f"{name}.yaml")
    example = pool_spec(found, deleted=False)
    assert isinstance(example, PoolSpec)
    told = SCENARIOS[name].pool
    # what a simulation has no use for: redis and memory; what a use case leaves open
    assert replace(told, memory_spaces=(), learn_slots=False) == replace(
        example, memory_spaces=(), learn_slots=False, overflow_after_seconds=told.overflow_after_seconds
    )
