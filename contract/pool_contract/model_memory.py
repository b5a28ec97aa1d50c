"""What a Whisper model takes in memory, by name: the operator's defaults until the worker has measured its own.

GPU numbers are weights, CUDA context, one job's caches and activations, rounded up; host numbers are measured with
audio cut into slices of five minutes (docs/limits.md). A pool may set its own in `spec.concurrency`.
"""

from __future__ import annotations

from dataclasses import dataclass

_PREFIXES = ("faster-whisper-", "faster-distil-whisper-", "whisper-", "distil-whisper-")
_ALIASES = {
    "large": "large-v3",
    "large-v1": "large-v2",
    "large-v3-turbo": "turbo",
    "distil-large-v2": "distil-large-v3",
    "distil-large-v3.5": "distil-large-v3",
    "distil-medium": "medium",
    "distil-small": "small",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelMemory:
    """Memory of one model in MiB; "per job" is what each job that runs at the same time adds."""

    host_base_mib: int  # the process beside a GPU: libraries and CUDA's host side
    host_per_job_mib: int
    host_base_cpu_mib: int  # without a GPU: the weights (int8) live in host memory, and loading holds the file too
    host_per_job_cpu_mib: int
    gpu_base_mib: int  # float16
    gpu_base_int8_mib: int  # int8_float16
    gpu_per_job_mib: int


def _row(host: int, cpu: int, cpu_job: int, gpu: int, gpu_int8: int, gpu_job: int) -> ModelMemory:
    return ModelMemory(
        host_base_mib=host,
        host_per_job_mib=500,
        host_base_cpu_mib=cpu,
        host_per_job_cpu_mib=cpu_job,
        gpu_base_mib=gpu,
        gpu_base_int8_mib=gpu_int8,
        gpu_per_job_mib=gpu_job,
    )


MODELS: dict[str, ModelMemory] = {
    "tiny": _row(1200, 400, 500, 550, 520, 150),
    "base": _row(1200, 500, 550, 650, 560, 200),
    "small": _row(1200, 800, 650, 1000, 750, 350),
    "medium": _row(1300, 1800, 850, 2050, 1350, 700),
    "large-v2": _row(1500, 3400, 1000, 3650, 2200, 1500),
    "large-v3": _row(1500, 3400, 1000, 3650, 2200, 1500),
    "turbo": _row(1500, 1900, 750, 2150, 1400, 500),
    "distil-large-v3": _row(1500, 1800, 750, 2050, 1350, 450),
}


def memory_of(model: str) -> ModelMemory | None:
    """The row of a model given as a name, a repository id or a folder; None for a model that is not in the table."""
    name = model.strip().rstrip("/").rsplit("/", 1)[-1].lower().removesuffix("-ct2").removesuffix(".en")
    for prefix in _PREFIXES:
        if name.startswith(prefix):
            name = ("distil-" if "distil" in prefix else "") + name.removeprefix(prefix)
            break
    return MODELS.get(_ALIASES.get(name, name))
