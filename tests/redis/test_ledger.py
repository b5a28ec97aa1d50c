"""The ledger in Redis and in files: appended behind what is there, bounded, fenced, and read as it was written."""

from __future__ import annotations

import gzip

import pytest
from redis.exceptions import ResponseError
from tests.redis.contract_harness import POOL, PREFIX, Office

from pool_contract import keys, ledger, scripts
from pool_contract.ledger import LedgerError, LedgerFiles
from pool_contract.scripts import StaleEpochError

EPOCH = 7


@pytest.fixture
def office(server):
    office = Office(server)
    yield office
    office.redis.close()


def lines(first, number, *, filler=0):
    return [{"kind": "step", "at": float(at), "x": "y" * filler} for at in range(first, first + number)]


def checkpoint(at):
    return {"kind": "checkpoint", "at": float(at), "text": "ä\ud800\n"}


def append(office, records, *, after=None, epoch=EPOCH, **bounds):
    call = ledger.append(PREFIX, pool=POOL, epoch=epoch, chunks=ledger.pack(records), after=after, **bounds)
    return office.run(call)


def written(office):
    return list(ledger.read_stream(office.redis, PREFIX, POOL))


def test_what_is_written_is_read(office):
    records = [checkpoint(0), *lines(1, 5000, filler=100)]
    found = append(office, records)
    assert found.written
    assert written(office) == records
    assert office.redis.xlen(keys.ledger(PREFIX, POOL)) > 5  # in chunks
    more = lines(6000, 3)
    assert append(office, more, after=found.end_bytes).written
    assert written(office) == records + more


def test_no_ledger_is_no_record(office):
    assert written(office) == []
    assert office.run(ledger.tail(PREFIX, pool=POOL)).records == ()


def test_it_costs_little(office):
    rows = [[1.8e9 + second * 30.017, 1234567890 + second, 1.8e9 + second * 30.016] for second in range(120)]
    append(office, [{"kind": "calls", "rows": rows}])
    assert office.redis.memory_usage(keys.ledger(PREFIX, POOL)) < 120 * 60


def test_the_oldest_go_when_the_bytes_are_used_up(office):
    after, most = None, 20_000
    for number in range(60):
        after = append(office, lines(number * 100, 100, filler=7), after=after, max_bytes=most).end_bytes
    entries = office.redis.xrange(keys.ledger(PREFIX, POOL))
    assert 0 < sum(len(fields[b"z"]) for _, fields in entries) <= most
    assert len(entries) < 60
    assert written(office)[-1] == lines(5999, 1, filler=7)[0]
    assert all(record["kind"] == "step" for record in written(office))  # no gap: only the front is missing


def test_one_chunk_that_is_larger_than_the_bound_does_not_loop(office):
    assert append(office, lines(0, 3000), max_bytes=100).written
    assert written(office) == []


def test_the_number_of_chunks_is_bounded(office):
    after = None
    for number in range(500):
        after = append(office, lines(number, 1), after=after, max_entries=100).end_bytes
    assert office.redis.xlen(keys.ledger(PREFIX, POOL)) < 300  # ~: in whole nodes of the stream


def test_it_ends_some_time_after_its_pool(office):
    append(office, lines(0, 1), ttl_seconds=1000)
    assert 900 < office.redis.ttl(keys.ledger(PREFIX, POOL)) <= 1000


def test_an_older_leader_is_refused_and_writes_nothing(office):
    append(office, lines(0, 1), epoch=8)
    with pytest.raises(StaleEpochError, match="epoch 8"):
        append(office, lines(5, 1), epoch=7)
    assert written(office) == lines(0, 1)


def test_a_new_leader_goes_on_at_the_end(office):
    append(office, lines(0, 1), epoch=7)
    append(office, lines(5, 1), epoch=8)
    assert written(office) == [*lines(0, 1), *lines(5, 1)]


def test_nothing_is_written_where_redis_forgot_or_has_it_already(office):
    end = append(office, lines(0, 10)).end_bytes
    again = append(office, lines(10, 1), after=end)
    assert append(office, lines(10, 1), after=end) == ledger.Appended(written=False, end_bytes=again.end_bytes)
    office.redis.delete(keys.ledger(PREFIX, POOL))
    assert append(office, lines(20, 1), after=again.end_bytes) == ledger.Appended(written=False, end_bytes=0)
    assert written(office) == []


def test_the_last_words_of_a_deleted_pool_do_not_keep_its_epoch(office):
    office.run(scripts.publish_settings(PREFIX, pool=POOL, epoch=EPOCH, settings=None))
    append(office, lines(0, 1))
    assert 0 < office.redis.ttl(keys.epoch(PREFIX, POOL)) <= 7 * 86400


