"""The worker's settings: one validated object out of flags and environment.

Field `grace_seconds` is the flag --grace-seconds and the variable PROCESSINGPOOL_GRACE_SECONDS; a flag wins.
An empty variable counts as not set. A wrong value is one sentence that names both, and exit status 2.
"""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Mapping, MutableMapping
from difflib import get_close_matches
from typing import Annotated, Final, Literal
from urllib.parse import urlsplit
from uuid import uuid4

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, field_validator, model_validator

from pool_worker.errors import WorkerError

PREFIX: Final = "PROCESSINGPOOL_"
OTHER_VARIABLES: Final = {"redis_url": ("RQ_REDIS_URL", "REDIS_URL"), "key_prefix": ("RQ_KEY_PREFIX",)}
"""What `rq worker` reads, read too."""
SECRETS: Final = frozenset({"redis_url", "redis_password"})
FLAGS: Final = {"redis_url": "--url"}
OF_JOBS: Final = ("PROCESSINGPOOL_MODELS", "PROCESSINGPOOL_MAX_MEDIA_SECONDS")
"""What the code of our jobs reads itself."""
OPERATORS: Final = "PROCESSINGPOOL_OPERATOR_"
_WORDS: Final = (
    ("Input should be", "must be"),
    ("greater than or equal to", "at least"),
    ("less than or equal to", "at most"),
    ("a valid integer, unable to parse string as an integer", "a whole number"),
    ("a valid number, unable to parse string as a number", "a number"),
    ("a valid boolean, unable to interpret input", "true or false"),
)
STANDALONE: Final = "standalone"
_MODULE: Final = r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*"
ALLOW_PATTERN: Final = re.compile(rf"\*|{_MODULE}:(?:\*|{_MODULE})")
QUEUE_PATTERN: Final = re.compile(r"[^\s,:]+(?::[^\s,:]+)*")


def _split(separator: str) -> BeforeValidator:
    def read(value: object) -> object:
        if isinstance(value, str):
            return tuple(part.strip() for part in value.split(separator) if part.strip())
        return value

    return BeforeValidator(read)


Names = Annotated[tuple[str, ...], _split(",")]
Paths = Annotated[tuple[str, ...], _split(os.pathsep)]


