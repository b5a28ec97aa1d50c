"""Exceptions of the worker's core.

    WorkerError                  this process cannot go on: one sentence, exit status 2
    ClaimLostError               the job is no longer ours; its result is dropped       (BaseException)
    NotCommittedError            Redis did not take the end of a run; it is tried again (BaseException)
    JobInterrupt                 raised in a slot's thread to end the job's own code     (BaseException)

The last three are no `Exception`: neither a job's own `except Exception` nor RQ's handlers may swallow them.
"""

from __future__ import annotations


class WorkerError(Exception):
    """The worker cannot start or go on. The text is one sentence for the user: what, which setting, what to do."""


class ClaimLostError(BaseException):
    """Another process owns the job by now, or nobody does: whatever this run made is dropped."""


class NotCommittedError(BaseException):
    """The transaction that ends a run was not applied, as far as we know; the cause is the Redis error."""


class JobInterrupt(BaseException):
    """The job's claim was lost, cancelled or released: its code ends here and nothing of it is recorded."""
