"""Each decision that changes something as one line of JSON on the operator's log: --decision-log, PROCESSINGPOOL_OPERATOR_DECISION_LOG."""

from __future__ import annotations

import logging

from pool_operator.backends.base import PoolObject
from pool_operator.engine.checkpoint import to_data, to_text
from pool_operator.engine.record import Step, changes_something
from pool_operator.engine.state import Memory
from pool_operator.engine.types import Decision
from pool_operator.observe.endpoint import Endpoint
from pool_operator.runtime.recorder import Recorder

log = logging.getLogger("pool_operator.decisions")


class DecisionLog:
    """A Recorder in front of another one."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self._last: dict[str, Decision] = {}

    def record(self, pool: PoolObject, endpoint: Endpoint | None, step: Step) -> None:
        if changes_something(self._last.get(pool.uid), step.decision):
            log.info("%s", to_text({"pool": str(pool.key), **to_data(Decision, step.decision)}))
        self._last[pool.uid] = step.decision
        self._recorder.record(pool, endpoint, step)

    async def restore(self, pool: PoolObject, endpoint: Endpoint | None) -> Memory | None:
        return await self._recorder.restore(pool, endpoint)

    def forget(self, uid: str) -> None:
        self._last.pop(uid, None)
        self._recorder.forget(uid)

    async def run(self) -> None:
        await self._recorder.run()
