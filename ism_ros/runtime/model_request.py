"""Request by which a segmentor or descriptor is loaded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ism_ros.runtime.out_of_memory import OutOfMemoryCounter

if TYPE_CHECKING:
    import torch

NetworkRuntime = Literal["torch", "onnxruntime", "tensorrt"]
"""What runs the networks: PyTorch, onnxruntime, or TensorRT by onnxruntime."""


@dataclass(frozen=True)
class ModelRequest:
    """A model to load, and the device to load it on.

    Attributes:
        device: PyTorch device, such as "cpu" or "cuda:0".
        model: Size of the model, or the path of its checkpoint; empty = the usual one.
        checkpoints_dir: Folder that is searched for checkpoints.
        settings: All settings by name (config.settings.Settings), of which each model uses its own; those that are
            left out have their defaults.
        recoveries: Counts where memory ran out and the work was repeated in smaller batches.
        dtype: Number format of the network; None = the fastest of the device that is exact enough.
        cache_dir: Folder of the cache, for networks that are exported for another runtime; None = nothing is kept.
    """

    device: str = "cpu"
    model: str = ""
    checkpoints_dir: Path = field(default_factory=Path)
    settings: Mapping[str, Any] = field(default_factory=dict)
    recoveries: OutOfMemoryCounter = field(default_factory=OutOfMemoryCounter)
    dtype: torch.dtype | None = None
    cache_dir: Path | None = None

    def given(self, **names: str) -> dict[str, Any]:
        """Pick settings as keyword arguments.

        Args:
            **names: Name of the setting by name of the argument.

        Returns:
            Those that are set, by name of the argument.
        """
        return {argument: self.settings[name] for argument, name in names.items() if name in self.settings}
