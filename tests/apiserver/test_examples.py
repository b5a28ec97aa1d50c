"""Each file in examples/ is taken by a real API server as it is, and so is the Deployment that it becomes."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from tests.apiserver.backend_harness import harness

EXAMPLES = sorted((Path(__file__).resolve().parents[2] / "examples").glob("*.yaml"))


def test_there_are_examples():
    assert EXAMPLES


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_applies_and_becomes_a_deployment(namespace, kubectl, path):
    kubectl("apply", "--server-side", "--namespace", namespace, "-f", str(path))

    async def play():
        async with harness(namespace) as h:
            await h.until(lambda: h.pools, what="the pool seen")
            for name, pool in h.pools.items():
                assert pool.problem is None
                applied = await h.step(name, 0)
                assert applied.problem is None
                await h.until(lambda name=name: h.view(name).exists, what="the Deployment seen")
                assert h.view(name).template_problem is None
                assert h.view(name).wanted == 0

    asyncio.run(play())
