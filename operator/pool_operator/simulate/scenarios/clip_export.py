"""clip-export: one job fills a container, so more jobs mean more workers, never more jobs in one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from pool_operator.engine.types import MemorySpace, PoolSpec, QueueSpec
from pool_operator.simulate.result import Result
from pool_operator.simulate.scenarios.base import Part, Row, Scenario, equal, part

MEGABYTE: Final = 1000**2
LIMIT_BYTES: Final = 7_650 * MEGABYTE
HOST: Final = MemorySpace(
    kind="host",
    usable_bytes=LIMIT_BYTES * 80 // 100,
    base_bytes=200 * MEGABYTE,
    per_job_bytes=5_800 * MEGABYTE,
)
CLIP_SECONDS: Final = 600.0
AT_ONCE: Final = (1, 2, 5, 10)

POOL: Final = PoolSpec(
    queues=(QueueSpec(name="clips"),),
    min_replicas=0,
    max_replicas=10,
    slots_per_replica=1,
    max_slots=4,
    memory_spaces=(HOST,),
    job_timeout_seconds=1_800,
    learn_slots=True,
)


def _parts() -> list[Part]:
    pool = replace(POOL, learn_slots=False)  # nothing in a simulation uses memory
    return [
        part(_at_once(count), pool, [0.0] * count, [CLIP_SECONDS] * count, cold_start_seconds=20.0) for count in AT_ONCE
    ]


def _rows(results: Sequence[Result]) -> list[Row]:
    fit = (HOST.usable_bytes - HOST.base_bytes) // HOST.per_job_bytes
    return [
        equal("clips that fit into one container of 7.65 GB less 20 %", 1, fit),
        *(
            equal(f"{_at_once(count)}: workers", count, result.peak_replicas)
            for count, result in zip(AT_ONCE, results, strict=True)
        ),
        equal("clips in one worker, at most", 1, max(result.slots for result in results)),
        equal("running jobs hit by scaling", 0, sum(result.jobs_hit for result in results)),
    ]


def _at_once(count: int) -> str:
    return "1 clip" if count == 1 else f"{count} clips at once"


CLIP_EXPORT: Final = Scenario(
    name="clip-export",
    sentence="clips of 5 to 6 GB in containers of 7.65 GB: as many workers as clips, one clip in each",
    pool=POOL,
    make_parts=_parts,
    rows=_rows,
)
