"""The fence of everything that ends a run: RQ's own handlers write through a transaction that only the owner can commit.

RQ's handlers open one pipeline and put the whole end of a run into it (result, status, registries, retry, dependents'
first half). `FencedRedis` gives them, once, a pipeline that WATCHes the claim's owner key, refuses when the claim is not
this run's any more, and removes the claim in the same transaction. So a result is recorded exactly as often as a claim
ends with one: once. The record of the run, for the pool's stream of ended runs, goes the same way. See
docs/adr/0006-finish-fence.md.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final

from redis import Redis, RedisError, WatchError
from redis.client import Pipeline

from pool_contract import keys
from pool_contract.messages import RunRecord
from pool_worker.errors import ClaimLostError, NotCommittedError

STARTED: Final = b"started"
RUNS_KEPT: Final = 2000  # as prelude.lua has it, for runs that were lost
RUNS_KEPT_SECONDS: Final = 30 * 86400


@dataclass(slots=True)
class Fence:
    """One claim about to end."""

    prefix: str
    replica: str
    queue: str
    job_id: str
    execution_id: str
    pool: str = ""
    record: RunRecord | None = None  # what the pool is told of the run
    committed: bool = field(default=False, init=False)  # this transaction ended the claim
    unanswered: bool = field(default=False, init=False)  # it may have, its answer is lost

    @property
    def owner_key(self) -> str:
        return keys.owner(self.prefix, self.job_id)


class FencedRedis(Redis):
    """A slot's own client. Used by the slot's thread only, as far as fences go."""

    _fence: Fence | None = None

    @contextmanager
    def fenced(self, fence: Fence) -> Iterator[None]:
        """The first pipeline opened inside is fenced; what comes after it belongs to no claim any more."""
        self._fence = fence
        try:
            yield
        finally:
            self._fence = None

    def pipeline(self, transaction: bool = True, shard_hint: Any = None) -> Pipeline:  # noqa: FBT001, FBT002
        fence, self._fence = self._fence, None
        if fence is None:
            return super().pipeline(transaction, shard_hint)
        return FencedPipeline(fence, self.connection_pool, self.response_callbacks, transaction, shard_hint)


class FencedPipeline(Pipeline):
    """A transaction that commits only while the claim is held, and ends it.

    Raises ClaimLostError or NotCommittedError, which are no `Exception`, because RQ's failure handler logs and forgets
    every `Exception` of its commit.
    """

    def __init__(self, fence: Fence, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._fence = fence
        self._watched_by_rq = False

    def watch(self, *names: Any) -> None:
        """Watch the claim as well; after this, a change of owner fails the commit."""
        self._watched_by_rq = True
        self._watch(*names)

    def execute(self, raise_on_error: bool = True) -> list[Any]:  # noqa: FBT001, FBT002
        """Commit, with the end of the claim."""
        if self._fence.committed:
            return super().execute(raise_on_error)
        if not self.watching:
            try:
                self._watch()
            except RedisError as error:  # nothing was sent yet: a claim that is gone now was not ended by us
                raise NotCommittedError from error
        try:
            self._end_claim()
            replies = super().execute(raise_on_error)
        except WatchError as error:
            if self._watched_by_rq:
                raise  # RQ's own loop builds the transaction anew; its watch looks at the owner again
            raise NotCommittedError from error
        except RedisError as error:
            # a command refused by type is reported although the transaction was applied: look
            self.reset()
            self._fence.unanswered = True
            if not self._gone(error):
                raise NotCommittedError from error
            replies = []
        self._fence.committed = True
        return replies

    def _watch(self, *names: Any) -> None:
        super().watch(self._fence.owner_key, *names)  # type: ignore[no-untyped-call]
        self._refuse_if_lost()

    def _refuse_if_lost(self) -> None:
        """One round trip for both questions: is the claim this run's, and was the job not cancelled or deleted meanwhile?"""
        connection: Any = self.connection
        assert connection is not None, "WATCH holds its connection"
        job = keys.job(self._fence.prefix, self._fence.job_id)
        questions = (("HGET", self._fence.owner_key, "execution"), ("HGET", job, "status"))
        connection.send_packed_command(connection.pack_commands(questions))
        owner, status = (self.parse_response(connection, "HGET") for _ in questions)  # type: ignore[no-untyped-call]
        if owner != self._fence.execution_id.encode():
            self.reset()
            raise ClaimLostError("another process owns the job, or nobody does")
        if status != STARTED:
            self.reset()
            raise ClaimLostError(f"the job was ended from outside: {(status or b'deleted').decode('utf-8', 'replace')}")

    def _end_claim(self) -> None:
        fence = self._fence
        for command in (
            ("DEL", fence.owner_key),
            ("ZREM", keys.leases(fence.prefix, fence.queue), fence.job_id),
            ("SREM", keys.claims(fence.prefix, fence.replica), fence.job_id),
            ("HDEL", keys.size_hint(fence.prefix), fence.job_id),
        ):
            self.pipeline_execute_command(*command)
        if fence.record is not None:
            runs = keys.runs(fence.prefix, fence.pool)
            text = fence.record.model_dump_json(exclude_defaults=True)
            self.pipeline_execute_command("XADD", runs, "MAXLEN", "~", RUNS_KEPT, "*", "run", text)
            self.pipeline_execute_command("EXPIRE", runs, RUNS_KEPT_SECONDS)

    def _gone(self, error: RedisError) -> bool:
        """Whether the claim ended although a reply said otherwise. Unknown counts as not."""
        try:
            client = Redis(connection_pool=self.connection_pool)
            return client.hget(self._fence.owner_key, "execution") != self._fence.execution_id.encode()
        except RedisError:
            raise NotCommittedError from error
