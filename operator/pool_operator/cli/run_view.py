"""What `run` and `status` show, for a terminal (rich) and as plain lines. Pure: pictures in, text out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from pool_client.states import printable
from pool_operator.app.local_record import Change
from pool_operator.app.picture import PoolPicture, QueueRow, ReplicaRow, RunningJob
from pool_operator.names import Reason
from pool_operator.runtime.spending import Purse

SHOWN_CHANGES = 5
SHOWN_REPLICAS = 24
BAR = 10
COUNTS_SECONDS = 2.0
HELD: Final = frozenset(
    {
        Reason.AT_MAXIMUM,
        Reason.BUDGET_EXHAUSTED,
        Reason.CAPACITY_SHORT,
        Reason.DRY_RUN,
        Reason.HOLD_CONTRADICTION,
        Reason.HOLD_UNKNOWN,
        Reason.INVALID,
        Reason.PAUSED,
        Reason.PRIMARY_KEEPS_UP,
        Reason.THRESHOLD_NOT_MET,
    }
)
"""Why waiting work gets no replica."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunView:
    """One frame of `run`."""

    picture: PoolPicture
    wanted: int = 0
    starting: int = 0  # processes that have not reported yet
    max_replicas: int = 0
    decision: str = ""
    reason: Reason | None = None  # of the decision
    changes: Sequence[Change] = ()
    problems: Sequence[str] = ()
    replica_seconds: float = 0.0
    cost: float | None = None  # None: the pool has no price
    profile: str = ""
    headroom_slots: int = 0
    purses: Sequence[Purse] = ()  # money of this day and this month
    ending: bool = False


def render(view: RunView) -> RenderableType:
    """The live frame."""
    parts: list[RenderableType] = [_title(view)]
    if rules := rules_line(view):
        parts.append(Text(rules, style="dim"))
    parts.append(queue_table(view.picture))
    if view.picture.replicas:
        parts.append(replica_table(view.picture))
    if view.starting:
        parts.append(Text(f"  + {view.starting} starting", style="yellow"))
    if view.decision:
        parts.append(Text.assemble(("now ", "bold"), view.decision))
    parts += [Text(f"{_clock(one.at)}  {_change(one)}", style="dim") for one in list(view.changes)[-SHOWN_CHANGES:]]
    parts += [Text(f"! {problem}", style="bold red") for problem in dict.fromkeys(view.problems)]
    if view.ending and (view.picture.replicas or view.starting):
        parts.append(
            Text("ending: running jobs finish or go back to their queue; Ctrl-C again to hurry", style="yellow")
        )
    return Group(*parts)


def _title(view: RunView) -> Text:
    there = len(view.picture.replicas) + view.starting
    return Text.assemble(
        (view.picture.pool, "bold"),
        f"   replicas {there} of {view.wanted} wanted, at most {view.max_replicas}",
        f"   {money(view.replica_seconds, view.cost)}",
    )


def rules_line(view: RunView) -> str:
    """Profile, headroom and budget, where there are any: `profile Fast, 2 slots ready for more; day 1.38 of 10 soft, 15 hard`."""
    ready = (
        f"{view.headroom_slots} slot{'s' * (view.headroom_slots != 1)} ready for more" if view.headroom_slots else ""
    )
    first = ", ".join(part for part in (f"profile {view.profile}" if view.profile else "", ready) if part)
    spent = [
        f"{one.period} {one.spent:.2f} of {', '.join(f'{amount:g} {kind}' for kind, amount in one.limits.items())}"
        for one in view.purses
        if one.limits
    ]
    return "; ".join(part for part in (first, *spent) if part)


def money(replica_seconds: float, cost: float | None) -> str:
    """Replica time, and what it cost where a price is set."""
    hours, rest = divmod(int(replica_seconds), 3600)
    worked = f"{hours} h {rest // 60:02d} min" if hours else f"{rest // 60} min {rest % 60:02d} s"
    return f"{worked} of replica time" + ("" if cost is None else f", cost {cost:.4f}")


def queue_table(picture: PoolPicture) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    for name in ("queue", "waiting", "running", "scheduled", "finished", "failed", "oldest"):
        table.add_column(name, justify="left" if name == "queue" else "right")
    for one in picture.queues:
        if one.problem:
            table.add_row(one.name, Text(one.problem, style="red"))
            continue
        failed = Text(str(one.failed), style="red" if one.failed else "")
        table.add_row(
            one.name,
            str(one.waiting),
            str(one.running),
            str(one.scheduled),
            Text(str(one.finished), style="green"),
            failed,
            seconds(one.oldest_wait_seconds),
        )
    return table


