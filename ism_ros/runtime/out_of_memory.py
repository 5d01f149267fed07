"""Work on many rows in chunks that fit into the memory there is."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import TypeVar

import torch

Result = TypeVar("Result")

SAID_OF_MEMORY = ("allocate memory", "out of memory", "STATUS_ALLOC_FAILED")
"""In errors that have no class of their own: by the CPU's allocator, by CUDA itself, by cuBLAS and cuDNN."""

logger = logging.getLogger(__name__)


class OutOfMemoryCounter:
    """Counts, from any thread, how often work went on in smaller pieces after memory had run out."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._count = 0

    @property
    def count(self) -> int:
        return self._count

    def add(self) -> None:
        with self._lock:
            self._count += 1


class OutOfMemoryRetry:
    """Cuts rows into chunks of at most `size`. A chunk that does not fit is halved, said in the log, and stays so.

    what: what the rows are, for the log. recoveries: told every time.
    """

    def __init__(self, size: int, what: str, recoveries: OutOfMemoryCounter | None = None) -> None:
        self.size = size
        self.what = what
        self._recoveries = recoveries or OutOfMemoryCounter()

    def run(self, count: int, work: Callable[[slice], Result]) -> list[Result]:
        """The results of `work` on rows 0..count, chunk after chunk. Raises what it raises for a single row."""
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
        self.size = tried // 2
        self._recoveries.add()
        logger.warning("%d %s at once do not fit into memory: going on with %d", tried, self.what, self.size)
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an allocation failed, on a GPU or on the CPU (which has no exception of its own for it)."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(said in str(error) for said in SAID_OF_MEMORY)
