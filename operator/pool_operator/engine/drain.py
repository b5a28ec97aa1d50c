"""Which replicas to mark, so that they finish what they run, take nothing new, and may go when they are empty."""

from __future__ import annotations

from dataclasses import dataclass

from pool_operator.engine.fleet import Fleet
from pool_operator.engine.types import Observed, Replica, ReplicaPhase


@dataclass(slots=True, kw_only=True)
class Plan:
    """`drain`: to be marked, or to stay marked; `undrain`: marks to take away."""

    drain: tuple[str, ...] = ()
    undrain: tuple[str, ...] = ()


def plan_drain(observed: Observed, fleet: Fleet, *, goal: int, idle: bool) -> Plan:
    """Mark as many as are too many, in the order in which the backend would remove them.

    Marked replicas that are not among them are un-marked: when demand returns they come back before anything new
    starts. A busy replica may be marked: either the others have room for the work (the emptiest goes, so that long
    jobs do not pin half-empty replicas), or a limit was lowered; it goes when its last job has ended.

    Args:
        observed: for what the backend says of lowering.
        fleet: the replicas.
        goal: replicas that should be left.
        idle: no work at all is known of.
    """
    many = len(fleet.active) - goal
    if many <= 0 and not observed.lowering_blocked:
        return Plan(undrain=marked_besides(fleet))
    victims = sorted((one for one in fleet.active if _provable(one)), key=_removal)[: max(0, many)]
    if observed.lowering_blocked and goal > 0:
        if idle and observed.capacity_short and goal < observed.wanted:
            # a rollout that is stuck holds all replicas of both templates; all at once can go, the minimum comes back
            victims = [one for one in fleet.active if _provable(one)]
        else:
            # nothing may go now: a mark would only take away capacity that a rollout is short of already
            victims = [one for one in victims if one.drained]
    chosen = tuple(one.id for one in victims)
    return Plan(drain=chosen, undrain=marked_besides(fleet, chosen))


def marked_besides(fleet: Fleet, chosen: tuple[str, ...] = ()) -> tuple[str, ...]:
    """Active replicas that carry a mark and are not among the chosen."""
    if not fleet.marked:
        return ()
    return tuple(one.id for one in fleet.active if one.drained and one.id not in chosen)


def _provable(one: Replica) -> bool:
    """Can it be proved empty? Nobody is sent home on an unknown number of jobs; a mark that is there may stay."""
    return one.claims is not None or one.drained


def _removal(one: Replica) -> tuple[int, ...]:
    """Starting replicas strictly in the backend's order: they go before its marks count. Then the emptiest ready ones."""
    if one.phase is ReplicaPhase.STARTING:
        return (0, one.removal_rank)
    claims = one.slots + 1 if one.claims is None else one.claims
    return (1, claims, 0 if one.drained else 1, 0 if one.outdated else 1, one.removal_rank)
