"""Every Redis key of the product, one function each.

The first half are RQ 3.0.0's own keys (`prefix` is RQ_KEY_PREFIX, default "rq"); the second half are ours and
live under `<prefix>:pp:`, so that one ACL pattern `~rq:*` covers both.
A test compares the first half with the installed rq.
"""

from __future__ import annotations

DEFAULT_PREFIX = "rq"

# --- RQ's ---------------------------------------------------------------------------------------------------


def queue(prefix: str, name: str) -> str:
    """List of waiting job ids, head first."""
    return f"{prefix}:queue:{name}"


def intermediate(prefix: str, name: str) -> str:
    """List of ids that a foreign (stock) worker popped and has not yet marked as started."""
    return f"{prefix}:queue:{name}:intermediate"


def wip(prefix: str, name: str) -> str:
    """StartedJobRegistry: zset of `<job>:<execution>`, score = lease end + 24 h for our claims."""
    return f"{prefix}:wip:{name}"


def finished(prefix: str, name: str) -> str:
    return f"{prefix}:finished:{name}"


def failed(prefix: str, name: str) -> str:
    return f"{prefix}:failed:{name}"


def deferred(prefix: str, name: str) -> str:
    return f"{prefix}:deferred:{name}"


def ready(prefix: str, name: str) -> str:
    """Zset of jobs whose dependencies are met and that are not yet pushed."""
    return f"{prefix}:ready:{name}"


def scheduled(prefix: str, name: str) -> str:
    """Zset of job ids, score = due time in unix seconds."""
    return f"{prefix}:scheduled:{name}"


def canceled(prefix: str, name: str) -> str:
    return f"{prefix}:canceled:{name}"


def first_seen(prefix: str, name: str, job_id: str) -> str:
    """When housekeeping (RQ's or ours) first saw an id in `intermediate`: unix seconds, expires after a day."""
    return f"{intermediate(prefix, name)}:first_seen:{job_id}"


def job(prefix: str, job_id: str) -> str:
    """The job hash.

    While a job that was lost waits to run again, its hash has fields of ours too: pp_losses, pp_strikes (losses while
    alone), pp_exhausted and pp_reserved_by. A claim moves them to the owner key; release and reclaim bring them back.
    """
    return f"{prefix}:job:{job_id}"


def dependents(prefix: str, job_id: str) -> str:
    """Set of ids of jobs that wait for this one."""
    return f"{prefix}:job:{job_id}:dependents"


def dependencies(prefix: str, job_id: str) -> str:
    """Set of ids of jobs that this one waits for; the two colons are RQ's."""
    return f"{prefix}:job::{job_id}:dependencies"


def executions(prefix: str, job_id: str) -> str:
    return f"{prefix}:executions:{job_id}"


def execution(prefix: str, job_id: str, execution_id: str) -> str:
    return f"{prefix}:execution:{job_id}:{execution_id}"


def queues(prefix: str) -> str:
    """Set of queue *keys*."""
    return f"{prefix}:queues"


def workers(prefix: str) -> str:
    return f"{prefix}:workers"


def queue_workers(prefix: str, name: str) -> str:
    return f"{prefix}:workers:{name}"


def worker(prefix: str, name: str) -> str:
    return f"{prefix}:worker:{name}"


def worker_executions(prefix: str, name: str) -> str:
    return f"{prefix}:worker:{name}:executions"


def rate_limits(prefix: str) -> str:
    """Set of the keys of rate limits."""
    return f"{prefix}:rl-keys"


def rate_limit(prefix: str, limit_key: str) -> str:
    """Hash with the limit's concurrency."""
    return f"{prefix}:rl:{limit_key}"


def rate_limit_allowed(prefix: str, limit_key: str) -> str:
    """Zset of jobs that hold a slot: queued or running."""
    return f"{prefix}:rl:{limit_key}:allowed"


def rate_limit_waiting(prefix: str, limit_key: str) -> str:
    """Zset of jobs that wait for a slot; they are in no queue."""
    return f"{prefix}:rl:{limit_key}:rate_limited"


def groups(prefix: str) -> str:
    return f"{prefix}:groups"


