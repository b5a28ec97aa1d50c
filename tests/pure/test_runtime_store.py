"""Which pools share a queue, and which overflow for which."""

from __future__ import annotations

import pytest
from tests.fakes.pools import pool_object

from pool_operator.runtime.store import Store

OVERFLOW = {"forPoolRef": {"name": "own"}}


def store_of(**pools):
    """Pools by name, the first one is the oldest."""
    store, entries = Store(), {}
    for age, (name, changes) in enumerate(pools.items()):
        entries[name], _ = store.put(pool_object(name, created_at=float(age), **changes))
    return store, entries


def sharing(store, entries, name):
    found = store.sharing(entries[name])
    return found and (found[0].pool.key.name, found[1])


def test_two_pools_on_a_queue_are_one_too_many():
    store, entries = store_of(own={}, other={"queues": ("more", "default")})
    assert sharing(store, entries, "own") is None
    assert sharing(store, entries, "other") == ("own", "default")


@pytest.mark.parametrize("names", [("own", "cloud"), ("cloud", "own")], ids=["made later", "made first"])
def test_a_pool_may_share_with_the_one_that_it_overflows_for(names):
    store, entries = store_of(**{name: {"overflow": OVERFLOW} if name == "cloud" else {} for name in names})
    assert [sharing(store, entries, name) for name in names] == [None, None]
    assert store.helped(entries["cloud"]) is entries["own"]
    assert store.helped(entries["own"]) is None
    assert store.overflowing(entries["own"]) == [entries["cloud"]]
    assert store.overflowing(entries["cloud"]) == []


def test_so_may_two_that_overflow_for_the_same_one_but_nobody_else():
    store, entries = store_of(own={}, near={"overflow": OVERFLOW}, far={"overflow": OVERFLOW}, stranger={})
    assert [sharing(store, entries, name) for name in ("near", "far")] == [None, None]
    assert sharing(store, entries, "stranger")[1] == "default"


def test_a_reference_is_followed_when_it_changes_and_when_its_pool_goes():
    store, entries = store_of(own={}, cloud={"overflow": OVERFLOW})
    cloud = entries["cloud"].pool
    store.put(pool_object("cloud", uid=cloud.uid, created_at=1.0))
    assert store.overflowing(entries["own"]) == []
    assert sharing(store, entries, "cloud") == ("own", "default")
    store.put(cloud)
    store.deleted(entries["own"].pool.uid)
    assert store.helped(entries["cloud"]) is None
    successor, _ = store.put(pool_object("own", created_at=9.0))
    assert store.helped(entries["cloud"]) is successor
    store.forget(cloud.uid)
    assert store.overflowing(successor) == []


def test_a_pool_that_names_itself_helps_nobody():
    store, entries = store_of(own={"overflow": OVERFLOW})
    assert store.helped(entries["own"]) is None
    assert store.overflowing(entries["own"]) == []
