"""How many slots the work at hand needs now: what waits plus what is in flight."""

from __future__ import annotations

from dataclasses import dataclass

from pool_operator.engine.fleet import Fleet
from pool_operator.engine.types import PoolSpec, QueueReading, Reading

NOTHING = QueueReading(waiting=0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Demand:
    """Jobs, which are slots: a slot runs one job."""

    waiting: int  # could start now, in queues that call for replicas: waiting and due
    running: int  # in flight: claimed, or claimed by a replica that was lost (it will have to run again)
    fillers: int  # wait in queues with scaleUp Never
    slots: int


def demand_of(spec: PoolSpec, reading: Reading, fleet: Fleet) -> Demand:
    """Count the work.

    - A job in a queue with `scaleUp: Never` that waits needs nothing. One that runs occupies its slot while others
      wait, so it counts; when nothing else waits it keeps no replica: its replica is drained, finishes it, and goes.
    - A job whose lease has ended counts: it will have to run again.
    - A job on a replica that is told to end does not: it ends there, or comes back to the queue and counts then.
    - What foreign workers run, or have just popped, needs no slot of ours.

    Three wait, two run in replicas that stay, one in a replica that is told to end: five slots.
    """
    called = [reading.queues.get(queue.name, NOTHING) for queue in spec.queues if queue.triggers]
    filling = [reading.queues.get(queue.name, NOTHING) for queue in spec.queues if not queue.triggers]
    waiting = sum(one.waiting + one.due for one in called)
    leased = sum(one.running + one.expired for one in (*called, *filling))
    # claims are counted too: after a change of spec.queues, jobs of a queue that left it still run
    running = max(leased - fleet.ending_claims, fleet.claims)
    if not waiting:
        running = max(0, running - sum(one.running + one.expired for one in filling))
    return Demand(
        waiting=waiting,
        running=running,
        fillers=sum(one.waiting + one.due for one in filling),
        slots=waiting + running,
    )
