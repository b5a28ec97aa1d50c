"""Whatever dies when: no job is lost, and each has exactly one recorded result."""

from __future__ import annotations

import os
import random

import pytest
from tests.faults.chaos import PREFIX, Chaos, readers
from tests.faults.crew import POOL_UID, QUEUES
from tests.faults.results import look, recorded

from pool_contract import keys

FAULTS = int(os.environ.get("FAULTS", "60"))
SEED = int(os.environ.get("SEED", "0")) or random.randrange(1, 10**6)
JOBS = max(300, 5 * FAULTS)


@pytest.mark.timeout(300 + 6 * FAULTS)
def test_no_job_is_lost_and_each_has_one_result(durable, tmp_path, capsys):
    with capsys.disabled():
        print(f"\nchaos, seed {SEED} (SEED={SEED} draws the same faults)", flush=True)
    chaos = Chaos(durable, tmp_path, seed=SEED)
    try:
        with readers(durable):
            chaos.run(faults=FAULTS, jobs=JOBS)
        seen = look(chaos.redis, chaos.jobs)
        records = recorded(chaos.redis, POOL_UID)
        in_registries = sum(chaos.redis.zcard(keys.finished(PREFIX, queue)) for queue in QUEUES)
    finally:
        chaos.close()
    with capsys.disabled():
        print(f"chaos: {chaos.counts.total()} faults {dict(chaos.counts)}; {seen}")
    assert len(chaos.jobs) == JOBS
    assert seen["finished"] == JOBS
    assert seen["successes"] == {1: JOBS}
    assert seen["failures"] == 0
    assert in_registries == JOBS
    assert set(records.values()) == {1}, "each run is recorded once"
    assert len(records) >= min(JOBS, 1000), "and none is left out; of many, about the last 2000 runs are kept"
    assert seen["left behind"] == []
    assert seen["started"] == JOBS
    assert seen["ran more than once"] > 0, "the faults met no running job"
