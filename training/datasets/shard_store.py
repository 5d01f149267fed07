"""Shards of training data: which there are, and their arrays as tensors on a device, more of them as they are made."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

VALIDATION_EVERY = 25
"""One shard in so many is not trained on. (Its objects are; evaluation on unseen ones is benchmarks/bench_default.)"""


def find_shards(data: Path) -> list[Path]:
    """Finished shards, in order."""
    return sorted(path for path in (data / "scenes").glob("[0-9]*") if path.suffix != ".part")


def held_back(shard: Path) -> bool:
    """Whether a shard is for validation."""
    return int(shard.name) % VALIDATION_EVERY == 0


class ShardStore:
    """The arrays called `names` of all shards of `data` that `kept` wants, each as one tensor on `device`.

    `grow` reads those that were finished since; memory is asked for twice as large each time, so that this stays cheap.
    """

    def __init__(self, data: Path, names: Sequence[str], device: torch.device, kept: Callable[[Path], bool]) -> None:
        self._data, self._device, self._kept = data, device, kept
        self._read: set[str] = set()
        self._memory: dict[str, Tensor] = {}
        self._names = tuple(names)
        self.count = 0
        self.grow()

    def __getitem__(self, name: str) -> Tensor:
        return self._memory[name][: self.count]

    @property
    def shard_count(self) -> int:
        return len(self._read)

    def grow(self) -> bool:
        """Whether there is more than before."""
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