def group(prefix: str, name: str) -> str:
    """Set of job ids."""
    return f"{prefix}:group:{name}"


def groups_lock(prefix: str) -> str:
    """Set by whoever cleans the groups, for RQ's maintenance interval."""
    return f"{prefix}:clean_groups"


# --- ours ---------------------------------------------------------------------------------------------------


def owner(prefix: str, job_id: str) -> str:
    """The claim on a job: hash {execution, replica, pool, queue, worker, claimed_at, alone, losses, strikes, exhausted}.

    Set by claim; deleted only by finish, release or reclaim; no TTL; untouched by renewals, so that a finishing
    worker can WATCH it. It is the fence of everything that ends a run.
    """
    return f"{prefix}:pp:owner:{job_id}"


def leases(prefix: str, name: str) -> str:
    """Zset per queue: job id -> lease end, unix seconds by Redis' clock."""
    return f"{prefix}:pp:leases:{name}"


def claims(prefix: str, replica: str) -> str:
    """Set of job ids that a replica holds."""
    return f"{prefix}:pp:claims:{replica}"


def drain(prefix: str, replica: str) -> str:
    """DrainOrder as JSON; while it exists, the claim script gives this replica nothing."""
    return f"{prefix}:pp:drain:{replica}"


def reserved(prefix: str, replica: str) -> str:
    """Id of the job that the replica has set itself aside for (exclusive re-run after a loss); lives as long as a lease."""
    return f"{prefix}:pp:reserved:{replica}"


def report(prefix: str, replica: str) -> str:
    """ReplicaReport as JSON, with a TTL of three heartbeats; written by the script `report`."""
    return f"{prefix}:pp:replica:{replica}"


def incarnation(prefix: str, replica: str) -> str:
    """Id of the process that last registered as this replica (a restarted container is a new incarnation).

    Expires a day after its last claim: who comes back after that is taken as he is.
    """
    return f"{prefix}:pp:incarnation:{replica}"


def replicas(prefix: str, pool: str) -> str:
    """Zset per pool (its UID): replica id -> time of its last report by Redis' clock, or when it was first heard of."""
    return f"{prefix}:pp:replicas:{pool}"


def pools(prefix: str) -> str:
    """Hash: pool UID -> PoolSettings as JSON, so that workers learn live settings and a restarted operator finds deleted pools."""
    return f"{prefix}:pp:pools"


def epoch(prefix: str, pool: str) -> str:
    """Highest leader epoch seen for a pool (its UID); scripts that act for a leader refuse a lower one."""
    return f"{prefix}:pp:epoch:{pool}"


def size_hint(prefix: str) -> str:
    """Hash: job id -> media seconds given at submission. Deleted with the end of the job's run; `sweep` drops the rest."""
    return f"{prefix}:pp:hints"


def runs(prefix: str, pool: str) -> str:
    """Stream per pool (its UID): the runs that ended, each a RunRecord as JSON in the field `run`; about the last 2000.

    Written in the transaction that ends a run, and by whatever takes a lost claim back. Expires 30 days after the last.
    """
    return f"{prefix}:pp:runs:{pool}"


def limits(prefix: str, pool: str) -> str:
    """Hash per pool (its UID) that the claim script keeps to; no field: no such limit.

    {rate_per_minute, max_concurrent, commitment} come with the settings; {granted, granted_until} is the leader's grant;
    `used` is the money that claims have ever taken from it: it only grows.
    """
    return f"{prefix}:pp:limits:{pool}"


def starts(prefix: str, pool: str) -> str:
    """List per pool (its UID), newest first: when its last `rate_per_minute` runs started, unix seconds."""
    return f"{prefix}:pp:starts:{pool}"


def ledger(prefix: str, pool: str) -> str:
    """Stream per pool (its UID): the record of readings and decisions, in compressed chunks (`ledger.py`)."""
    return f"{prefix}:pp:ledger:{pool}"


def run_log(prefix: str) -> str:
    """List of JSON lines that the demo's job function appends to (start, end, pid, replica): the independent witness."""
    return f"{prefix}:pp:runlog"
