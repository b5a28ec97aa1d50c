"""Settings of the operator process: one validated object, read from flags and environment at the edge."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class OperatorSettings(BaseModel):
    """Everything an installation may choose. The effective values are logged once at start."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    namespaces: tuple[str, ...] = Field(default=(), description="namespaces to watch; empty: the whole cluster")
    poll_seconds: float = Field(default=5.0, ge=0.2, le=60, description="period of the poll behind the push")
    resync_seconds: float = Field(
        default=60.0, ge=5, le=3600, description="period at which every pool is reconciled anyway"
    )
    stale_seconds: float = Field(default=30.0, ge=2, description="a reading older than this is unknown")
    housekeeping_seconds: float = Field(default=5.0, ge=0.2, description="period of reclaim, due, ready and sweep")
    workers: int = Field(default=16, ge=1, le=64, description="reconciles at once")
    health_port: int = Field(default=8080, ge=0, le=65535, description="/livez /readyz /metrics; 0: any free port")
    health_host: str = Field(default="0.0.0.0", description="address of the health server")  # noqa: S104 - probes come from the node
    lease_namespace: str = Field(default="", description="namespace of the election Lease; empty: the operator's own")
    lease_name: str = Field(default="processingpool-operator", description="name of the election Lease")
    lease_duration_seconds: int = Field(default=15, ge=3, description="a leader that is silent for so long is replaced")
    renew_deadline_seconds: float = Field(
        default=10.0, ge=1, description="a leader that cannot renew for so long ends itself"
    )
    retry_period_seconds: float = Field(default=2.0, ge=0.2, description="period of renewals and of attempts to lead")
    leader_election: bool = Field(default=True, description="wait for the Lease; off: lead at once, one replica only")
    allowed_redis_hosts: tuple[str, ...] = Field(
        default=(), description="glob patterns of Redis hosts that pools may name; empty: any"
    )
    allow_service_accounts: bool = Field(
        default=False, description="accept serviceAccountName and service account tokens in templates"
    )
    allow_host_access: bool = Field(
        default=False, description="accept host namespaces, hostPath, privileged and added capabilities in templates"
    )
    decision_log: bool = Field(
        default=False, description="log each decision that changes something, as one line of JSON"
    )
    log_format: str = Field(default="text", pattern="^(text|json)$", description="text or json")
    log_level: str = Field(
        default="info", pattern="^(debug|info|warning|error)$", description="debug, info, warning or error"
    )
