"""A pool that runs on one machine: where its state lies, and how other programs of the same user find its Redis.

Written by `processingpool run`, read by submit, jobs and status.
"""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import quote

from pydantic import Field, ValidationError

from pool_contract.messages import Message

ENDPOINT_FILE = "redis.json"


class LocalEndpoint(Message):
    """The Redis of a pool on this machine; the file is readable by its user only."""

    namespace: str
    name: str
    pool: str = Field(description="pool UID")
    host: str
    port: int
    database: int = 0
    prefix: str = "rq"
    username: str | None = None
    password: str | None = Field(default=None, repr=False)

    @property
    def url(self) -> str:
        """As `rq` and other clients take it; holds the password."""
        login = ""
        if self.password is not None:
            login = f"{quote(self.username or '', safe='')}:{quote(self.password, safe='')}@"
        return f"redis://{login}{self.host}:{self.port}/{self.database}"


def state_folder(namespace: str, name: str) -> Path:
    """`${XDG_STATE_HOME:-~/.local/state}/processingpool/<namespace>/<name>`."""
    root = os.environ.get("XDG_STATE_HOME") or str(Path.home() / ".local" / "state")
    return Path(root) / "processingpool" / namespace / name


def write_endpoint(folder: Path, endpoint: LocalEndpoint) -> None:
    """Replace the file as a whole, readable by its owner only."""
    path = folder / ENDPOINT_FILE
    fresh = path.with_suffix(".new")
    fresh.unlink(missing_ok=True)
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
        file.write(endpoint.model_dump_json())
    fresh.replace(path)


def read_endpoint(folder: Path) -> LocalEndpoint | None:
    """What the last `processingpool run` of this pool wrote; None if there is nothing readable."""
    try:
        return LocalEndpoint.model_validate_json((folder / ENDPOINT_FILE).read_text(encoding="utf-8"))
    except (OSError, ValidationError):
        return None
