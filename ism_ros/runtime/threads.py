"""Threads of numpy and PyTorch: how they wait, how many work, and in what pages PyTorch allocates memory."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from itertools import pairwise
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from torch import Tensor

Result = TypeVar("Result")

PASSIVE_WAIT_ENV = {"OMP_WAIT_POLICY": "PASSIVE", "OPENBLAS_NUM_THREADS": "1"}
"""Environment in which threads sleep while they wait (passive OpenMP wait policy). By default they spin, which is
tenfold slower on cores that the camera driver or another program uses as well."""

LARGE_PAGES_ENV = {"THP_MEM_ALLOC_ENABLE": "1"}
"""Environment in which PyTorch requests large pages from Linux: crops and tokens of a frame are new memory in each
frame, and several times faster to get in pages of 2 MB than of 4 kB."""


def configure_thread_env() -> None:
    """Set PASSIVE_WAIT_ENV and LARGE_PAGES_ENV for this process where the user has not set them.

    numpy and torch read them once: call this before either is imported.
    """
    for name, value in {**PASSIVE_WAIT_ENV, **LARGE_PAGES_ENV}.items():
        os.environ.setdefault(name, value)


MAX_ROWS_OF_ONE_THREAD = 128
"""Rows up to which tensors are too small for more than one thread."""


def set_num_threads(count: int) -> None:
    """Set the number of intra-op threads of PyTorch for the calling thread.

    PyTorch keeps the number per thread, and this one also as the default of threads that use it for the first time
    later.

    Args:
        count: Number of threads.
    """
    import torch

    torch.get_num_threads()  # the first call in a thread would override a number set before it
    torch.set_num_threads(count)


@contextmanager
def one_thread(rows: Tensor) -> Iterator[None]:
    """Limit PyTorch to one thread inside the context, where a tensor has few rows and is on the CPU.

    For many small tensors, waking the other threads takes longer than the work. A thread that uses PyTorch for the
    first time meanwhile has one thread as well, until `set_num_threads`.

    Args:
        rows: (N, ...) tensor, by whose number of rows and device it is decided.

    Yields:
        Nothing.
    """
    import torch

    before = torch.get_num_threads()
    if before == 1 or rows.is_cuda or len(rows) > MAX_ROWS_OF_ONE_THREAD:
        yield
        return
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def map_on_threads(work: Callable[..., Result], threads: int, *arguments: Sequence[Any]) -> list[Result]:
    """Apply `work` to each item, in order.

    The threads stay, as starting some anew takes a tenth of a frame's time.

    Args:
        work: Function, called with one item of each of `arguments`; must not call this with several threads itself.
        threads: Most items processed at once, each on one thread of PyTorch. With 1, or no more than one item, they are
            processed one after the other, on all threads of the caller.
        *arguments: Sequences of equal length.

    Returns:
        The results, in the order of the items.
    """
    if min(threads, len(arguments[0])) <= 1:
        return [work(*items) for items in zip(*arguments, strict=True)]
    import torch

    before = torch.get_num_threads()

    @torch.inference_mode()
    def on_one_thread(*items: Any) -> Result:
        set_num_threads(1)
        return work(*items)

    try:
        return list(_pool(threads).map(on_one_thread, *arguments))
    finally:
        set_num_threads(before)


def shares_of_threads(count: int, threads: int) -> list[tuple[int, int]]:
    """Share consecutive items out to threads.

    Args:
        count: Number of items.
        threads: Number of threads.

    Returns:
        The first item of each share and the one behind its last; one empty share where there are no items.
    """
    shares = max(min(threads, count), 1)
    bounds = [count * share // shares for share in range(shares + 1)]
    return list(pairwise(bounds))


def map_on_shares(work: Callable[[int, int], None], threads: int, count: int) -> None:
    """Apply `work` to the share of consecutive items that each thread has.

    Args:
        work: Called with the first item of a share and the one behind its last; as of `map_on_threads`.
        threads: As of `map_on_threads`.
        count: Number of items.
    """
    map_on_threads(work, threads, *zip(*shares_of_threads(count, threads), strict=True))


@cache
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, "ism_frame")


# threads do not come along into a forked process
os.register_at_fork(after_in_child=_pool.cache_clear)
