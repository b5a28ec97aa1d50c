"""What a pool would have done with other settings: the recorded jobs once more, in the simulator's closed loop.

Simulated, not recorded: replicas start after the cold start that the engine had learned, nothing else was learned
before, no replica dies, and arrivals are as exact as the ledger tells them (app/workload.py). So the recorded settings
are simulated too, to compare like with like.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import yaml

from pool_operator.api.load import PoolFileError, strict
from pool_operator.app.workload import Workload
from pool_operator.engine.record import Call, Checkpoint, Entry
from pool_operator.engine.replay import remembered
from pool_operator.engine.types import Budget, PoolSpec
from pool_operator.names import Mode
from pool_operator.runtime.meter import Meter
from pool_operator.simulate.ours import Ours
from pool_operator.simulate.result import Result, quantiles
from pool_operator.simulate.run import simulate
from pool_operator.simulate.terms import Terms
from pool_operator.simulate.timeline import Series, Timeline


class SettingError(ValueError):
    """A --set that cannot be used; the text is the sentence for the user."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """One column of the comparison."""

    name: str
    simulated: bool
    replica_hours: float
    cost: float
    waits: Sequence[float]
    most_replicas: int
    series: Series
    unfinished: int = 0

    def wait(self, share: float) -> float:
        return quantiles(self.waits, (share,))[0]

    @property
    def mean_wait_seconds(self) -> float:
        return math.fsum(self.waits) / len(self.waits) if self.waits else 0.0


# --- settings ---------------------------------------------------------------------------------------------------------


def changed(asked: dict[str, Any], settings: Iterable[str]) -> dict[str, Any]:
    """The spec that the user asked for, with `scaling.profile=Fast` and the like.

    Raises:
        SettingError: it is no path=value, or the spec does not take it.
    """
    found = copy.deepcopy(asked)
    for setting in settings:
        path, equals, text = setting.partition("=")
        names = path.removeprefix("spec.").split(".")
        if not equals or not all(names):
            raise SettingError(f"--set '{setting}': write field=value, such as scaling.profile=Fast")
        try:
            value = yaml.safe_load(text)
        except yaml.YAMLError:
            raise SettingError(f"--set '{setting}': the value is not YAML") from None
        where = found
        for name in names[:-1]:
            where = where.setdefault(name, {})
            if not isinstance(where, dict):
                raise SettingError(f"--set '{setting}': '{name}' is no group of fields; set it as a whole, in YAML")
        where[names[-1]] = value
    try:
        strict(found)
    except PoolFileError as error:
        raise SettingError(f"--set: {error}") from error
    return found


def cold_start_seconds(entries: Sequence[Entry]) -> float:
    """As the engine had learned it at the end."""
    last = max(place for place, entry in enumerate(entries) if isinstance(entry, Checkpoint))
    memory = remembered(entries[last:])
    assert memory is not None
    return memory.cold_starts.mean_seconds


# --- columns ----------------------------------------------------------------------------------------------------------


def recorded(entries: Iterable[Entry], jobs: Workload, price: float) -> Outcome:
    """What was, by the ledger."""
    calls = [entry for entry in entries if isinstance(entry, Call)]
    meter = Meter()
    seconds = math.fsum(meter.look(call.observed.replicas, call.at) for call in calls)
    end = max(calls[-1].at - jobs.began_at, 1.0)
    timeline = Timeline(end)
    for one, after in pairwise(calls):
        reading = one.observed.reading
        queues = getattr(reading, "queues", {}).values()
        since, until = one.at - jobs.began_at, after.at - jobs.began_at
        if 0 <= since < until:
            running, waiting = sum(queue.running for queue in queues), sum(queue.waiting for queue in queues)
            timeline.held(since, until, len(one.observed.replicas), running, waiting)
    return Outcome(
        name="what was",
        simulated=False,
        replica_hours=seconds / 3600,
        cost=seconds / 3600 * price,
        waits=[job.wait_seconds for job in jobs.jobs],
        most_replicas=max(len(call.observed.replicas) for call in calls),
        series=timeline.series(end),
    )


def simulated(name: str, spec: PoolSpec, jobs: Workload, *, cold_start: float) -> Outcome:
    """What these settings do with the recorded jobs."""
    price = spec.budget.price_per_replica_hour if spec.budget else 0.0
    terms = Terms(
        cold_start_seconds=cold_start,
        slots=spec.slots_per_replica,
        min_replicas=spec.min_replicas,
        max_replicas=spec.max_replicas,
        price_per_replica_hour=price,
        time_zone=spec.budget.time_zone if spec.budget else "UTC",
        epoch=jobs.began_at,
    )
    trace = jobs.trace("ledger")
    known = {queue.name for queue in spec.queues}
    if missing := [queue for queue in trace.queue_names if queue not in known]:
        raise SettingError(f"the ledger has jobs of queue '{missing[0]}', which these settings do not serve")
    # a pool that is Paused or a dry run would do nothing: what it would do if it acted is the question
    acting = replace(spec, mode=Mode.ACTIVE, overflow_after_seconds=None)
    found: Result = simulate(trace, Ours(spec=acting), terms)
    return Outcome(
        name=name,
        simulated=True,
        replica_hours=found.replica_seconds / 3600,
        cost=found.cost,
        waits=found.waits,
        most_replicas=found.peak_replicas,
        series=found.series,
        unfinished=found.unfinished,
    )


def priced(spec: PoolSpec, price: float) -> PoolSpec:
    """The same money for each column, where only some name a price."""
    return spec if spec.budget or not price else replace(spec, budget=Budget(price_per_replica_hour=price))


# --- the plot ---------------------------------------------------------------------------------------------------------


def plot(path: Path, pool: str, outcomes: Sequence[Outcome]) -> None:
    """Replicas and waiting jobs over time, one row for each column of the table. Needs matplotlib."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 2.6 * len(outcomes)), layout="tight")
    rows = figure.subplots(len(outcomes), 1, sharex=True, squeeze=False)
    for axis, one in zip((row[0] for row in rows), outcomes, strict=True):
        hours = [at / 3600 for at in one.series.at]
        axis.fill_between(hours, one.series.waiting, step="post", alpha=0.3, color="tab:orange", label="jobs waiting")
        axis.step(hours, one.series.replicas, where="post", color="tab:blue", label="replicas")
        kind = "simulated" if one.simulated else "recorded"
        axis.set_title(
            f"{one.name} ({kind}): {one.replica_hours:.2f} replica-hours, mean wait {one.mean_wait_seconds:.1f} s",
            fontsize=9,
        )
        axis.legend(loc="upper right", fontsize=8)
    rows[-1][0].set_xlabel("hours since the first reading")
    figure.suptitle(pool)
    figure.savefig(path, dpi=110)
