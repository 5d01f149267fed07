"""What PyTorch is asked for: how many operations, in which formats of numbers, and how often they are waited for.

Each operation is a launch on a GPU, some microseconds, and each wait stops the launches until it has done all before.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

PRODUCTS = ("conv", "mm", "matmul", "linear", "attention")
"""Parts of the names of PyTorch's operators that are products: convolutions, matrix products, attention."""
WAITING_OPERATORS = frozenset(
    ("item", "is_nonzero", "_local_scalar_dense", "nonzero", "masked_select", "equal", "_unique2", "unique_dim")
)
"""Operators that return numbers to Python, or tensors whose size depends on numbers."""
INDEXING_OPERATORS = frozenset(("index", "index_put", "index_put_", "_index_put_impl_"))
"""Operators that are such only where a mask is among their indices."""
WAITING_METHODS = (Tensor.cpu, Tensor.tolist)
"""Methods that copy a tensor from a GPU; on a CPU they are no operators."""


@dataclass(frozen=True)
class OperationCount:
    """Operations of a stage.

    Attributes:
        operations: Number of operators that compute or copy something.
        waits: Number of times that a GPU is waited for, were all tensors on it.
        formats: Formats of numbers in products, the most frequent first.
        waiting: What is waited for, by the name of the operator or method.
    """

    operations: int
    waits: int
    formats: list[str]
    waiting: dict[str, int]


class OperationCounter:
    """Counts what the calling thread asks PyTorch for, on any device."""

    def __init__(self) -> None:
        """Start at 0."""
        self.operations: Counter[str] = Counter()
        self.waits: Counter[str] = Counter()
        self.formats: Counter[str] = Counter()

    @contextmanager
    def counting(self) -> Iterator[None]:
        """Count in the block."""
        with _Methods(self), _Operators(self):
            yield

    def result(self) -> OperationCount:
        """Summarize what was counted."""
        formats = [name for name, _ in self.formats.most_common()]
        return OperationCount(self.operations.total(), self.waits.total(), formats, dict(self.waits.most_common()))


class _Operators(TorchDispatchMode):
    def __init__(self, counter: OperationCounter) -> None:
        super().__init__()
        self._counter = counter

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        name = str(func.overloadpacket).removeprefix("aten.")
        first = result[0] if isinstance(result, (tuple, list)) and result else result
        if func._schema.is_mutable or not _is_view(first, args):
            self._counter.operations[name] += 1
        if name in WAITING_OPERATORS or (name in INDEXING_OPERATORS and any(map(_is_mask, args[1]))):
            self._counter.waits[name] += 1
        if isinstance(first, Tensor) and any(part in name for part in PRODUCTS):
            self._counter.formats[str(first.dtype).removeprefix("torch.")] += 1
        return result


class _Methods(TorchFunctionMode):
    def __init__(self, counter: OperationCounter) -> None:
        super().__init__()
        self._counter = counter

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in WAITING_METHODS:
            self._counter.waits[func.__name__] += 1
        return func(*args, **(kwargs or {}))


def _is_mask(index: Any) -> bool:
    return isinstance(index, Tensor) and index.dtype == torch.bool


def _is_view(result: Any, args: Any) -> bool:
    """Tell whether a result shows the memory of an argument, so that nothing was computed."""
    if not isinstance(result, Tensor) or not result.numel():
        return False
    memory = result.untyped_storage().data_ptr()
    return any(isinstance(one, Tensor) and one.untyped_storage().data_ptr() == memory for one in args)
