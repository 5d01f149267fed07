"""Work on many rows in batches that fit into the memory there is (compare find_executable_batch_size of accelerate)."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import TypeVar

Result = TypeVar("Result")

MESSAGES = ("allocate memory", "out of memory", "STATUS_ALLOC_FAILED")
"""Texts of errors that have no class of their own: of the CPU's allocator, of CUDA itself, of cuBLAS and cuDNN."""

logger = logging.getLogger(__name__)


class OutOfMemoryCounter:
    """Counts, from any thread, how often work was retried with smaller batches after memory had run out."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._count = 0

    @property
    def count(self) -> int:
        """Number of retries so far."""
        return self._count

    def add(self) -> None:
        """Count one retry."""
        with self._lock:
            self._count += 1


class OutOfMemoryRetry:
    """Runs work on rows in batches; one that does not fit into memory is halved, logged and retried, and stays so.

    Attributes:
        size: Most rows of a batch, as of now.
        what: Rows in words, for the log.
    """

    def __init__(self, size: int, what: str, recoveries: OutOfMemoryCounter | None = None) -> None:
        """Start with batches of a size.

        Args:
            size: Most rows of a batch.
            what: Rows in words, for the log.
            recoveries: Counts the retries.
        """
        self.size = size
        self.what = what
        self._recoveries = recoveries or OutOfMemoryCounter()

    def run(self, count: int, work: Callable[[slice], Result]) -> list[Result]:
        """Run work on rows 0 to `count`, batch after batch.

        Args:
            count: Number of rows.
            work: Called with a slice of rows.

        Returns:
            What `work` returned for each batch, in order.

        Raises:
            Exception: What `work` raises, out of memory only for a single row.
        """
        results: list[Result] = []
        start = 0
        while start < count:
            rows = slice(start, min(start + self.size, count))
            try:
                results.append(work(rows))
                start = rows.stop
                continue
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error) or rows.stop - rows.start == 1:
                    raise
            # only here, where the error is gone, and with it what it held on the way
            self._shrink(rows.stop - rows.start)
        return results

    def _shrink(self, tried: int) -> None:
        import torch  # here, as registries count recoveries, whose names are looked up without PyTorch

        self.size = tried // 2
        self._recoveries.add()
        logger.warning("%d %s at once do not fit into memory: going on with %d", tried, self.what, self.size)
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def is_out_of_memory(error: BaseException) -> bool:
    """Tell whether an allocation failed, on a GPU or on the CPU (which has no exception of its own for it).

    Args:
        error: Any exception.

    Returns:
        Whether it says so by its class or its text.
    """
    import torch

    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(text in str(error) for text in MESSAGES)
