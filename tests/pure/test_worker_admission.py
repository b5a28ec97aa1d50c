"""Which jobs may run, decided on their bytes alone."""

from __future__ import annotations

import contextlib
import json
import pickle
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pool_worker import admission
from pool_worker.admission import AllowList, RefusedError, admit, defined_there

LIST = AllowList(("shop.jobs:*", "shop.extra:one", "shop.extra:Class.method"))


def stored(*payload, serializer=json):
    written = serializer.dumps(list(payload) or ["shop.jobs.run", None, [], {}])
    return zlib.compress(written if isinstance(written, bytes) else written.encode())


def refusal(raw, serializer="json", allowed=LIST):
    with pytest.raises(RefusedError) as caught:
        admit(raw, serializer, allowed)
    text = str(caught.value)
    assert "\n" not in text
    return text


@pytest.mark.parametrize(
    ("name", "allowed"),
    [
        ("shop.jobs.run", True),
        ("shop.extra.one", True),
        ("shop.extra.Class.method", True),
        ("shop.extra.two", False),
        ("shop.jobs._private", False),
        ("shop.jobs.os.system", False),
        ("shop.jobs", False),
        ("shop.jobs.", False),
        ("shop.jobs.run()", False),
        ("xshop.jobs.run", False),
        ("run", False),
        ("print", False),
        ("", False),
        ("shop.jobs.run\n", False),
    ],
)
def test_a_pattern_lets_in_exactly_what_it_says(name, allowed):
    assert LIST.allows(name) is allowed


def test_a_star_lets_in_everything():
    assert AllowList(("*",)).allows("os.system")


def test_only_a_wildcard_asks_where_a_function_is_defined():
    assert LIST.by_wildcard("shop.jobs.run") == "shop.jobs"
    assert LIST.by_wildcard("shop.extra.one") is None
    assert AllowList(("*",)).by_wildcard("shop.jobs.run") is None
    assert AllowList(("a.b:*", "a.b:c")).by_wildcard("a.b.c") is None
    assert defined_there(json.loads, "json")
    assert not defined_there(json.loads, "shop.jobs")


def test_an_allowed_job_is_admitted():
    admit({b"data": stored()}, "json", LIST)
    admit({b"data": json.dumps(["shop.jobs.run", None, [], {}]).encode()}, "json", LIST)  # RQ reads it unpacked, too
    admit({b"data": stored(), b"failure_callback_name": b"shop.extra.one"}, "json", LIST)
    admit({b"data": stored(serializer=pickle)}, "pickle", LIST)


@pytest.mark.parametrize(
    ("raw", "says"),
    [
        ({}, "has no payload (field `data`)"),
        (
            {b"data": stored(serializer=pickle)},
            "start the worker with --serializer pickle (PROCESSINGPOOL_SERIALIZER=pickle)",
        ),
        ({b"data": b"\xff\xfe"}, "is not JSON: enqueue with RQ's serializer='json'"),
        ({b"data": b""}, "is not JSON"),
        ({b"data": zlib.compress(b"[" * 100_000)}, "is not JSON"),
        ({b"data": zlib.compress(b"{}")}, "is not RQ's [function, instance, args, kwargs]"),
        ({b"data": stored(1, None, [], {})}, "is not RQ's"),
        ({b"data": stored("shop.jobs.run", None, {}, {})}, "is not RQ's"),
        ({b"data": stored("format", "text", [], {})}, "on an object from its payload"),
        ({b"data": stored("os.system", None, ["true"], {})}, "--allow os:system (PROCESSINGPOOL_ALLOW)"),
        ({b"data": stored("eval", None, ["1"], {})}, "--allow package.module:eval"),
        ({b"data": stored(), b"success_callback_name": b"os.getcwd"}, "the job's success callback 'os.getcwd'"),
        ({b"data": stored(), b"stopped_callback_name": b"\xff"}, "the job's stopped callback"),
    ],
)
def test_a_refusal_names_the_setting_or_the_fix(raw, says):
    assert says in refusal(raw)


def test_json_where_pickle_is_read_names_the_setting():
    assert "--serializer json (PROCESSINGPOOL_SERIALIZER=json)" in refusal({b"data": stored()}, "pickle")


def test_a_small_packet_cannot_fill_the_memory(monkeypatch):
    monkeypatch.setattr(admission, "LARGEST_PAYLOAD_BYTES", 1 << 20)
    assert "is larger than 1 MiB" in refusal({b"data": zlib.compress(b" " * (1 << 21))})


@given(st.binary(max_size=300), st.sampled_from(["json", "pickle"]), st.binary(max_size=50))
def test_any_bytes_are_admitted_or_refused_and_never_read_as_pickle(data, serializer, callback):
    with contextlib.suppress(RefusedError):
        admit({b"data": data, b"success_callback_name": callback}, serializer, LIST)
