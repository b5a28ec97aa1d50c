"""Did a run end for want of memory? Pure."""

from __future__ import annotations

import errno
from typing import Final

WORDS: Final = (
    "cuda out of memory",  # torch
    "cuda failed with error out of memory",  # ctranslate2
    "cudaerrormemoryallocation",
    "cublas_status_alloc_failed",
    "cudnn_status_alloc_failed",
    "std::bad_alloc",  # a C++ library, in host memory
)
"""How libraries that know no MemoryError say it, in lower case."""
LONGEST_CHAIN: Final = 20


def is_out_of_memory(error: BaseException | None) -> bool:
    """Whether the error, or one that it was raised from, says that host or GPU memory was not enough.

    >>> is_out_of_memory(RuntimeError("CUDA failed with error out of memory"))
    True
    >>> is_out_of_memory(ValueError("no speech found"))
    False
    """
    for _ in range(LONGEST_CHAIN):
        if error is None:
            return False
        if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno == errno.ENOMEM):
            return True
        if isinstance(error, RuntimeError) and any(word in str(error).lower() for word in WORDS):
            return True
        error = error.__cause__ or error.__context__
    return False
