"""The operator's housekeeping on one Redis, as a process: `python -m tests.faults.keeper PORT QUARANTINE_SECONDS QUEUE ...`."""

from __future__ import annotations

import asyncio
import logging
import sys

from pool_operator.backends.base import Credentials
from pool_operator.observe.connection import EndpointKey, Place
from pool_operator.observe.endpoint import Endpoint
from pool_operator.runtime.clock import SystemClock
from pool_operator.runtime.housekeeping import Housekeeper, Kept
from pool_operator.telemetry.metrics import Metrics

PERIOD_SECONDS = 0.3
MAX_LOSSES = 1000  # no job is given up here: what is looked for is a job that is lost or doubled


async def keep(port, quarantine_seconds, queues):
    clock = SystemClock()
    place = Place(host="127.0.0.1", port=port, database=0, prefix="rq")
    endpoint = Endpoint(
        EndpointKey(place=place),
        Credentials(),
        poll_seconds=PERIOD_SECONDS,
        stale_seconds=30.0,
        clock=clock,
        changed=lambda _uids, _grown: None,
    )
    endpoint.attach("keeper", queues)
    keeper = Housekeeper(
        endpoint,
        kept=lambda: [Kept(uid="standalone", queues=queues, max_losses=MAX_LOSSES)],
        known=lambda _uid: True,
        period_seconds=PERIOD_SECONDS,
        clock=clock,
        metrics=Metrics(),
        quarantine_seconds=quarantine_seconds,
    )
    await asyncio.gather(endpoint.run(), keeper.run())


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    asyncio.run(keep(int(sys.argv[1]), float(sys.argv[2]), tuple(sys.argv[3:])))
