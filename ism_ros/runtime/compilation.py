"""Compilation of functions by Numba, and whether it can be used."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, TypeVar

Function = TypeVar("Function", bound=Callable[..., Any])

logger = logging.getLogger(__name__)

try:
    import numba
except ImportError as error:
    # such as Numba beside a NumPy that is newer than it knows
    reason = str(error).strip().splitlines()[0]
    logger.warning("Numba cannot be used (%s): refinement of poses is several times slower on the CPU", reason)
    numba = None  # type: ignore[assignment]

IS_AVAILABLE = numba is not None
"""Whether Numba can be used; else PyTorch does the same, more slowly."""


def compiled(function: Function) -> Function:
    """Compile a function when it is first called, without Python's lock while it runs.

    Machine code is kept beside the source, or in a folder of the user where that cannot be written, for the next start.

    Args:
        function: Of numbers, arrays and named tuples of these.

    Returns:
        The compiled function; `function` itself where Numba cannot be used.
    """
    if numba is None:
        return function
    options: dict[str, Any] = {"nogil": True, "fastmath": True, "error_model": "numpy"}
    try:
        done: Function = numba.njit(cache=True, **options)(function)
    except RuntimeError:  # no folder can be written
        done = numba.njit(**options)(function)
    return done
