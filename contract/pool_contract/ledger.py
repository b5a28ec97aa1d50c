"""The append-only record of a pool's readings and decisions: where it is kept, how it is added to and read.

In Redis a stream of chunks: JSON lines, compressed. On one machine a file of the same lines. What the lines say is the
engine's (`engine/record.py`); here a record has a `kind` and times, no more.
"""

from __future__ import annotations

import base64
import binascii
import gzip
import json
import os
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, cast

from redis import Redis

from pool_contract import keys
from pool_contract.scripts import Call

Record = dict[str, Any]

CHUNK_BYTES: Final = 64 * 1024
"""Of lines, before they are compressed."""
MAX_BYTES: Final = 16 * 1024 * 1024
"""Of one pool's chunks in Redis; of each of the two files on one machine."""
MAX_ENTRIES: Final = 100_000
TTL_SECONDS: Final = 35 * 86400
"""How long the ledger of a pool outlives its last record."""
FILES: Final = ("ledger.1.jsonl", "ledger.jsonl")  # oldest first
_PAGE: Final = 64


class LedgerError(Exception):
    """This is no ledger; the text is a sentence for the user."""


# --- in Redis -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Appended:
    """`written` False: the ledger ends elsewhere than the caller thought; nothing was written."""

    written: bool
    end_bytes: int


@dataclass(frozen=True, slots=True)
class Chunk:
    """Some lines, compressed; text, because scripts take JSON."""

    first_at: float
    last_at: float
    checkpoint: bool
    packed: str


def pack(records: Iterable[Record]) -> list[Chunk]:
    """Chunks of about CHUNK_BYTES of lines."""
    chunks: list[Chunk] = []
    lines: list[str] = []
    part: list[Record] = []
    size = 0
    for record in records:
        line = _line(record)
        if size + len(line) > CHUNK_BYTES and lines:
            chunks.append(_chunk(part, lines))
            lines, part, size = [], [], 0
        lines.append(line)
        part.append(record)
        size += len(line)
    if lines:
        chunks.append(_chunk(part, lines))
    return chunks


def _line(record: Record) -> str:
    return json.dumps(record, separators=(",", ":"), ensure_ascii=True)


def _chunk(records: Sequence[Record], lines: Sequence[str]) -> Chunk:
    text = "\n".join(lines).encode()
    times = [one for one in map(record_time, records) if one is not None]
    return Chunk(
        first_at=min(times, default=0.0),
        last_at=max(times, default=0.0),
        checkpoint=any(record.get("kind") == "checkpoint" for record in records),
        packed=base64.b64encode(zlib.compress(text)).decode(),
    )


def record_time(record: Record) -> float | None:
    """When its last call was; None for what has no time."""
    at = record["rows"][-1][0] if record.get("rows") else record.get("at")
    return at if isinstance(at, (int, float)) else None


def unpack(packed: str | bytes) -> list[Record]:
    """The records of a chunk; what cannot be read is a gap."""
    try:
        text = zlib.decompress(base64.b64decode(packed, validate=True)).decode()
        return [cast(Record, json.loads(line)) for line in text.split("\n")]
    except (binascii.Error, zlib.error, ValueError):
        return [_gap("a chunk of the ledger cannot be read")]


def _gap(why: str) -> Record:
    return {"kind": "gap", "at": 0.0, "until": 0.0, "steps": 0, "why": why}


def append(
    prefix: str,
    *,
    pool: str,
    epoch: int,
    chunks: Sequence[Chunk],
    after: int | None,
    max_bytes: int = MAX_BYTES,
    max_entries: int = MAX_ENTRIES,
    ttl_seconds: int = TTL_SECONDS,
) -> Call[Appended]:
    """Add chunks right behind what this leader wrote last. StaleEpochError through the runner, as for `drain`.

    `after` is `Appended.end_bytes` of its last append; None: this is its first.
    """
    arguments = {
        "prefix": prefix,
        "pool": pool,
        "epoch": str(epoch),
        "after": after,
        "chunks": [
            {
                "from": repr(one.first_at),
                "to": repr(one.last_at),
                "checkpoint": str(int(one.checkpoint)),
                "z": one.packed,
            }
            for one in chunks
        ],
        "max_bytes": max_bytes,
        "max_entries": max_entries,
        "ttl_seconds": ttl_seconds,
    }
    return Call("ledger_append", arguments, lambda reply: Appended(reply["written"], int(reply["end_bytes"])))


