"""What a backend must do: hold replicas of a pool. Implemented by backends/kubernetes and backends/local.

The reconciler decides; a backend knows how its replicas start and end. Both pass the same contract test
(tests/pure/backend_contract.py).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from pool_operator.api.models import ProcessingPoolSpec
from pool_operator.engine.types import Replica
from pool_operator.names import ConditionReason, PassError


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolKey:
    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """Something a user must know, in one sentence, with its closed reason."""

    reason: ConditionReason
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolObject:
    """A pool as its source last showed it."""

    key: PoolKey
    uid: str
    generation: int
    created_at: float  # unix seconds
    spec: ProcessingPoolSpec | None  # None: not readable; then `problem` says why
    problem: Problem | None = None
    deleting: bool = False
    status: Mapping[str, object] = field(default_factory=dict)  # the status as stored, for comparison and restart


@dataclass(frozen=True, slots=True, kw_only=True)
class BackendView:
    """What the backend's caches hold for one pool; no network behind it."""

    synced: bool  # False: not everything has been seen yet; nothing may be decided
    replicas: tuple[Replica, ...] = ()
    wanted: int = 0
    exists: bool = False  # the Deployment (or the local supervisor) is there
    lowering_blocked: str = ""
    template_problem: Problem | None = None
    capacity_problem: Problem | None = None
    refused: bool = False  # replicas that are asked for are not even created (quota, admission)
    out_of_memory_at: float | None = None  # unix time at which a replica was last killed for memory
    excused_replicas: tuple[str, ...] = ()  # ended by eviction or node loss: their losses are no strikes
    deadlines: Mapping[str, float] = field(default_factory=dict)  # terminating replica -> unix time of its real end


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What the reconciler wants of the backend now."""

    replicas: int  # the decision's number
    slots: int
    drained: frozenset[str]  # replicas proved empty under a drain mark: the only ones that may be removed
    leaving: frozenset[str]  # all replicas under a drain mark (drained ones included)
    idle: frozenset[str]  # replicas without a claim: they carry the lower deletion cost during a rollout


@dataclass(frozen=True, slots=True, kw_only=True)
class Applied:
    """What came of it."""

    changed: bool = False
    wanted: int = 0  # replicas asked for after the call
    wait_seconds: float | None = None  # call again after this long even if no event comes
    problem: Problem | None = None


class ConflictError(Exception):
    """The object moved since it was observed: observe again and decide again."""


class BackendError(Exception):
    """Where replicas live could not be read or written; the pass is tried again."""

    error = PassError.UNEXPECTED


class Backend(Protocol):
    """Where replicas live."""

    def view(self, pool: PoolObject) -> BackendView:
        """Snapshot out of the caches; never touches the network."""

    async def apply(self, pool: PoolObject, target: Target) -> Applied:
        """Make the world look like the target: up at once, down only by `target.drained`.

        Raises ConflictError when the world moved since `view`.
        """

    async def retire(self, pool: PoolObject) -> None:
        """Forget a deleted pool after its last replica is gone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """What connects to a pool's Redis; never logged."""

    username: str | None = None
    password: str | None = field(default=None, repr=False)
    ca_pem: str | None = field(default=None, repr=False)


class SecretReader(Protocol):
    """Reads a pool's own Secret, in the pool's own namespace, by name."""

    async def credentials(self, namespace: str, name: str) -> Credentials | Problem:
        """Keys `username`, `password`, `ca.crt`; a missing Secret is a Problem, not an exception."""


class Reporter(Protocol):
    """Where decisions and conditions become visible: the pool's status and events, or the terminal."""

    async def report(self, pool: PoolObject, status: Mapping[str, object], events: Sequence[Event]) -> None:
        """Write the status if its comparable part changed; post the events."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """A Kubernetes Event or a log line."""

    type: str  # Normal | Warning
    reason: str
    message: str
    action: str = "Scale"
