"""One policy on one trace: run it, and say what it cost and how long jobs waited."""

from __future__ import annotations

import math
from dataclasses import replace

from pool_operator.simulate.close_up import Moments
from pool_operator.simulate.days import days_of
from pool_operator.simulate.ours import Ours, run_ours
from pool_operator.simulate.policy import Peer
from pool_operator.simulate.result import Result
from pool_operator.simulate.terms import Progress, Terms
from pool_operator.simulate.ticking import run_peer
from pool_operator.simulate.trace import Trace
from pool_operator.simulate.world import World


def simulate(
    trace: Trace,
    policy: Peer | Ours,
    terms: Terms,
    *,
    progress: Progress | None = None,
    oracle_seconds: float | None = None,
) -> Result:
    """Run a policy until every job has ended and every replica is gone.

    Args:
        trace: the jobs.
        policy: a peer, built anew for this run, or ours.
        terms: what is the same for every policy of a comparison.
        progress: called now and then.
        oracle_seconds: the clairvoyant's replica-seconds on the same trace and terms, told in the result.
    """
    if isinstance(policy, Ours):
        world, decisions = run_ours(trace, policy, terms, progress)
    else:
        world = World(trace, terms, names=trace.queue_names or ("",))
        decisions = run_peer(world, policy, progress)
    result = _result(world, policy.name, decisions, oracle_seconds)
    if progress is not None:
        progress(trace.jobs, trace.jobs)
    if isinstance(policy, Ours):
        return replace(result, profile=policy.profile, wait_value=policy.spec.wait_value)
    return result


def _result(world: World, name: str, decisions: int, oracle_seconds: float | None) -> Result:
    trace, terms = world.trace, world.terms
    started = [number for number in range(trace.jobs) if world.began[number] >= 0]
    waits = [world.began[number] - trace.arrivals[number] for number in started]
    queue_waits: dict[str, list[float]] = {queue: [] for queue in world.names}
    for number, wait in zip(started, waits, strict=True):
        queue_waits[world.names[world.queue_of[number]]].append(wait)
    end = max((pod.exited for pod in world.gone), default=world.now)
    seconds = math.fsum(pod.exited - pod.created for pod in world.gone)
    return Result(
        trace=trace.name,
        policy=name,
        cold_start_seconds=terms.cold_start_seconds,
        slots=terms.slots,
        waits=waits,
        queue_waits=queue_waits,
        replica_seconds=seconds,
        work_seconds=math.fsum(trace.services) / terms.slots,
        oracle_seconds=oracle_seconds,
        pod_starts=world.pod_starts,
        unused_starts=sum(not pod.served for pod in world.gone),
        scale_actions=world.scale_actions,
        decisions=decisions,
        jobs=trace.jobs,
        jobs_hit=world.hits,
        kills=world.kills,
        given_up=world.given_up,
        killed_seconds=world.killed_seconds,
        peak_replicas=world.peak,
        ended_at=end,
        cold_start_seconds_billed=math.fsum(min(pod.ready_at, pod.exited) - pod.created for pod in world.gone),
        cost=seconds / 3600 * terms.price_per_replica_hour,
        unfinished=trace.jobs - world.ended,
        series=world.timeline.series(end),
        moments=Moments(
            arrivals=trace.arrivals,
            began=world.began,
            ended=world.finished,
            created=[pod.created for pod in world.gone],
            gone=[pod.exited for pod in world.gone],
        ),
        days=days_of(world, terms, end),
    )
