"""Step 1: one pool's snapshot, out of caches only. No network, no waiting."""

from __future__ import annotations

from dataclasses import dataclass, replace

from pool_contract.scripts import PoolState
from pool_operator.api.models import ProcessingPoolSpec, helps_itself
from pool_operator.backends.base import BackendView, PoolObject, Problem
from pool_operator.engine.slots import slots_of
from pool_operator.engine.types import Decision, Observed, PoolSpec, Primary, Reading, ReplicaPhase, Unknown
from pool_operator.names import ConditionReason, Limit
from pool_operator.observe.problems import lost_data
from pool_operator.observe.readings import NO_REPLICAS, pool_reading, seen_replicas
from pool_operator.observe.seen import Failure, Seen
from pool_operator.runtime.specs import followed_spec
from pool_operator.runtime.store import Entry, Store


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """What one reconcile works on."""

    pool: PoolObject
    crd: ProcessingPoolSpec | None
    spec: PoolSpec | None  # None: cannot be followed; then `pool_problem` says why
    view: BackendView
    observed: Observed
    known: PoolState  # the pool's replicas as Redis shows them
    asked_monotonic: float | None = None  # when the reading was asked for; None: there is none
    pool_problem: Problem | None = None
    queue_problem: Problem | None = None
    queue_failing_since: float | None = None  # unix

    @property
    def claims(self) -> int:
        """Claims of all replicas that Redis knows of, also of those that are gone."""
        return sum(one.claims for one in self.known.replicas.values())


def look(entry: Entry, store: Store, view: BackendView, now: float) -> Scene | None:
    """The snapshot; None while something has not been seen for the first time."""
    if not view.synced:
        return None
    pool = entry.pool
    spec, problem = _spec(entry, store)
    latest = _latest(entry)
    if latest is None and problem is None and entry.spec is not None:
        return None
    known, asked, queue_problem, since = NO_REPLICAS, None, None, None
    reading: Reading | Unknown = Unknown(since=now, why="the queues have not been read yet")
    suspects: frozenset[str] = frozenset()
    marks: dict[str, bool] = {}
    skew = 0.0
    if isinstance(latest, Seen):
        known, asked = latest.state.pools.get(pool.uid, NO_REPLICAS), latest.asked_monotonic
        skew = latest.skew_seconds
        marks = entry.marks.newer_than(asked)
        found = _doubted(entry, latest, known, view) or pool_reading(latest, pool.uid, entry.queues)
        suspects = frozenset(entry.suspicion.replicas)
        if isinstance(found, Reading):
            reading = _without_helpers(found, entry, store, latest)
        else:
            queue_problem, since = found, entry.memory.unknown_since or latest.asked_unix
    elif isinstance(latest, Failure):
        queue_problem, since = latest.problem, latest.since_unix
        suspects = frozenset(one.id for one in view.replicas if one.phase is not ReplicaPhase.STARTING)
    if queue_problem is not None:
        reading = Unknown(since=now if since is None else since, why=queue_problem.message)
    slots = slots_of(spec, entry.memory.learned) if spec else 1
    helped = store.helped(entry)
    observed = Observed(
        reading=reading,
        replicas=seen_replicas(view.replicas, known, slots=slots, suspects=suspects, marks=marks, skew_seconds=skew),
        wanted=view.wanted,
        lowering_blocked=view.lowering_blocked,
        capacity_short=view.capacity_problem.message if view.capacity_problem else "",
        refused=view.refused,
        ended=entry.endpoint.ended_runs(pool.uid, entry.memory.cursor) if entry.endpoint is not None else (),
        out_of_memory_at=view.out_of_memory_at,
        primary=helped.offered if helped else None,
        primary_missing=_missing(entry) if helped is None else "",
    )
    return Scene(
        pool=pool,
        crd=entry.spec,
        spec=None if problem else spec,
        view=view,
        observed=observed,
        known=known,
        asked_monotonic=asked,
        pool_problem=problem,
        # what is read well but refuses our writes loses our settings too: the refusal is the cause, not the loss
        queue_problem=entry.write_problem if isinstance(latest, Seen) and entry.write_problem else queue_problem,
        queue_failing_since=since,
    )


