"""Shards of training data as tensors on a device, growing while more of them are written."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

VALIDATION_EVERY = 25
"""One shard in this many is for validation. Its objects are trained on; bench_default.py measures on unseen ones."""


def find_shards(data: Path) -> list[Path]:
    """List the finished shards.

    Args:
        data: Folder that training.make_data wrote.

    Returns:
        Their folders, in order.
    """
    return sorted(path for path in (data / "scenes").glob("[0-9]*") if path.suffix != ".part")


def is_validation(shard: Path) -> bool:
    """Say whether a shard is for validation.

    Args:
        shard: Its folder.

    Returns:
        True for one shard in VALIDATION_EVERY.
    """
    return int(shard.name) % VALIDATION_EVERY == 0


class ShardStore:
    """Arrays of many shards, each as one tensor on a device.

    `grow` reads the shards that were finished since; memory is doubled when it is full, so that appending stays cheap.

    Attributes:
        count: Number of rows read so far.
    """

    def __init__(self, data: Path, names: Sequence[str], device: torch.device, kept: Callable[[Path], bool]) -> None:
        """Read the shards that are finished.

        Args:
            data: Folder that training.make_data wrote.
            names: Names of the arrays.
            device: Where they are kept.
            kept: Says of a shard's folder whether it is read.
        """
        self._data, self._device, self._kept = data, device, kept
        self._read: set[str] = set()
        self._memory: dict[str, Tensor] = {}
        self._names = tuple(names)
        self.count = 0
        self.grow()

    def __getitem__(self, name: str) -> Tensor:
        """The array of this name, (count, ...)."""
        return self._memory[name][: self.count]

    @property
    def shard_count(self) -> int:
        """Number of shards read so far."""
        return len(self._read)

    def grow(self) -> bool:
        """Read the shards that were finished since.

        Returns:
            Whether there are any.
        """
        before = self.count
        for shard in find_shards(self._data):
            if shard.name in self._read or not self._kept(shard):
                continue
            self._append({name: np.load(shard / f"{name}.npy") for name in self._names})
            self._read.add(shard.name)
        return self.count > before

    def _append(self, arrays: dict[str, np.ndarray]) -> None:
        more = len(arrays[self._names[0]])
        for name, array in arrays.items():
            if array.dtype == np.uint16:  # PyTorch cannot do much with these; 32 m are far enough
                array = np.minimum(array, np.iinfo(np.int16).max).astype(np.int16)
            fresh = torch.from_numpy(array).to(self._device)
            memory = self._memory.get(name)
            if memory is None or len(memory) < self.count + more:
                larger = fresh.new_empty((max(2 * self.count, self.count + more), *fresh.shape[1:]))
                if memory is not None:
                    larger[: self.count] = memory[: self.count]
                self._memory[name] = larger
            self._memory[name][self.count : self.count + more] = fresh
        self.count += more
