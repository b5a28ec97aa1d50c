"""The one model of this process: found, loaded once, shared by all slots.

`app.py` loads it before the replica says that it is ready. A job function that finds none loaded (a stock `rq worker`,
which forks for each job) loads it from the environment: never before the fork, since a model that is inherited hangs.
"""

from __future__ import annotations

import json
import os
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from faster_whisper import WhisperModel

DEFAULT_MODEL = "tiny.en"
REQUIRED_FILES = ("model.bin", "config.json", "tokenizer.json")
_SETTING = "PROCESSINGPOOL_MODEL"


class ModelError(Exception):
    """The model cannot be used; the text is one sentence that names the setting and the fix."""


def models_folder() -> Path:
    """Where named models lie: PROCESSINGPOOL_MODELS, else under the user's data folder."""
    if configured := os.environ.get("PROCESSINGPOOL_MODELS"):
        return Path(configured).expanduser()
    data = os.environ.get("XDG_DATA_HOME") or "~/.local/share"
    return Path(data).expanduser() / "processingpool" / "models"


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSettings:
    """Which model, and where and how it runs."""

    name: str = DEFAULT_MODEL  # a folder, or the name of one under `models`, or one that faster-whisper can download
    device: str = "auto"  # auto | cpu | cuda
    compute_type: str = "default"  # default: float16 on a GPU, int8 on a CPU
    cpu_threads: int = 0  # per running job; 0 leaves it to the library
    jobs_at_once: int = 1
    models: Path = field(default_factory=models_folder)

    @classmethod
    def from_environment(cls) -> ModelSettings:
        """The settings a worker has when nothing else is said."""
        return cls(
            name=os.environ.get(_SETTING) or DEFAULT_MODEL,
            device=os.environ.get("PROCESSINGPOOL_MODEL_DEVICE") or "auto",
            compute_type=os.environ.get("PROCESSINGPOOL_MODEL_COMPUTE_TYPE") or "default",
            cpu_threads=_whole_number("PROCESSINGPOOL_CPU_THREADS", 0),
            jobs_at_once=max(1, _whole_number("PROCESSINGPOOL_SLOTS", 1)),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """A loaded model. `whisper.transcribe` may be called from many threads at once."""

    name: str
    device: str
    compute_type: str
    jobs_at_once: int = 1  # more may call it; they take turns
    whisper: WhisperModel

    @property
    def languages(self) -> list[str]:
        """Codes that the model understands."""
        supported: list[str] = self.whisper.supported_languages
        return supported


_lock = threading.Lock()
_loaded: Model | None = None


def load(settings: ModelSettings) -> Model:
    """Load the model of this process; a second call returns the first one's.

    Raises:
        ModelError: when it is missing, broken, or does not fit the device.
    """
    global _loaded  # noqa: PLW0603  one model per process is the point
    with _lock:
        if _loaded is None:
            _loaded = _load(settings)
        return _loaded


def current() -> Model:
    """The loaded model; loads it from the environment if nobody did."""
    return _loaded if _loaded is not None else load(ModelSettings.from_environment())


def unload() -> None:
    """Forget the model (tests load several)."""
    global _loaded  # noqa: PLW0603
    with _lock:
        _loaded = None


def _load(settings: ModelSettings) -> Model:
    where = _locate(settings)
    # Read when the library loads its thread pool: spinning threads make a job ten times slower under a CPU limit.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    try:
        import ctranslate2
        from faster_whisper import WhisperModel
    except ModuleNotFoundError as error:
        raise ModelError(
            f"{_SETTING}: the Python package '{error.name}' is not installed: pip install 'processing-pool[worker]'"
        ) from None

    device = settings.device
    if device == "auto":
        device = "cuda" if ctranslate2.get_cuda_device_count() > 0 else "cpu"
    compute_type = settings.compute_type
    if compute_type == "default":
        compute_type = "float16" if device == "cuda" else "int8"
    _refuse_wrong_device(settings, device, compute_type, ctranslate2)
    try:
        whisper = WhisperModel(
            str(where),
            device=device,
            compute_type=compute_type,
            cpu_threads=settings.cpu_threads,
            num_workers=settings.jobs_at_once,
        )
    except Exception as error:  # noqa: BLE001  two libraries, many types, one sentence
        raise ModelError(_unloadable(settings, where, error)) from None
    model = Model(
        name=settings.name,
        device=device,
        compute_type=compute_type,
        jobs_at_once=whisper.model.num_workers,
        whisper=whisper,
    )
    _try_out(model, where)
    return model


def _locate(settings: ModelSettings) -> Path | str:
    """The model's folder, or the bare name when faster-whisper may download it."""
    given = Path(settings.name).expanduser()
    named = settings.models / settings.name
    if given.is_absolute() or settings.name.startswith((".", "~")):
        folder = given
    elif named.is_dir():
        folder = named
    else:
        return _downloadable(settings)
    if not folder.is_dir():
        raise ModelError(f"{_SETTING}: there is no folder {folder}; name a folder with a faster-whisper model in it")
    missing = [name for name in REQUIRED_FILES if not (folder / name).is_file()]
    if not any((folder / name).is_file() for name in ("vocabulary.json", "vocabulary.txt")):
        missing.append("vocabulary.json")
    if missing:
        raise ModelError(
            f"{_SETTING}: the folder {folder} is no complete faster-whisper model: {', '.join(missing)} is missing"
        )
    _refuse_config(folder)
    return folder


def _refuse_config(folder: Path) -> None:
    """CTranslate2 reads past the end of memory where this field is absent: a wrong answer, or a crash of the process."""
    try:
        config = json.loads((folder / "config.json").read_bytes())
    except (ValueError, OSError):
        config = None
    if not isinstance(config, dict) or "suppress_ids_begin" not in config:
        raise ModelError(
            f"{_SETTING}: the model in {folder} is damaged or not for faster-whisper"
            " (config.json has no suppress_ids_begin); fetch it again"
        )


def _downloadable(settings: ModelSettings) -> str:
    from faster_whisper import available_models

    if settings.name in available_models() or settings.name.count("/") == 1:
        return settings.name
    raise ModelError(
        f"{_SETTING}: there is no model {settings.name!r} in {settings.models}, and faster-whisper knows none of that name;"
        " name a folder, or fetch one with hack/fetch_model.py"
    )


def _refuse_wrong_device(settings: ModelSettings, device: str, compute_type: str, ctranslate2: object) -> None:
    if device not in {"cpu", "cuda"}:
        raise ModelError(f"PROCESSINGPOOL_MODEL_DEVICE: {settings.device!r} is not one of auto, cpu, cuda")
    if device == "cuda" and ctranslate2.get_cuda_device_count() == 0:  # type: ignore[attr-defined]
        raise ModelError(
            "PROCESSINGPOOL_MODEL_DEVICE: cuda is set, but this machine shows no NVIDIA GPU; set auto or cpu"
        )
    known = ctranslate2.get_supported_compute_types(device)  # type: ignore[attr-defined]
    if compute_type not in known:
        raise ModelError(
            f"PROCESSINGPOOL_MODEL_COMPUTE_TYPE: {compute_type!r} does not run on this {device}; it offers {', '.join(sorted(known))}"
        )


def _unloadable(settings: ModelSettings, where: Path | str, error: Exception) -> str:
    reason = _first_line(error)
    if isinstance(where, str):
        return (
            f"{_SETTING}: the model {where!r} is not in {settings.models} and could not be downloaded ({reason});"
            f" fetch it where there is a network, or name a folder"
        )
    if "out of memory" in reason.lower():
        return f"{_SETTING}: the model in {where} does not fit the memory ({reason}); choose a smaller one or a smaller compute type"
    return f"{_SETTING}: the model in {where} is damaged or not for faster-whisper ({reason}); fetch it again"


def _try_out(model: Model, where: Path | str) -> None:
    """Run it once: what is wrong with a configuration or a GPU's libraries only shows then, and the first job is no slower."""
    import numpy as np

    try:
        language = "en" if "en" in model.languages else model.languages[0]
        segments, _ = model.whisper.transcribe(np.zeros(16_000, np.float32), language=language, beam_size=1)
        list(segments)
    except Exception as error:  # noqa: BLE001  two libraries, many types, one sentence
        raise ModelError(
            f"{_SETTING}: the model in {where} loads but does not run on {model.device} with {model.compute_type}: {_first_line(error)}"
        ) from None


def _whole_number(setting: str, default: int) -> int:
    text = os.environ.get(setting) or str(default)
    if not text.isdigit():
        raise ModelError(f"{setting}: {text[:40]!r} is not a whole number")
    return int(text)


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
