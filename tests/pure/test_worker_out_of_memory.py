"""Which errors mean that memory was not enough."""

from __future__ import annotations

import pytest

from pool_worker.out_of_memory import is_out_of_memory


def raised_from(cause):
    """An error of the job's own around the cause."""
    error = ValueError("the slice cannot be transcribed")
    error.__cause__ = cause
    return error


def while_handling(first):
    error = KeyError("name")
    error.__context__ = first
    return error


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        OSError(12, "Cannot allocate memory"),
        RuntimeError("CUDA failed with error out of memory"),
        RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        RuntimeError("cuBLAS failed with status CUBLAS_STATUS_ALLOC_FAILED"),
        RuntimeError("std::bad_alloc"),
        raised_from(MemoryError()),
        while_handling(raised_from(RuntimeError("CUDA failed with error out of memory"))),
    ],
    ids=repr,
)
def test_memory_was_not_enough(error):
    assert is_out_of_memory(error)


@pytest.mark.parametrize(
    "error",
    [
        None,
        ValueError("a talk about CUDA out of memory"),
        RuntimeError("CUDA driver version is insufficient"),
        OSError(28, "No space left on device"),
        raised_from(TimeoutError()),
    ],
    ids=repr,
)
def test_it_was_something_else(error):
    assert not is_out_of_memory(error)


def test_errors_that_were_raised_from_each_other_in_a_circle_end():
    one, other = ValueError("a"), ValueError("b")
    one.__cause__, other.__cause__ = other, one
    assert not is_out_of_memory(one)