def _spec(entry: Entry, store: Store) -> tuple[PoolSpec | None, Problem | None]:
    """What the pool asks for, and why it is not followed."""
    pool = entry.pool
    found = followed_spec(entry.spec, deleted=entry.ending) if entry.spec else None
    spec = found if isinstance(found, PoolSpec) else None
    if entry.ending:
        return spec, None
    if pool.problem is not None:
        return spec, pool.problem
    if pool.spec is None:
        return spec, Problem(reason=ConditionReason.SPEC_INVALID, message="the spec cannot be read")
    if isinstance(found, Problem):
        return None, found
    if entry.helps == pool.key:
        return spec, Problem(reason=ConditionReason.SPEC_INVALID, message=f"spec.{helps_itself(pool.key.name)}")
    if (shared := store.sharing(entry)) is not None:
        other, queue = shared
        message = (
            f"queue '{queue}' is served by the older pool '{other.pool.key}' already: "
            "remove it from spec.queues of one of them, or delete one"
        )
        return spec, Problem(reason=ConditionReason.QUEUE_SHARED, message=message)
    return spec, None


def _latest(entry: Entry) -> Seen | Failure | None:
    endpoint = entry.endpoint
    if endpoint is not None:
        # a changed spec is attached a moment later: until then the reading is one of other queues, or of another server
        same = endpoint.attached.get(entry.pool.uid) == entry.queues and endpoint.key.place == entry.place
        return endpoint.latest(entry.pool.uid) if same else None
    if entry.endpoint_problem is not None:
        since, problem = entry.endpoint_problem
        return Failure(since_unix=since, problem=problem)
    return None


def _doubted(entry: Entry, seen: Seen, known: PoolState, view: BackendView) -> Problem | None:
    """Why this reading is not to be trusted, judged by what Redis itself says."""
    assert entry.endpoint is not None
    doubt = entry.suspicion.look(
        seen.state,
        known,
        (one.id for one in view.replicas if one.phase is not ReplicaPhase.STARTING),
        asked=seen.asked_unix,
        # also right after our own start: settings are published before the first replica comes
        settings_lost=not known.published and entry.settings_at < seen.asked_monotonic,
    )
    return lost_data(str(entry.endpoint.key)) if doubt else None


def offer(decision: Decision, observed: Observed) -> Primary:
    """What pools that overflow for this one are told of it."""
    active = (one for one in observed.replicas if one.phase is not ReplicaPhase.TERMINATING and one.blocked is None)
    goal_by = [name for name, _ in decision.without if name is not Limit.RUNNING]
    # a limit that lets some finish what they run is one all the same
    limited_by = goal_by[-1] if decision.limited_by is Limit.RUNNING and goal_by else decision.limited_by
    return Primary(limited_by=limited_by, slots=sum(one.slots for one in active), at=decision.at)


def _missing(entry: Entry) -> str:
    """The sentence for a pool that overflows for one that there is not; "" for one that overflows for none."""
    if entry.helps is None:
        return ""
    return (
        f"spec.overflow.forPoolRef '{entry.helps.name}': there is no such pool in namespace {entry.helps.namespace}: "
        "this pool holds"
    )


def _without_helpers(reading: Reading, entry: Entry, store: Store, seen: Seen) -> Reading:
    """Jobs in the same queues that pools run which overflow for this one: they need no slot of ours.

    The server does not say which queue a claim is of, so they are taken from the queues in their order. What our own
    replicas claim is counted by itself, and so never goes with them.
    """
    theirs = sum(
        replica.claims
        for one in store.overflowing(entry)
        if one.endpoint is entry.endpoint
        for replica in seen.state.pools.get(one.pool.uid, NO_REPLICAS).replicas.values()
    )
    queues = dict(reading.queues)
    for name, queue in queues.items():
        taken = min(theirs, queue.running)
        theirs -= taken
        queues[name] = replace(queue, running=queue.running - taken)
    return replace(reading, queues=queues)