def replica_table(picture: PoolPicture) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    for name in ("replica", "phase", "slots", "jobs"):
        table.add_column(name, no_wrap=True)
    for one in picture.replicas[:SHOWN_REPLICAS]:
        jobs = "   ".join(_job(job) for job in one.jobs) or "-"
        table.add_row(short(one.id), _phase(one), f"{len(one.jobs)}/{one.slots}", escape(jobs))
    if (more := len(picture.replicas) - SHOWN_REPLICAS) > 0:
        table.add_row(f"and {more} more")
    return table


def _phase(one: ReplicaRow) -> Text:
    colour = {"Ready": "green", "Starting": "yellow", "Silent": "red"}.get(one.phase, "cyan")
    return Text(one.phase, style=colour)


def _job(job: RunningJob) -> str:
    what = printable(job.description or job.job[:8])
    if job.progress is None:
        return f"{what[:48]} {job.seconds:.0f} s"
    full = round(job.progress * BAR)
    return f"{what[:48]} {'█' * full}{'░' * (BAR - full)} {job.progress:.0%}"


def short(replica: str) -> str:
    """Enough of an id to tell replicas apart."""
    head, _, tail = replica.partition("-")
    return f"{head}-{tail[:8]}" if tail else replica[:14]


def seconds(value: float | None) -> str:
    """A duration for a column."""
    if value is None:
        return "-"
    if value < 120:
        return f"{value:.0f} s"
    return f"{value / 60:.0f} min" if value < 7200 else f"{value / 3600:.1f} h"


# --- plain lines --------------------------------------------------------------------------------------------------


class PlainLines:
    """Remembers what was said: gives only what is new, one line a fact; counts at most every COUNTS_SECONDS."""

    def __init__(self) -> None:
        self._changes = 0
        self._held: Reason | None = None
        self._counts = ""
        self._counts_at = float("-inf")
        self._problems: tuple[str, ...] = ()

    def of(self, view: RunView) -> list[str]:
        """Lines for this frame, maybe none."""
        lines = [f"{_clock(one.at)} {_change(one)}" for one in view.changes[self._changes :]]
        lines += self._holding(view, view.changes[self._changes :])
        self._changes = len(view.changes)
        fresh = dict.fromkeys(one for one in view.problems if one not in self._problems)
        lines += [f"{_clock(view.picture.at)} ! {one}" for one in fresh]
        self._problems = tuple(view.problems)
        counts = counts_line(view)
        if counts != self._counts and view.picture.at - self._counts_at >= COUNTS_SECONDS:
            self._counts, self._counts_at = counts, view.picture.at
            lines.append(f"{_clock(view.picture.at)} {counts}")
        return lines

    def _holding(self, view: RunView, told: Sequence[Change]) -> list[str]:
        """Why work waits, once each time that the reason changes, unless a change of replicas has just said it."""
        if not any(one.waiting for one in view.picture.queues):
            return []
        before, self._held = self._held, view.reason if view.reason in HELD else None
        if self._held in {None, before} or any(view.reason == one.reason for one in told):
            return []
        return [f"{_clock(view.picture.at)} {view.reason}: {view.decision}"]


def counts_line(view: RunView) -> str:
    """Queue and replicas in one line."""
    ready = sum(one.phase == "Ready" for one in view.picture.replicas)
    there = len(view.picture.replicas) + view.starting
    return f"{totals(view.picture.queues)}; replicas {there} ({ready} ready), wanted {view.wanted}"


def totals(queues: Iterable[QueueRow]) -> str:
    """All queues of a pool together."""
    rows = tuple(queues)
    parts = [f"{sum(getattr(one, name) for one in rows)} {name}" for name in ("waiting", "running", "finished")]
    parts += [
        f"{number} {name}" for name in ("failed", "scheduled") if (number := sum(getattr(one, name) for one in rows))
    ]
    return ", ".join(parts)


def farewell(view: RunView) -> str:
    """The last line of a run."""
    left = sum(one.waiting + one.running + one.scheduled for one in view.picture.queues)
    kept = f"; {left} jobs are left for the next run" if left else ""
    rules = rules_line(replace(view, headroom_slots=0))
    return (
        f"{totals(view.picture.queues)}; {money(view.replica_seconds, view.cost)}{f'; {rules}' if rules else ''}{kept}"
    )


def status_lines(pictures: Sequence[PoolPicture]) -> Group:
    """The answer of `status`."""
    parts: list[RenderableType] = []
    for one in pictures:
        state = "deleted, ends its work" if one.settings and one.settings.deleted else ""
        parts += [Text.assemble((one.pool, "bold"), f"  {len(one.replicas)} replicas  {state}"), queue_table(one)]
        parts += [replica_table(one)] if one.replicas else []
        parts.append(Text(""))
    return Group(*parts[:-1])


def _change(one: Change) -> str:
    return f"{one.before} -> {one.after} replicas, {one.reason}: {one.message}"


def _clock(at: float) -> str:
    return datetime.fromtimestamp(at).astimezone().strftime("%H:%M:%S")
