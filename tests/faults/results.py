"""What became of jobs: by Redis, and by the run log that the jobs themselves write."""

from __future__ import annotations

import json
from collections import Counter

from rq.job import Job
from rq.results import Result
from rq.serializers import JSONSerializer

from pool_contract import keys
from pool_contract.messages import RunOutcome, RunRecord

PREFIX = keys.DEFAULT_PREFIX


def unfinished(redis, jobs):
    pipeline = redis.pipeline(transaction=False)
    for job in jobs:
        pipeline.hget(keys.job(PREFIX, job), "status")
    return [job for job, status in zip(jobs, pipeline.execute(), strict=True) if status != b"finished"]


def look(redis, jobs):
    """Counts over all these jobs."""
    successes, failures = Counter(), 0
    for job_id in jobs:
        results = Job.fetch(job_id, connection=redis, serializer=JSONSerializer).results()
        kinds = Counter(result.type for result in results)
        successes[kinds[Result.Type.SUCCESSFUL]] += 1
        failures += kinds[Result.Type.FAILED]
    log = run_log(redis)
    starts = Counter(one["job"] for one in log if one["event"] == "start")
    ends = Counter(one["job"] for one in log if one.get("outcome") == "finished")
    lost = unfinished(redis, jobs)
    return {
        "jobs": len(jobs),
        "finished": len(jobs) - len(lost),
        "lost": len(lost),
        "successes": dict(successes),
        "failures": failures,
        "left behind": left_behind(redis),
        "started": len(starts),
        "ran more than once": sum(count > 1 for count in starts.values()),
        "ran to the end twice, one result dropped": sum(count > 1 for count in ends.values()),
    }


def recorded(redis, pool):
    """Job id -> how often the pool's stream of ended runs says that it finished. It keeps about the last 2000 runs."""
    texts = (fields[b"run"] for _, fields in redis.xrange(keys.runs(PREFIX, pool)))
    records = map(RunRecord.model_validate_json, texts)
    return Counter(one.job for one in records if one.outcome is RunOutcome.FINISHED)


def run_log(redis):
    return [json.loads(line) for line in redis.lrange(keys.run_log(PREFIX), 0, -1)]


def killed(redis, replicas):
    """Jobs that began on one of these replicas and never ended there, not even by an exception."""
    open_runs = Counter()
    for one in run_log(redis):
        if one["replica"] in replicas:
            open_runs[one["job"], one["replica"]] += 1 if one["event"] == "start" else -1
    return [job for (job, _), count in open_runs.items() if count > 0]


def left_behind(redis):
    """Keys that must be gone when no job waits or runs."""
    kinds = ("queue", "wip", "failed", "deferred", "scheduled", "ready", "executions", "execution")
    patterns = [f"{PREFIX}:{kind}:*" for kind in kinds]
    patterns += [f"{PREFIX}:pp:{kind}:*" for kind in ("owner", "claims", "leases", "reserved")]
    return [key.decode() for pattern in patterns for key in redis.scan_iter(pattern)]
