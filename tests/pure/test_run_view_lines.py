"""What `run` and `status` show: pictures in, text out."""

from __future__ import annotations

from dataclasses import replace

import pytest
from rich.console import Console

from pool_operator.app.local_record import Change
from pool_operator.app.picture import PoolPicture, QueueRow, ReplicaRow, RunningJob
from pool_operator.cli.run_view import PlainLines, RunView, money, render, seconds, short, status_lines
from pool_operator.names import Reason

AT = 1_800_000_000.0
QUEUE = QueueRow(name="speech", waiting=3, running=1, scheduled=0, finished=7, failed=0, oldest_wait_seconds=42.0)
JOB = RunningJob(job="7f0c", queue="speech", description="talk [1].wav", seconds=12.0, progress=0.5)
REPLICA = ReplicaRow(id="local-88198a10-aaaa", phase="Ready", slots=2, drained=False, age_seconds=1.0, jobs=(JOB,))
PICTURE = PoolPicture(pool="media/demo", uid="u", at=AT, queues=(QUEUE,), replicas=(REPLICA,))
CHANGE = Change(at=AT, before=0, after=4, reason="WorkWaiting", message="4 jobs wait")
VIEW = RunView(picture=PICTURE, wanted=4, starting=2, max_replicas=10, decision="4 jobs wait", changes=(CHANGE,))


def shown(renderable, width=120):
    console = Console(width=width, force_terminal=False, color_system=None)
    with console.capture() as capture:
        console.print(renderable)
    return capture.get()


def test_a_frame_shows_pool_queue_replicas_jobs_decision_and_money():
    text = shown(render(replace(VIEW, replica_seconds=95.0, cost=0.0182)))
    assert "media/demo   replicas 3 of 4 wanted, at most 10   1 min 35 s of replica time, cost 0.0182" in text
    assert "+ 2 starting" in text
    assert "local-88198a10  Ready  1/2    talk [1].wav █████░░░░░ 50%" in text
    assert "0 -> 4 replicas, WorkWaiting: 4 jobs wait" in text
    row = next(line for line in text.splitlines() if line.startswith("speech"))
    assert row.split() == ["speech", "3", "1", "0", "7", "0", "42", "s"]


def test_what_is_wrong_is_shown_in_place_of_numbers():
    broken = replace(QUEUE, problem="rq:queue:speech holds a string, not a list")
    text = shown(render(replace(VIEW, picture=replace(PICTURE, queues=(broken,)), problems=("no model",))))
    assert "holds a string, not a list" in text
    assert "! no model" in text


def test_the_end_is_explained_while_replicas_are_left():
    assert "Ctrl-C again to hurry" in shown(render(replace(VIEW, ending=True)))
    empty = replace(VIEW, ending=True, starting=0, picture=replace(PICTURE, replicas=()))
    assert "Ctrl-C again" not in shown(render(empty))


def test_many_replicas_do_not_push_the_rest_off_the_screen():
    many = tuple(replace(REPLICA, id=f"local-{number:08d}") for number in range(60))
    text = shown(render(replace(VIEW, picture=replace(PICTURE, replicas=many))))
    assert "and 36 more" in text
    assert len(text.splitlines()) < 40


def test_plain_lines_say_each_thing_once_and_counts_only_now_and_then():
    lines = PlainLines()
    first = lines.of(VIEW)
    assert [line.partition(" ")[2] for line in first] == [
        "0 -> 4 replicas, WorkWaiting: 4 jobs wait",
        "3 waiting, 1 running, 7 finished; replicas 3 (1 ready), wanted 4",
    ]
    assert lines.of(VIEW) == []
    soon = replace(VIEW, picture=replace(PICTURE, at=AT + 1, queues=(replace(QUEUE, waiting=2),)))
    assert lines.of(soon) == []
    later = replace(VIEW, picture=replace(PICTURE, at=AT + 3, queues=(replace(QUEUE, waiting=0, failed=1),)))
    assert lines.of(later)[0].endswith("0 waiting, 1 running, 7 finished, 1 failed; replicas 3 (1 ready), wanted 4")


def test_why_work_waits_is_told_once_each_time_that_the_reason_changes():
    lines = PlainLines()
    lines.of(VIEW)
    held = replace(VIEW, reason=Reason.PRIMARY_KEEPS_UP, decision="the pool that this one helps out keeps up")
    assert [line.partition(" ")[2] for line in lines.of(held)] == [
        "PrimaryKeepsUp: the pool that this one helps out keeps up"
    ]
    assert lines.of(replace(held, decision="other counts")) == []
    idle = replace(PICTURE, queues=(replace(QUEUE, waiting=0),))
    assert lines.of(replace(held, picture=idle, reason=Reason.BUDGET_EXHAUSTED)) == []
    assert lines.of(replace(held, reason=Reason.WORK_WAITING)) == []
    assert len(lines.of(held)) == 1
    assert len(lines.of(replace(held, reason=Reason.DRY_RUN))) == 1
    less = replace(CHANGE, before=4, after=1, reason="BudgetExhausted", message="no money")
    assert [line.partition(" ")[2] for line in lines.of(replace(held, reason=less.reason, changes=(CHANGE, less)))] == [
        "4 -> 1 replicas, BudgetExhausted: no money"
    ]


def test_a_problem_is_told_when_it_comes_and_again_when_it_comes_back():
    lines = PlainLines()
    lines.of(VIEW)
    trouble = replace(VIEW, problems=("Redis is away",))
    assert [line.partition(" ")[2] for line in lines.of(trouble)] == ["! Redis is away"]
    assert lines.of(trouble) == []
    assert lines.of(VIEW) == []
    assert len(lines.of(trouble)) == 1


def test_status_shows_every_pool():
    text = shown(status_lines([PICTURE, replace(PICTURE, pool="media/other", replicas=())]))
    assert "media/demo  1 replicas" in text
    assert "media/other  0 replicas" in text


@pytest.mark.parametrize(
    ("value", "text"), [(None, "-"), (0.4, "0 s"), (119, "119 s"), (120, "2 min"), (7200, "2.0 h"), (90_000, "25.0 h")]
)
def test_durations_fit_a_column(value, text):
    assert seconds(value) == text


def test_money_is_told_only_where_a_price_is_set():
    assert money(3_725, None) == "1 h 02 min of replica time"
    assert money(59.9, 0.5) == "0 min 59 s of replica time, cost 0.5000"


@pytest.mark.parametrize(
    ("replica", "text"), [("local-88198a10-b2", "local-88198a10"), ("0123456789abcdef", "0123456789abcd")]
)
def test_ids_are_shortened(replica, text):
    assert short(replica) == text
