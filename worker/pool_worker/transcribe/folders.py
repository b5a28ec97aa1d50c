"""Where jobs may read and write, if the worker says so: their paths come from whoever can enqueue.

A path is judged, and used, as it really is: no symbolic link and no `..` leads out of the folders.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from pool_contract.jobs import JobError


def inside(path: str, folders: Sequence[Path], field: str) -> str:
    """The real path of a job's field; without folders any path, as it is.

    Raises:
        JobError: it lies outside of all of them.
    """
    if not folders:
        return path
    real = Path(os.path.realpath(path))
    if any(real.is_relative_to(os.path.realpath(folder)) for folder in folders):
        return str(real)
    listed = ", ".join(str(folder) for folder in folders)
    raise JobError(
        f"{field}: {path} is outside of the folders that jobs may use here ({listed}): name one inside, or add its folder "
        "to the worker's --folders (PROCESSINGPOOL_FOLDERS)"
    )
