"""RQ's Job as a slot sees it: read leniently, its payload kept byte by byte, its status written only inside fences."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any, Final

from redis import WatchError
from redis.client import Pipeline
from rq.job import Job, JobStatus
from rq.utils import now

from pool_contract import keys
from pool_contract.scripts import Claimed
from pool_worker.admission import AllowList, RefusedError, defined_there, not_allowed, unpack

log = logging.getLogger(__name__)
PROGRESS: Final = "progress"  # of a job's meta
NEEDED: Final = (b"created_at", b"enqueued_at", b"origin", b"description", b"timeout", b"failure_ttl", b"result_ttl")


class SlotJob(Job):
    """See the module."""

    _stored: bytes | None = None  # the payload as it stands in Redis
    _claim: tuple[str, bytes] | None = None  # owner key and execution id
    allowed: AllowList = AllowList(("*",))

    def take(self, raw: Mapping[bytes, bytes]) -> None:
        """Fill in from the job hash, whatever is in there: what cannot be read is left out and said in the log."""
        payload = {b"data": raw.get(b"data", b"")}
        try:
            payload[b"data"] = unpack(payload[b"data"])
        except RefusedError:
            payload[b"data"] = b""
        try:
            self.restore({**raw, **payload})
        except Exception as error:  # noqa: BLE001 - junk in Redis may break RQ's reader in any way
            log.warning("job=%s has fields that RQ cannot read (%r); they are left as they are", self.id, error)
            readable = {field: raw[field] for field in NEEDED if field in raw and _readable(field, raw[field])}
            self.restore({**readable, **payload})
        if not isinstance(self._dependency_ids, list):  # RQ takes any JSON here, and can save the job with a list only
            self._dependency_ids = []
        self._stored = raw.get(b"data")

    def begin(self, worker_name: str, claimed: Claimed, prefix: str) -> None:
        """Look as the claim has left it in Redis."""
        self.worker_name, self.origin = worker_name, claimed.queue
        self._claim = (keys.owner(prefix, claimed.job_id), claimed.execution_id.encode())
        self.started_at = self.last_heartbeat = now()
        self._status = JobStatus.STARTED

    def progress(self) -> float | None:
        """What the job's code says of itself, 0..1."""
        # Redis and the job's code may put anything there
        share = self.meta.get(PROGRESS) if isinstance(self.meta, dict) else None
        return float(share) if isinstance(share, int | float) and 0 <= share <= 1 else None

    def drop_webhooks(self) -> None:
        """RQ would send requests to addresses from Redis. They are kept in the hash, and not sent from here."""
        if self.webhooks:
            log.warning(
                "job=%s has webhooks, which this worker does not send: start it with --allow-webhooks "
                "(PROCESSINGPOOL_ALLOW_WEBHOOKS=1) if every producer is trusted",
                self.id,
            )
            self.webhooks = []  # a save leaves the hash's own field alone

    def to_dict(self, include_meta: bool = True, include_result: bool = True) -> dict[str, Any]:  # noqa: FBT001, FBT002
        """RQ packs the payload anew at every save; nobody changed it, so the stored bytes stay."""
        if self._stored is None:
            return super().to_dict(include_meta, include_result)
        self._data, payload = b"", self._data
        try:
            return {**super().to_dict(include_meta, include_result), "data": self._stored}
        finally:
            self._data = payload

    def save(
        self,
        pipeline: Pipeline | None = None,
        include_meta: bool = True,  # noqa: FBT001, FBT002
        include_result: bool = True,  # noqa: FBT001, FBT002
    ) -> None:
        """Inside a transaction of RQ's handlers as RQ does; called by the job's own code, only while the claim is held."""
        if pipeline is None:
            self._while_held(lambda held: super(SlotJob, self).save(held, include_meta, include_result))
        else:
            super().save(pipeline, include_meta, include_result)

    def save_meta(self) -> None:
        """As RQ's, but only while the claim is held: else it would bring back the hash of a deleted job."""
        self._while_held(lambda held: held.hset(self.key, "meta", self._serialize_meta()))

    def _while_held(self, write: Callable[[Pipeline], object]) -> None:
        """Nothing is written once the job was deleted, ended from outside, or given to somebody else."""
        if self._claim is None:
            raise RuntimeError(f"job {self.id} is written before its run has begun")
        owner_key, execution = self._claim
        with self.connection.pipeline() as pipeline:
            while True:
                pipeline.watch(owner_key, self.key)  # type: ignore[no-untyped-call]
                owner: Any = pipeline.hget(owner_key, "execution")
                status: Any = pipeline.hget(self.key, "status")
                if owner != execution or status != JobStatus.STARTED.value.encode():
                    log.warning("job=%s is not this run's any more: what its code saves is dropped", self.id)
                    return
                pipeline.multi()
                write(pipeline)
                try:
                    pipeline.execute()
                except WatchError:  # somebody wrote to the hash: look again
                    continue
                return

    def set_status(self, status: JobStatus, pipeline: Pipeline | None = None) -> None:
        """RQ's retry marks a job as scheduled outside of its transaction; the save inside it writes the status anyway."""
        if pipeline is None:
            self._status = status
        else:
            super().set_status(status, pipeline)

    @property
    def func(self) -> Any:
        function, name = super().func, self.func_name
        return function if self.instance is not None else self._own(function, name, "the job's function")

    @property
    def success_callback(self) -> Any:
        return self._own(super().success_callback, self._success_callback_name, "the job's success callback")

    @property
    def failure_callback(self) -> Any:
        return self._own(super().failure_callback, self._failure_callback_name, "the job's failure callback")

    @property
    def stopped_callback(self) -> Any:
        return self._own(super().stopped_callback, self._stopped_callback_name, "the job's stopped callback")

    def _own(self, function: Any, name: str | None, what: str) -> Any:
        """Once more after the import: `module:*` means what the module defines, not what it imports."""
        if function is None or name is None:
            return function
        module = self.allowed.by_wildcard(name)
        if module is not None and not defined_there(function, module):
            raise RefusedError(not_allowed(name, what))
        return function


def _readable(field: bytes, value: bytes) -> bool:
    probe = Job(id="probe", connection=_NO_CONNECTION)
    try:
        probe.restore({b"data": b"", field: value})
    except Exception:  # noqa: BLE001 - see take
        return False
    return True


_NO_CONNECTION: Any = object()  # Job wants one, and reading a hash needs none
