"""OutOfMemoryRetry that fit into memory."""

from __future__ import annotations

import pytest
import torch

from ism_ros.runtime.out_of_memory import OutOfMemoryCounter, OutOfMemoryRetry, is_out_of_memory


def test_all_rows_are_worked_on_once_and_in_order() -> None:
    assert OutOfMemoryRetry(3, "rows").run(8, lambda rows: (rows.start, rows.stop)) == [(0, 3), (3, 6), (6, 8)]


def test_nothing_to_do_gives_nothing() -> None:
    assert OutOfMemoryRetry(3, "rows").run(0, lambda rows: rows) == []


def test_a_chunk_that_fits_nowhere_raises() -> None:
    def work(rows: slice) -> None:
        raise MemoryError

    with pytest.raises(MemoryError):
        OutOfMemoryRetry(4, "rows").run(4, work)


def test_a_smaller_chunk_stays_for_the_next_run() -> None:
    def work(rows: slice) -> int:
        if rows.stop - rows.start > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return rows.stop - rows.start

    chunks = OutOfMemoryRetry(8, "rows")
    assert chunks.run(5, work) == [2, 2, 1]
    assert chunks.size == 2


def test_the_allocator_of_the_cpu_is_understood() -> None:
    with pytest.raises(RuntimeError) as caught:
        torch.empty(1 << 60, dtype=torch.uint8)
    assert is_out_of_memory(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        "CUDA error: out of memory",
        "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
        "cuDNN error: CUDNN_STATUS_ALLOC_FAILED",
    ],
)
def test_libraries_of_a_gpu_are_understood(text: str) -> None:
    assert is_out_of_memory(RuntimeError(text))


def test_other_errors_are_not_taken_for_it() -> None:
    assert not is_out_of_memory(RuntimeError("CUDA error: an illegal memory access was encountered"))
    assert not is_out_of_memory(ValueError("out of memory"))


def test_every_halving_is_counted() -> None:
    def work(rows: slice) -> int:
        if rows.stop - rows.start > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return rows.stop - rows.start

    recoveries = OutOfMemoryCounter()
    chunks = [OutOfMemoryRetry(8, name, recoveries) for name in ("rows", "other rows")]
    assert recoveries.count == 0
    assert sum(chunks[0].run(8, work)) == 8
    assert recoveries.count == 2
    chunks[0].run(8, work)
    assert recoveries.count == 2, "the smaller chunk stays, nothing runs out of memory any more"
    chunks[1].run(4, work)
    assert recoveries.count == 3
