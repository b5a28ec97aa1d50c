"""Stable names: API group, labels, condition types, reasons, metric prefix. A contract with users; changes need an ADR."""

from __future__ import annotations

from enum import StrEnum
from typing import Final

GROUP: Final = "processingpool.dev"
VERSION: Final = "v1alpha1"
KIND: Final = "ProcessingPool"
PLURAL: Final = "processingpools"
SHORT_NAMES: Final = ("pool", "pools", "ppool")
FIELD_MANAGER: Final = "processingpool-operator"
REPLICAS_FIELD_MANAGER: Final = "processingpool-replicas"
LABEL_POOL: Final = f"{GROUP}/pool"
LABEL_POOL_UID: Final = f"{GROUP}/pool-uid"
LABEL_MANAGED_BY: Final = "app.kubernetes.io/managed-by"
MANAGED_BY: Final = "processing-pool"
ANNOTATION_STAMP: Final = f"{GROUP}/stamp"
DELETION_COST: Final = "controller.kubernetes.io/pod-deletion-cost"
WORKER_CONTAINER: Final = "worker"
METRIC_PREFIX: Final = "processingpool"
EXIT_SECONDS: Final = 120.0
"""How long a replica may be there with nothing to do before it is gone: until a decision sees it, be it that of a new
leader, until it is marked, and until it has ended. What lasts longer (no operator at all) costs beyond the limit."""


class Mode(StrEnum):
    ACTIVE = "Active"
    DRY_RUN = "DryRun"
    PAUSED = "Paused"


class OnUnknown(StrEnum):
    HOLD = "Hold"
    MINIMUM = "Minimum"


class Profile(StrEnum):
    """What a second of one job's waiting is worth; the numbers are in engine/types.py."""

    ECONOMY = "Economy"
    BALANCED = "Balanced"
    FAST = "Fast"


class Learn(StrEnum):
    """Whether jobs at once in a replica follow what is measured."""

    AUTO = "Auto"
    OFF = "Off"


class OnExhausted(StrEnum):
    """What a pool does when its money for the day or the month is spent."""

    PAUSE = "Pause"  # finish what runs, go on by itself when the next day or month begins
    MINIMUM = "Minimum"  # keep minReplicas


class ThresholdMetric(StrEnum):
    UTILIZATION = "Utilization"  # busy slots of all slots of ready replicas, in percent
    WAITING = "Waiting"  # jobs that could start now


class Direction(StrEnum):
    UP = "Up"
    DOWN = "Down"


class Condition(StrEnum):
    """Condition types of a pool; all are written on its first status."""

    READY = "Ready"
    SCALING_ACTIVE = "ScalingActive"
    SCALING_LIMITED = "ScalingLimited"
    QUEUE_REACHABLE = "QueueReachable"
    TEMPLATE_VALID = "TemplateValid"
    CAPACITY_AVAILABLE = "CapacityAvailable"
    BUDGET_AVAILABLE = "BudgetAvailable"


class Reason(StrEnum):
    """Why a decision is what it is: a closed list."""

    WORK_WAITING = "WorkWaiting"  # more work than slots: replicas go up
    WORK_FITS = "WorkFits"  # what is there is enough
    WORK_SHRANK = "WorkShrank"  # fewer slots needed: replicas go down
    IDLE = "Idle"  # nothing to do: to the minimum
    HEADROOM = "Headroom"  # slots kept or started for work expected within one cold start
    AT_MINIMUM = "AtMinimum"
    AT_MAXIMUM = "AtMaximum"
    STABILIZING = "Stabilizing"  # lower wanted, window still runs
    HOLD_UNKNOWN = "HoldUnknown"  # no trustworthy reading: nothing is lowered
    HOLD_CONTRADICTION = "HoldContradiction"  # reading contradicts running work
    CAPACITY_SHORT = "CapacityShort"  # the cluster gives no more
    BUDGET_EXHAUSTED = "BudgetExhausted"  # the money for the day or the month is spent, or promised to what runs
    THRESHOLD_NOT_MET = "ThresholdNotMet"  # a sustained threshold has not been over or under its value for long enough
    PRIMARY_KEEPS_UP = "PrimaryKeepsUp"  # an overflow pool is not needed
    PAUSED = "Paused"
    DRY_RUN = "DryRun"
    INVALID = "Invalid"  # the spec cannot be followed
    DELETED = "Deleted"  # the pool is going away


class PassError(StrEnum):
    """Why a pass over a pool failed and is tried again: a closed list."""

    API_UNAVAILABLE = "ApiUnavailable"  # the API server did not answer
    API_REFUSED = "ApiRefused"  # it answered with an error
    UNEXPECTED = "Unexpected"  # a defect of ours; the log has its traceback


class Limit(StrEnum):
    """What capped or lifted the wish."""

    MINIMUM = "Minimum"
    MAXIMUM = "Maximum"
    SCHEDULE = "Schedule"  # the minimum or maximum of a schedule that holds now
    THRESHOLD = "Threshold"  # sustained thresholds
    OVERFLOW = "Overflow"  # the pool that this one overflows for keeps up
    CONCURRENCY = "Concurrency"  # jobs.maxConcurrent
    RATE = "Rate"  # jobs.ratePerMinute
    CAPACITY = "Capacity"  # what the cluster really gives
    BUDGET = "Budget"
    RUNNING = "Running"  # never below what runs


class ConditionReason(StrEnum):
    """Reasons of conditions that are not decisions."""

    OK = "Ok"
    NOT_YET_KNOWN = "NotYetKnown"
    QUEUE_UNREACHABLE = "QueueUnreachable"
    QUEUE_WRONG_TYPE = "QueueWrongType"
    AUTHENTICATION_FAILED = "AuthenticationFailed"
    READ_ONLY_REDIS = "ReadOnlyRedis"
    SECRET_NOT_FOUND = "SecretNotFound"  # noqa: S105 - a reason, not a secret
    QUEUE_SHARED = "QueueShared"
    SPEC_INVALID = "SpecInvalid"
    TEMPLATE_REFUSED = "TemplateRefused"
    UNSCHEDULABLE = "Unschedulable"
    FAILED_CREATE = "FailedCreate"
    STARTS_FAILING = "StartsFailing"
    ROLLOUT_STUCK = "RolloutStuck"
    NO_PRICE = "NoPrice"
    NO_BUDGET = "NoBudget"
    SOFT_BUDGET_EXHAUSTED = "SoftBudgetExhausted"
    BUDGET_EXHAUSTED = "BudgetExhausted"
    HOST_NOT_ALLOWED = "HostNotAllowed"
