"""Find ffmpeg: the one on PATH, else the one inside the wheel `imageio-ffmpeg`."""

from __future__ import annotations

import importlib
import shutil

from pool_worker.media.errors import MachineError


def find_ffmpeg() -> str:
    """Path of the program.

    Raises:
        MachineError: when there is none.
    """
    if (on_path := shutil.which("ffmpeg")) is not None:
        return on_path
    try:
        wheel = importlib.import_module("imageio_ffmpeg")
        return str(wheel.get_ffmpeg_exe())
    except (ImportError, RuntimeError):
        raise MachineError(
            "there is no ffmpeg on this worker: install it (apt install ffmpeg) or add the package imageio-ffmpeg"
        ) from None
