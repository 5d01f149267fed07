"""How the threads of numpy and PyTorch wait, and in what pages PyTorch takes memory: said before either is imported."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

PATIENT_THREADS = {"OMP_WAIT_POLICY": "PASSIVE", "OPENBLAS_NUM_THREADS": "1"}
"""Environment in which threads sleep while they wait. By default they spin, which costs tenfold on cores that the
camera driver or another program needs as well."""


LARGE_PAGES = {"THP_MEM_ALLOC_ENABLE": "1"}
"""Environment in which PyTorch asks Linux for large pages: crops and tokens of a frame are new memory in each frame,
and several times faster to get in pages of 2 MB than of 4 kB."""


def use_patient_threads() -> None:
    """Sets PATIENT_THREADS and LARGE_PAGES for this process where the user has not decided otherwise.

    numpy and torch read it once.
    """
    for name, value in {**PATIENT_THREADS, **LARGE_PAGES}.items():
        os.environ.setdefault(name, value)


@contextmanager
def one_thread() -> Iterator[None]:
    """Meanwhile PyTorch works on one thread: of many small tensors each would cost the others' waking up, which takes
    longer than the work."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
