"""Work on many rows in chunks that fit into the memory there is."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TypeVar

import torch

Result = TypeVar("Result")

logger = logging.getLogger(__name__)


class Chunks:
    """Cuts rows into chunks of at most `size`. A chunk that does not fit is halved, said in the log, and stays so.

    what: what the rows are, for the log.
    """

    def __init__(self, size: int, what: str) -> None:
        self.size = size
        self.what = what

    def run(self, count: int, work: Callable[[slice], Result]) -> list[Result]:
        """The results of `work` on rows 0..count, chunk after chunk. Raises what it raises for a single row."""
        results: list[Result] = []
        start = 0
        while start < count:
            rows = slice(start, min(start + self.size, count))
            try:
                results.append(work(rows))
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error) or rows.stop - rows.start == 1:
                    raise
                self._shrink(rows.stop - rows.start)
                continue
            start = rows.stop
        return results

    def _shrink(self, tried: int) -> None:
        self.size = tried // 2
        logger.warning("%d %s at once do not fit into memory: going on with %d", tried, self.what, self.size)
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an allocation failed, on a GPU or on the CPU (which has no exception of its own for it)."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and "allocate memory" in str(error)