class Settings(BaseModel):
    """Everything a worker can be told."""

    model_config = ConfigDict(frozen=True, extra="forbid", str_strip_whitespace=True)

    queues: Names = Field(default=("default",), min_length=1, max_length=16, description="queues, most urgent first")
    redis_url: str = Field(
        default="redis://localhost:6379/0", repr=False, description="redis://host:port/database; rediss:// with TLS"
    )
    redis_username: str | None = Field(default=None, description="ACL user")
    redis_password: str | None = Field(default=None, repr=False, description="password; better by environment")
    redis_ca_file: str | None = Field(default=None, description="file with the CA of the Redis server")
    redis_server_name: str | None = Field(default=None, description="name in the server's certificate, if not the host")
    key_prefix: str = Field(default="rq", min_length=1, max_length=100, description="RQ's key prefix")

    slots: int = Field(default=1, ge=1, le=256, description="jobs at once; in a pool the live value comes by Redis")
    serializer: Literal["json", "pickle"] = Field(
        default="json", description="what jobs are written in; pickle lets anybody who can enqueue run code here"
    )
    allow: Names = Field(
        default=("pool_worker.jobs:*",),
        min_length=1,
        description="functions that may run: package.module:function, package.module:* or * for all",
    )
    allow_webhooks: bool = Field(default=False, description="send the webhooks that jobs carry")
    path: Paths = Field(default=(".",), description="folders with the code of jobs")
    job_timeout_seconds: int = Field(
        default=86400, ge=1, description="cap on every job's time-out, outside a pool; RQ's -1 becomes this"
    )
    grace_seconds: float = Field(default=30, ge=1, description="time from SIGTERM until whoever sent it kills")
    burst: bool = Field(default=False, description="stop when the queues are empty")

    heartbeat_seconds: float = Field(default=15, ge=0.1, le=300, description="period of renewals and reports")
    lease_seconds: float = Field(default=60, ge=0.5, le=3600, description="a claim lives this long without renewal")
    poll_seconds: float = Field(default=0.25, ge=0.01, le=60, description="longest time until a waiting job is seen")
    push: bool = Field(default=True, description="listen to keyspace events where the server sends them")
    stuck_seconds: float = Field(
        default=60, ge=0.1, description="a job that ignores its time-out for so long ends the process"
    )
    health_port: int = Field(
        default=0, ge=0, le=65535, description="port of /health and /metrics; 0 takes any free one"
    )

    model: str | None = Field(default=None, description="speech model: a name or a folder; loaded before the first job")
    model_device: Literal["auto", "cpu", "cuda"] = Field(default="auto", description="where the model runs")
    model_compute_type: str = Field(default="default", description="number format of the model, such as int8")
    cpu_threads: int = Field(default=0, ge=0, description="threads a job computes with; 0 leaves it to the library")
    output: str | None = Field(default=None, description="folder for results of jobs that name none")
    folders: Names = Field(
        default=(), description="folders, by commas, that a job's source and output must lie in; empty: any path"
    )
    run_log: bool = Field(default=False, description="jobs append their start and end to a list in Redis")

    pool: str | None = Field(default=None, description="namespace/name of the pool; set by the operator")
    pool_uid: str = Field(default=STANDALONE, min_length=1, description="UID of the pool; set by the operator")
    replica: str = Field(default="", description="unique id of this replica; set by the operator")
    parent_pid: int | None = Field(default=None, ge=1, description="end when this parent process has ended")
    log_level: Literal["debug", "info", "warning", "error"] = Field(default="info", description="how much is logged")
    log_format: Literal["text", "json"] = Field(default="text", description="form of log lines")

    @property
    def standalone(self) -> bool:
        """In the place of `rq worker`: no operator keeps house for these queues."""
        return self.pool_uid == STANDALONE

    @property
    def stop_margin_seconds(self) -> float:
        """How long before the real deadline running jobs are handed back."""
        return min(5.0, self.grace_seconds / 4)

    @field_validator("queues")
    @classmethod
    def _queue_names(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for name in value:
            if len(name) > 200 or not QUEUE_PATTERN.fullmatch(name):
                raise ValueError(f"'{name[:50]}' is no queue name: use up to 200 characters without blanks or commas")
        return tuple(dict.fromkeys(value))

    @field_validator("allow")
    @classmethod
    def _patterns(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for pattern in value:
            if not ALLOW_PATTERN.fullmatch(pattern):
                raise ValueError(f"'{pattern[:80]}' is no pattern: write package.module:function or package.module:*")
        return value

    @field_validator("folders")
    @classmethod
    def _absolute(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for folder in value:
            if not folder.startswith("/"):
                raise ValueError(f"'{folder[:200]}' must be an absolute path that starts with /")
        return value

    @field_validator("redis_url")
    @classmethod
    def _url(cls, value: str) -> str:
        try:
            parts = urlsplit(value)
            _ = parts.port
        except ValueError:
            parts = None
        # redis-py would take a database that is no number as database 0
        if parts is None or not (
            parts.scheme == "unix" or (parts.scheme in {"redis", "rediss"} and re.fullmatch(r"/?\d*", parts.path))
        ):
            raise ValueError("write redis://host:port/database, or rediss:// for TLS")
        return value

    @field_validator("redis_ca_file")
    @classmethod
    def _readable(cls, value: str | None) -> str | None:
        if value is not None and not os.access(value, os.R_OK):
            raise ValueError(f"'{value}' cannot be read: name a file with the CA in PEM form")
        return value

    @model_validator(mode="after")
    def _together(self) -> Settings:
        if self.lease_seconds < 2 * self.heartbeat_seconds:
            raise ValueError(
                f"--lease-seconds ({self.lease_seconds:g}) must be at least twice --heartbeat-seconds "
                f"({self.heartbeat_seconds:g}), so that one late heartbeat loses no job"
            )
        if not self.standalone and not self.replica:
            raise ValueError(
                f"{PREFIX}POOL_UID is set but {PREFIX}REPLICA is not: a replica of a pool needs its unique id"
            )
        return self


def environment_name(field: str) -> str:
    return PREFIX + field.upper()


def flag_name(field: str) -> str:
    return FLAGS.get(field, "--" + field.replace("_", "-"))


def from_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """The values that are set, by field."""
    found: dict[str, str] = {}
    for field in Settings.model_fields:
        for name in (environment_name(field), *OTHER_VARIABLES.get(field, ())):
            if environment.get(name, "").strip():
                found[field] = environment[name]
                break
    return found


def load(flags: Mapping[str, object], environment: Mapping[str, str]) -> Settings:
    """Validate flags over environment.

    Raises:
        WorkerError: with one sentence on the first wrong value.
    """
    values: dict[str, object] = {**from_environment(environment), **flags}
    try:
        settings = Settings.model_validate(values)
    except ValidationError as error:
        raise WorkerError(_sentence(error)) from None
    if not settings.replica:
        settings = settings.model_copy(update={"replica": f"{socket.gethostname()}-{uuid4().hex[:12]}"})
    return settings


def _sentence(error: ValidationError) -> str:
    first = error.errors(include_url=False)[0]
    message = first["msg"].removeprefix("Value error, ")
    if not first["loc"]:
        return message
    field = str(first["loc"][0])
    where = f"{'QUEUE' if field == 'queues' else flag_name(field)} ({environment_name(field)})"
    shown = "" if field in SECRETS else f" is '{str(first['input'])[:100]}'"
    if first["type"] == "value_error":
        return f"{where}: {message}"
    return f"{where}{shown}: {_plain(message)}"


def _plain(message: str) -> str:
    """Pydantic's words in ours."""
    for theirs, ours in _WORDS:
        message = message.replace(theirs, ours)
    return message[:1].lower() + message[1:]


def unknown(environment: Mapping[str, str]) -> list[str]:
    """A sentence for each variable that looks like ours and is none: a typing mistake would have no effect, silently."""
    known = [environment_name(field) for field in Settings.model_fields]
    found = []
    for name in sorted(environment):
        if name.startswith(PREFIX) and name not in known and name not in OF_JOBS and not name.startswith(OPERATORS):
            close = get_close_matches(name, [*known, *OF_JOBS], n=1)
            found.append(f"{name} is no setting and has no effect" + (f"; did you mean {close[0]}?" if close else ""))
    return found


def export(settings: Settings, environment: MutableMapping[str, str]) -> None:
    """Put what a job's own code reads into the environment, so that a flag works as its variable does."""
    for field in ("model", "model_device", "model_compute_type", "cpu_threads", "output", "replica", "key_prefix"):
        value = getattr(settings, field)
        if value is not None:
            environment[environment_name(field)] = str(value)
    environment[environment_name("folders")] = ",".join(settings.folders)
    environment[environment_name("run_log")] = "1" if settings.run_log else "0"
    environment["RQ_KEY_PREFIX"] = settings.key_prefix  # rq reads it once, when it is imported
    # spinning OpenMP threads slow each other down tenfold where CPU is limited
    environment.setdefault("OMP_WAIT_POLICY", "PASSIVE")
