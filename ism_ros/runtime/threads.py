"""How the threads of numpy and PyTorch wait, and in what pages PyTorch takes memory: said before either is imported."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from torch import Tensor

Result = TypeVar("Result")

PASSIVE_WAIT_ENV = {"OMP_WAIT_POLICY": "PASSIVE", "OPENBLAS_NUM_THREADS": "1"}
"""Environment in which threads sleep while they wait. By default they spin, which costs tenfold on cores that the
camera driver or another program needs as well."""


LARGE_PAGES_ENV = {"THP_MEM_ALLOC_ENABLE": "1"}
"""Environment in which PyTorch asks Linux for large pages: crops and tokens of a frame are new memory in each frame,
and several times faster to get in pages of 2 MB than of 4 kB."""


def configure_thread_env() -> None:
    """Sets PASSIVE_WAIT_ENV and LARGE_PAGES_ENV for this process where the user has not decided otherwise.

    numpy and torch read it once.
    """
    for name, value in {**PASSIVE_WAIT_ENV, **LARGE_PAGES_ENV}.items():
        os.environ.setdefault(name, value)


MOST_ROWS = 128
"""Of so many rows at most are tensors that are small for more than one thread."""


def set_num_threads(count: int) -> None:
    """PyTorch works on so many threads when this one asks it to, and when one does that it has not met yet."""
    import torch

    torch.get_num_threads()  # the first question of a thread would undo the answer
    torch.set_num_threads(count)


@contextmanager
def one_thread(rows: Tensor) -> Iterator[None]:
    """Meanwhile PyTorch works on one thread, where `rows` are few and on the CPU: of many small tensors each would cost
    the others' waking up, which takes longer than the work.

    A thread that PyTorch meets for the first time meanwhile has one as well, until `set_num_threads`.
    """
    import torch

    before = torch.get_num_threads()
    if before == 1 or rows.is_cuda or len(rows) > MOST_ROWS:
        yield
        return
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def map_on_threads(work: Callable[..., Result], threads: int, *arguments: Sequence[Any]) -> list[Result]:
    """Apply `work` to each item, in order.

    Args:
        work: Called with one item of each of `arguments`.
        threads: 1 = one item after the other, on all threads that the caller has; more = so many items at once, each on
            one thread of PyTorch.
        arguments: Sequences of one length.

    Returns:
        The results, in the order of the items.
    """
    if threads == 1:
        return [work(*items) for items in zip(*arguments, strict=True)]
    import torch

    before = torch.get_num_threads()

    @torch.inference_mode()
    def on_one_thread(*items: Any) -> Result:
        set_num_threads(1)
        return work(*items)

    try:
        with ThreadPoolExecutor(threads, "ism_frame") as pool:
            return list(pool.map(on_one_thread, *arguments))
    finally:
        set_num_threads(before)
