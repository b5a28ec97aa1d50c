"""The ledger as the reconciler sees it: told of each decision, asked for what was learned before this process began."""

from __future__ import annotations

from typing import Protocol

from pool_operator.backends.base import PoolObject
from pool_operator.engine.record import Step
from pool_operator.engine.state import Memory
from pool_operator.observe.endpoint import Endpoint

__all__ = ["NoRecorder", "Recorder", "Step"]


class Recorder(Protocol):
    """Keeps the ledger of all pools of this process. One for a cluster (Redis), one for a machine (a file)."""

    def record(self, pool: PoolObject, endpoint: Endpoint | None, step: Step) -> None:
        """Take in a step. Called right after `decide`, before anything may fail; never waits, never raises.

        `endpoint` is where the pool's Redis is; None while there is none: the step is then kept, or told as a gap.
        """

    async def restore(self, pool: PoolObject, endpoint: Endpoint | None) -> Memory | None:
        """What the pool's last leader had learned; None: nothing readable is there.

        Raises:
            EndpointError: Redis cannot tell now; ask again before the first decision.
        """

    def forget(self, uid: str) -> None:
        """The pool is retired: what is not written yet is, and nothing of it stays in memory."""

    async def run(self) -> None:
        """Write what was recorded, until cancelled; then write the rest, within a second or two.

        Raises:
            StaleEpochError: a newer leader acts; this process must stop.
        """


class NoRecorder:
    """Keeps nothing: tests, and pools that want no ledger."""

    def record(self, pool: PoolObject, endpoint: Endpoint | None, step: Step) -> None:
        pass

    async def restore(self, pool: PoolObject, endpoint: Endpoint | None) -> Memory | None:  # noqa: ARG002
        return None

    def forget(self, uid: str) -> None:
        pass

    async def run(self) -> None:
        pass
