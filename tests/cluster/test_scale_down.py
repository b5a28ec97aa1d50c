"""Scale-downs while other replicas work, judged by what the jobs themselves wrote down: none is ended by scaling.

SCALE_DOWNS sets how many pods are to go (default 30 in 5 waves; `make scale-downs` asks for 200).
"""

from __future__ import annotations

import os

import pytest
from tests.cluster.witness import Witness

WANTED = int(os.environ.get("SCALE_DOWNS", "30"))
REPLICAS = 8
LONG_JOBS = 2
LONG_SECONDS = 12.0
SHORT_SECONDS = 1.0
SECONDS_PER_POD = 15


@pytest.mark.timeout(120 + WANTED * SECONDS_PER_POD, func_only=True)
def test_no_scale_down_ends_a_running_job(site):
    """Each wave: two long jobs and six short ones; the six replicas whose jobs are done go while the two work."""
    site.apply(site.pool(maxReplicas=REPLICAS))
    ids = []
    with Witness(site) as witness:
        while len(witness.removed) < WANTED:
            wave = [site.enqueue("workload.nap", seconds=LONG_SECONDS) for _ in range(LONG_JOBS)]
            wave += [site.enqueue("workload.nap", seconds=SHORT_SECONDS) for _ in range(REPLICAS - LONG_JOBS)]
            ids += wave
            site.until_finished(wave)
            site.until_empty()
    print(witness)
    assert witness.hits == []
    assert len(witness.removed_beside_work) >= len(witness.removed) // 2, str(witness)
    assert site.runs.once(ids), str(site.runs)
