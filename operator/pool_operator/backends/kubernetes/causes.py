"""Why a pod does not start, or why it ended: read from the pod alone.

Pure. A loss on a pod that was evicted, pre-empted, deleted or whose node went away says nothing about the job; a loss
by OOM or crash does.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from pool_operator.backends.base import Problem
from pool_operator.names import WORKER_CONTAINER, ConditionReason

Raw = Mapping[str, Any]

FAILING_STARTS: Final = frozenset(
    {
        "ImagePullBackOff",
        "ErrImagePull",
        "ErrImageNeverPull",
        "InvalidImageName",
        "CreateContainerConfigError",
        "CreateContainerError",
        "RunContainerError",
        "CrashLoopBackOff",
    }
)
LONGEST_MESSAGE: Final = 400
KILLED: Final = 137  # by SIGKILL
_POD_NAME = re.compile(r'pods? "([a-z0-9.-]+?)-[a-z0-9]+"')


def one_line(text: str) -> str:
    """A message of the cluster's as one bounded line, without generated pod names.

    A retried create names another pod each time; kept, the text would change with every retry and each change would
    be a status write.
    """
    flat = _POD_NAME.sub(r'pod "\1-…"', " ".join(text.split()))
    return flat if len(flat) <= LONGEST_MESSAGE else flat[: LONGEST_MESSAGE - 1] + "…"


def _status(raw: Raw) -> Raw:
    status: Raw = raw.get("status") or {}
    return status


def _container_states(raw: Raw) -> Iterator[Raw]:
    for field in ("initContainerStatuses", "containerStatuses"):
        yield from _status(raw).get(field) or ()


def _condition(raw: Raw, kind: str) -> Raw:
    found: Raw = next((c for c in _status(raw).get("conditions") or () if c.get("type") == kind), {})
    return found


def stuck_problem(raw: Raw) -> Problem | None:
    """Why this pod does not start, in the cluster's own words; None if it runs or is on its way."""
    scheduled = _condition(raw, "PodScheduled")
    if scheduled.get("status") == "False" and scheduled.get("reason") == "Unschedulable":
        return Problem(reason=ConditionReason.UNSCHEDULABLE, message=one_line(scheduled.get("message", "")))
    for entry in _container_states(raw):
        waiting = (entry.get("state") or {}).get("waiting") or {}
        if waiting.get("reason") in FAILING_STARTS:
            return Problem(
                reason=ConditionReason.STARTS_FAILING,
                message=one_line(f"container {entry['name']}: {waiting['reason']}: {_start_detail(entry, waiting)}"),
            )
    return None


def _start_detail(entry: Raw, waiting: Raw) -> str:
    """The last exit tells more than "back-off 10s restarting failed container", whose seconds also change."""
    ended = (entry.get("lastState") or {}).get("terminated") or {}
    if waiting["reason"] == "CrashLoopBackOff" and ended:
        return f"its last run ended with {ended.get('reason', 'Error')}, exit status {ended.get('exitCode')}"
    return str(waiting.get("message", "no details given"))


def _node_is_silent(raw: Raw) -> bool:
    """The node controller marks the pods of a lost node not ready, while the kubelet's last word stays "ready"."""
    containers = _status(raw).get("containerStatuses") or ()
    ready = _condition(raw, "Ready")
    return ready.get("status") == "False" and bool(containers) and all(entry.get("ready") for entry in containers)


def _own_fault(raw: Raw) -> bool:
    """OOM or a crash of the container: the job may be the cause."""
    for entry in _container_states(raw):
        ended = (entry.get("state") or {}).get("terminated") or {}
        if ended.get("reason") == "OOMKilled":
            return True
    return False


def killed_for_memory(raw: Raw) -> str:
    """When the worker's container was last killed for want of memory (RFC 3339), or "".

    The kubelet says so, except where a child was the victim, or where the whole node ran out: then it is an exit by
    SIGKILL of a pod that nobody told to end.
    """
    asked_to_end = raw["metadata"].get("deletionTimestamp") is not None or bool(excuse(raw))
    ends = [
        str(ended.get("finishedAt") or "")
        for entry in _container_states(raw)
        if entry.get("name") == WORKER_CONTAINER
        for ended in ((entry.get(field) or {}).get("terminated") or {} for field in ("state", "lastState"))
        if ended.get("reason") == "OOMKilled" or (ended.get("exitCode") == KILLED and not asked_to_end)
    ]
    return max(ends, default="")


def excuse(raw: Raw) -> str:
    """Why an end of this pod is not its job's fault ("Evicted", "DeletionByTaintManager", "Deleted" …), or ""."""
    status = _status(raw)
    if status.get("reason") in {"Evicted", "NodeLost", "NodeShutdown", "Terminated", "Preempting", "Shutdown"}:
        return str(status["reason"])
    if _own_fault(raw):
        return ""
    disruption = _condition(raw, "DisruptionTarget")
    if disruption.get("status") == "True":
        return str(disruption.get("reason") or "DisruptionTarget")
    if raw["metadata"].get("deletionTimestamp"):
        return "Deleted"
    return "NodeLost" if _node_is_silent(raw) else ""
