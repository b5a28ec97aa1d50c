"""Whatever dies when: no job is lost, and each has exactly one recorded result."""

from __future__ import annotations

import json
import os
import random
from collections import Counter

import pytest
from rq.job import Job
from rq.results import Result
from rq.serializers import JSONSerializer
from tests.faults.chaos import PREFIX, Chaos, readers
from tests.faults.crew import QUEUES

from pool_contract import keys

FAULTS = int(os.environ.get("FAULTS", "60"))
SEED = int(os.environ.get("SEED", "0")) or random.randrange(1, 10**6)
JOBS = max(300, 5 * FAULTS)


@pytest.mark.timeout(300 + 6 * FAULTS)
def test_no_job_is_lost_and_each_has_one_result(durable, tmp_path, capsys):
    chaos = Chaos(durable, tmp_path, seed=SEED)
    try:
        with readers(durable):
            chaos.run(faults=FAULTS, jobs=JOBS)
        seen = look(chaos)
    finally:
        chaos.close()
    with capsys.disabled():
        print(f"\nchaos, seed {SEED}: {chaos.counts.total()} faults {dict(chaos.counts)}; {seen}")
    assert len(chaos.jobs) == JOBS
    assert seen["finished"] == JOBS
    assert seen["successes"] == {1: JOBS}
    assert seen["failures"] == 0
    assert seen["in the finished registries"] == JOBS
    assert seen["left behind"] == []
    assert seen["started"] == JOBS
    assert seen["ran more than once"] > 0, "the faults met no running job"


def look(chaos):
    """What Redis and the jobs' own log say at the end."""
    successes, failures = Counter(), 0
    for job_id in chaos.jobs:
        results = Job.fetch(job_id, connection=chaos.redis, serializer=JSONSerializer).results()
        kinds = Counter(result.type for result in results)
        successes[kinds[Result.Type.SUCCESSFUL]] += 1
        failures += kinds[Result.Type.FAILED]
    log = [json.loads(line) for line in chaos.redis.lrange(keys.run_log(PREFIX), 0, -1)]
    starts = Counter(one["job"] for one in log if one["event"] == "start")
    ends = Counter(one["job"] for one in log if one.get("outcome") == "finished")
    return {
        "jobs": len(chaos.jobs),
        "finished": len(chaos.jobs) - len(chaos.unfinished()),
        "lost": len(chaos.unfinished()),
        "successes": dict(successes),
        "failures": failures,
        "in the finished registries": sum(chaos.redis.zcard(keys.finished(PREFIX, queue)) for queue in QUEUES),
        "left behind": left_behind(chaos.redis),
        "started": len(starts),
        "ran more than once": sum(count > 1 for count in starts.values()),
        "ran to the end twice, one result dropped": sum(count > 1 for count in ends.values()),
    }


def left_behind(redis):
    """Keys that must be gone when no job waits or runs."""
    kinds = ("queue", "wip", "failed", "deferred", "scheduled", "ready", "executions", "execution")
    patterns = [f"{PREFIX}:{kind}:*" for kind in kinds]
    patterns += [f"{PREFIX}:pp:{kind}:*" for kind in ("owner", "claims", "leases", "reserved")]
    return [key.decode() for pattern in patterns for key in redis.scan_iter(pattern)]