def test_a_key_of_another_program_is_told_and_left_alone(office):
    office.redis.set(keys.ledger(PREFIX, POOL), "mine")
    for call in (
        ledger.append(PREFIX, pool=POOL, epoch=EPOCH, chunks=ledger.pack(lines(0, 1)), after=None),
        ledger.tail(PREFIX, pool=POOL),
    ):
        with pytest.raises(ResponseError, match="WRONGTYPE"):
            office.run(call)
    assert office.redis.get(keys.ledger(PREFIX, POOL)) == b"mine"


def test_the_tail_reaches_back_to_a_checkpoint(office):
    after = None
    for batch in ([checkpoint(0)], lines(1, 2), [checkpoint(3)], lines(4, 2), lines(6, 2)):
        after = append(office, batch, after=after).end_bytes
    found = office.run(ledger.tail(PREFIX, pool=POOL))
    assert found.checkpoint
    assert list(found.records) == [checkpoint(3), *lines(4, 4)]
    short = office.run(ledger.tail(PREFIX, pool=POOL, limit=2))
    assert (list(short.records), short.checkpoint, short.more) == (lines(4, 4), False, True)
    elders = office.run(ledger.tail(PREFIX, pool=POOL, limit=2, before=short.first_id))
    assert (list(elders.records), elders.checkpoint) == ([checkpoint(3)], True)


def test_what_is_missing_or_broken_in_between_is_a_gap(office):
    after = None
    for number in range(5):
        after = append(office, lines(number, 1), after=after).end_bytes
    entries = office.redis.xrange(keys.ledger(PREFIX, POOL))
    office.redis.xdel(keys.ledger(PREFIX, POOL), entries[2][0])
    office.redis.xadd(keys.ledger(PREFIX, POOL), {"z": "no chunk", "start": after})
    assert [record["kind"] for record in written(office)] == ["step", "step", "gap", "step", "step", "gap"]


# --- files ------------------------------------------------------------------------------------------------------------


def test_files_hold_the_same_lines(tmp_path):
    records = [checkpoint(0), *lines(1, 10)]
    files = LedgerFiles(tmp_path)
    assert not files.append(records[:4])
    files.append(records[4:])
    assert list(ledger.read_files(tmp_path)) == records
    assert (tmp_path / "ledger.jsonl").stat().st_mode & 0o777 == 0o600


def test_a_full_file_is_kept_once(tmp_path):
    files = LedgerFiles(tmp_path, max_bytes=500)
    for number in range(40):
        if files.append(lines(number, 1, filler=100)):
            files.rotate()
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names in (["ledger.1.jsonl"], ["ledger.1.jsonl", "ledger.jsonl"])
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) < 1500
    assert list(ledger.read_files(tmp_path))[-1] == lines(39, 1, filler=100)[0]


def test_a_full_file_that_was_taken_away_keeps_nothing_from_being_written(tmp_path):
    files = LedgerFiles(tmp_path, max_bytes=1)
    assert files.append(lines(0, 1))
    (tmp_path / "ledger.jsonl").unlink()
    files.rotate()
    files.append(lines(1, 1))
    assert list(ledger.read_files(tmp_path)) == lines(1, 1)


def test_a_torn_line_is_a_gap_and_the_next_is_whole(tmp_path):
    files = LedgerFiles(tmp_path)
    files.append(lines(0, 2))
    path = tmp_path / "ledger.jsonl"
    path.write_bytes(path.read_bytes()[:-5])
    files.append(lines(5, 1))
    assert [record["kind"] for record in ledger.read_files(tmp_path)] == ["step", "gap", "step"]


@pytest.mark.parametrize("name", ["ledger.jsonl", "ledger.jsonl.gz"])
def test_an_exported_ledger_is_read_again(tmp_path, name):
    records = [checkpoint(0), *lines(1, 10)]
    assert ledger.write_file(tmp_path / name, records) == 11
    assert list(ledger.read_file(tmp_path / name)) == records


@pytest.mark.parametrize(
    "content", [b"arrival_s,service_s\n1,2\n", b"\x00\x01", b"[1]\n", gzip.compress(b"{}\n", mtime=0), b'{"kind"']
)
def test_another_file_is_told(tmp_path, content):
    path = tmp_path / "other"
    path.write_bytes(content)
    with pytest.raises(LedgerError, match="is no ledger"):
        list(ledger.read_file(path))


def test_a_damaged_file_is_told(tmp_path):
    path = tmp_path / "ledger.jsonl.gz"
    ledger.write_file(path, lines(0, 1000, filler=10))
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(LedgerError, match="is damaged"):
        list(ledger.read_file(path))
