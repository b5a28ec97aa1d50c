"""Traces: what can be read, and the sentence for what cannot."""

import gzip

import pytest

from pool_operator.simulate.generate import GENERATORS, generate
from pool_operator.simulate.trace import TraceError, load


def write(folder, text, name="jobs.csv"):
    path = folder / name
    path.write_bytes(gzip.compress(text.encode()) if name.endswith(".gz") else text.encode())
    return path


@pytest.mark.parametrize("name", ["jobs.csv", "jobs.csv.gz"])
def test_jobs_come_in_order_of_arrival_whatever_the_files_order(tmp_path, name):
    (trace,) = load(write(tmp_path, "arrival_s,service_s\n5,30\n0,60.5\n", name))

    assert (trace.name, trace.arrivals, trace.services) == ("jobs", [0.0, 5.0], [60.5, 30.0])
    assert (trace.hints, trace.queues, trace.known) == (None, None, None)


def test_hints_queues_and_schedules_are_read_where_they_are_given(tmp_path):
    text = "queue,arrival_s,service_s,hint_s,known_s\nlow,0,60,600,\nhigh,9,30,,2\n"

    (trace,) = load(write(tmp_path, text))

    assert (trace.queue_names, trace.queues) == (("low", "high"), [0, 1])
    assert (trace.hints, trace.known) == ([600.0, 0.0], [0.0, 2.0])


def test_a_folder_gives_all_its_traces_by_name(tmp_path):
    for name in ("b.csv", "a.csv.gz", "notes.txt"):
        write(tmp_path, "arrival_s,service_s\n0,1\n", name)

    assert [trace.name for trace in load(tmp_path)] == ["a", "b"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", ":1: has no column arrival_s and no column service_s"),
        ("arrival_s\n0\n", ":1: has no column service_s"),
        ("arrival_s,service_s,weight\n0,1,2\n", ":1: does not know the column 'weight'"),
        ("arrival_s,service_s\n", "holds no job"),
        ("arrival_s,service_s\n0,1\n5\n", ":3: has 1 values, the header has 2"),
        ("arrival_s,service_s\n0,soon\n", ":2: service_s is 'soon', but must be a number of seconds"),
        ("arrival_s,service_s\n-1,5\n", ":2: arrival_s is '-1', but must be a number of seconds"),
        ("arrival_s,service_s\n0,nan\n", ":2: service_s is 'nan'"),
        ("arrival_s,service_s,known_s\n4,5,6\n", ":2: known_s is 6, later than arrival_s, 4"),
    ],
)
def test_a_trace_that_cannot_be_used_is_told_by_file_line_and_fault(tmp_path, text, words):
    path = write(tmp_path, text)

    with pytest.raises(TraceError) as caught:
        load(path)

    assert str(caught.value).startswith(str(path))
    assert words in str(caught.value)


def test_what_is_not_there_not_gzip_or_cut_off_is_told_too(tmp_path):
    missing, false, empty = tmp_path / "none.csv", tmp_path / "false.csv.gz", tmp_path / "empty"
    false.write_text("arrival_s,service_s\n0,1\n")
    cut = tmp_path / "cut.csv.gz"
    cut.write_bytes(gzip.compress(b"arrival_s,service_s\n" + b"0,1\n" * 1000)[:-20])
    empty.mkdir()

    for path, words in (
        (missing, "No such file"),
        (false, "cannot be read"),
        (cut, "is cut off"),
        (empty, "no file that ends with .csv or .csv.gz"),
    ):
        with pytest.raises(TraceError, match=words):
            load(path)


@pytest.mark.parametrize("name", sorted(set(GENERATORS) - {"heavy"}))
def test_a_generated_trace_is_the_same_for_everybody_and_another_one_for_another_seed(name):
    trace = generate(name)

    assert generate(name) == trace
    assert generate(name, seed=1).arrivals != trace.arrivals
    assert trace.arrivals == sorted(trace.arrivals)
    assert min(trace.services) > 0


def test_what_is_told_is_all_that_differs_between_the_transcription_traces():
    told, blind, scheduled = (generate(f"transcription{end}") for end in ("", "-blind", "-scheduled"))

    assert told.arrivals == blind.arrivals == scheduled.arrivals
    assert told.services == blind.services == scheduled.services
    assert blind.hints is None
    assert scheduled.known is not None
    assert all(known <= at for known, at in zip(scheduled.known, scheduled.arrivals, strict=True))
