"""Compilation of functions by Numba, and whether it can be used."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import Tensor

Function = TypeVar("Function", bound=Callable[..., Any])

logger = logging.getLogger(__name__)

try:
    import numba
except ImportError as error:
    # such as Numba beside a NumPy that is newer than it knows
    reason = str(error).strip().splitlines()[0]
    logger.warning("Numba cannot be used (%s): verification of poses is several times slower on the CPU", reason)
    numba = None  # type: ignore[assignment]

IS_AVAILABLE = numba is not None
"""Whether Numba can be used; else PyTorch does the same, more slowly."""
Float = np.float32
Floats = NDArray[np.float32]
"""Numbers of compiled loops, all of one size, so that those without branches become vector instructions."""
ZERO, HALF, ONE = Float(0), Float(0.5), Float(1)
OPTIONS: dict[str, Any] = {"nogil": True, "fastmath": True, "error_model": "numpy"}
"""Of all functions: they do not hold Python's lock, and know no infinities."""


def is_compiled_for(values: Tensor) -> bool:
    """Tell whether compiled loops do the work on tensors, and not operations of PyTorch.

    Args:
        values: One of them.

    Returns:
        True on a CPU where Numba can be used.
    """
    return IS_AVAILABLE and values.device.type == "cpu"


def compiled(function: Function) -> Function:
    """Compile a function when it is first called, without Python's lock while it runs.

    Machine code is kept beside the source, or in a folder of the user where that cannot be written, for the next start,
    as long as neither the file of the function nor a constant of its module has changed: functions that it calls are to
    be in the same file.

    Args:
        function: Of numbers, arrays and named tuples of these.

    Returns:
        The compiled function; `function` itself where Numba cannot be used.
    """
    if numba is None:
        return function
    try:
        done: Function = numba.njit(cache=True, **OPTIONS)(function)
    except RuntimeError:  # no folder can be written
        done = numba.njit(**OPTIONS)(function)
    else:
        _stamp_with_constants(done, function)
    return done


def compiled_part(function: Function) -> Function:
    """Compile a function that only compiled ones call, with them; it takes less time, as Python has no way into it.

    Its code becomes part of each function that calls it. The process that compiles would else call a copy of its own,
    optimized apart from its callers, and compute other last digits than those that load what it has kept.

    Args:
        function: As of `compiled`.

    Returns:
        As of `compiled`.
    """
    if numba is None:
        return function
    as_part: dict[str, Any] = {"no_cpython_wrapper": True, "no_cfunc_wrapper": True, "forceinline": True}
    done: Function = numba.njit(**as_part, **OPTIONS)(function)
    return done


def _stamp_with_constants(done: Any, function: Callable[..., Any]) -> None:
    """Have what is kept of a function renewed when a constant of its module, which may be imported, has changed."""
    of_module = function.__globals__.items()
    constants = [(name, repr(value)) for name, value in of_module if isinstance(value, (int, float, tuple, np.number))]
    with contextlib.suppress(AttributeError):  # Numba has no public way; another version may keep it elsewhere
        kept = done._cache._cache_file
        kept._source_stamp = kept._source_stamp, tuple(sorted(constants))
