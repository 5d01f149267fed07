"""Which formats of numbers the products of a network are computed in, seen while it runs."""

from __future__ import annotations

from collections import Counter
from typing import Any

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

PRODUCTS = ("conv", "mm", "linear", "attention")
"""Parts of the names of PyTorch's operators that are products: convolutions, matrix products, attention."""


class NumberFormats(TorchDispatchMode):
    """Counts the products that PyTorch computes in the block, by the format of their numbers."""

    def __init__(self) -> None:
        """Start at 0."""
        super().__init__()
        self._counted: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run an operator, and count it where it is a product.

        Args:
            func: The operator; all others as of PyTorch.
            types: See there.
            args: See there.
            kwargs: See there.

        Returns:
            Its result.
        """
        result = func(*args, **(kwargs or {}))
        first = result[0] if isinstance(result, (tuple, list)) and result else result
        if isinstance(first, Tensor) and any(part in str(func.overloadpacket) for part in PRODUCTS):
            self._counted[str(first.dtype).removeprefix("torch.")] += 1
        return result

    def names(self) -> list[str]:
        """List the formats, the most frequent first; none where something else than PyTorch computes."""
        return [name for name, _ in self._counted.most_common()]