@dataclass(frozen=True, slots=True)
class Tail:
    """The newest chunks, oldest first; `more`: there may be elders, before `first_id`."""

    records: tuple[Record, ...]
    checkpoint: bool
    first_id: str | None
    more: bool


def tail(prefix: str, *, pool: str, before: str | None = None, limit: int = _PAGE) -> Call[Tail]:
    """The newest records, back to a chunk that has a checkpoint, at most `limit` chunks; ask again with `before` for elders."""
    return Call("ledger_tail", {"prefix": prefix, "pool": pool, "before": before, "limit": limit}, _tail)


def _tail(reply: Any) -> Tail:
    chunks = reply["chunks"]
    return Tail(
        records=tuple(record for _, packed in chunks for record in unpack(packed)),
        checkpoint=reply["checkpoint"],
        first_id=chunks[0][0] if chunks else None,
        more=reply["more"],
    )


def read_stream(redis: Redis, prefix: str, pool: str) -> Iterator[Record]:
    """All records of a pool's ledger, oldest first; where chunks are missing in between, a gap."""
    after, expected = "-", None
    while True:
        page: Any = redis.xrange(keys.ledger(prefix, pool), min=after, count=_PAGE)
        for entry_id, fields in page:
            packed, start = fields.get(b"z", b""), int(fields.get(b"start", b"0"))
            if expected is not None and start != expected:
                yield _gap("a part of the ledger is missing")
            expected = start + len(packed)
            yield from unpack(packed)
            after = "(" + entry_id.decode()
        if len(page) < _PAGE:
            return


# --- in a file --------------------------------------------------------------------------------------------------------


class LedgerFiles:
    """The ledger of a pool on one machine: two files in its state folder, the older one is replaced when the newer is full.

    Args:
        folder: the pool's own, of which this process holds the lock.
    """

    def __init__(self, folder: Path, *, max_bytes: int = MAX_BYTES) -> None:
        self._older, self._newer = (folder / name for name in FILES)
        self._max_bytes = max_bytes

    def append(self, records: Iterable[Record]) -> bool:
        """Add lines; True if the file is full and the next record should begin a new one: with a checkpoint.

        Raises:
            OSError: the disk does not take it.
        """
        text = "".join(_line(record) + "\n" for record in records).encode()
        descriptor = os.open(self._newer, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        with os.fdopen(descriptor, "ab+") as file:
            size = file.seek(0, os.SEEK_END)
            if size and os.pread(descriptor, 1, size - 1) != b"\n":  # a crash tore the last line
                text = b"\n" + text
            file.write(text)
        return size + len(text) >= self._max_bytes

    def rotate(self) -> None:
        """Begin a new file. One that somebody has taken away is as good as moved."""
        with suppress(FileNotFoundError):
            self._newer.replace(self._older)


def read_files(folder: Path) -> Iterator[Record]:
    """All records of a pool that runs on this machine, oldest first."""
    for name in FILES:
        path = folder / name
        if path.exists():
            yield from read_file(path)


def read_file(path: Path) -> Iterator[Record]:
    """The records of one file of lines, gzip or not. A line that cannot be read is a gap.

    Raises:
        LedgerError: the first line is none of a ledger.
        OSError: the file cannot be read.
    """
    with path.open("rb") as raw:
        packed = raw.read(2) == b"\x1f\x8b"
    with gzip.open(path, "rb") if packed else path.open("rb") as file:
        try:
            for number, line in enumerate(file, start=1):
                record = _record(line)
                if record is None and number == 1:
                    raise LedgerError(f"{path}: is no ledger: its first line is no record")
                if line.strip():
                    yield record or _gap(f"line {number} of {path.name} cannot be read")
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise LedgerError(f"{path}: is damaged ({error}): export the ledger again") from error


def _record(line: bytes) -> Record | None:
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) and "kind" in found else None


def write_file(path: Path, records: Iterable[Record]) -> int:
    """Write an exported ledger; gzip if the name ends with .gz. Returns how many records."""
    number = 0
    with gzip.open(path, "wt", encoding="utf-8") if path.suffix == ".gz" else path.open("w", encoding="utf-8") as file:
        for number, record in enumerate(records, start=1):  # noqa: B007 - the last one is the count
            file.write(_line(record) + "\n")
    return number
