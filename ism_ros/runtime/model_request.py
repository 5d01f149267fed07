"""What a segmentor or descriptor is told when it is loaded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ism_ros.runtime.out_of_memory import OutOfMemoryCounter


@dataclass(frozen=True)
class ModelRequest:
    """Which model to load, and where.

    Attributes:
        device: PyTorch device, such as "cpu" or "cuda:0".
        model: Size of the model, or the path of its checkpoint; empty = the usual one.
        checkpoints_dir: Folder in which checkpoints are looked for.
        settings: All settings by name (config.settings.Settings): each model takes its own from them; what is left
            out has its default.
        recoveries: Counts where memory ran out and the work went on in smaller batches.
    """

    device: str = "cpu"
    model: str = ""
    checkpoints_dir: Path = field(default_factory=Path)
    settings: Mapping[str, Any] = field(default_factory=dict)
    recoveries: OutOfMemoryCounter = field(default_factory=OutOfMemoryCounter)

    def given(self, **names: str) -> dict[str, Any]:
        """Pick settings as keyword arguments.

        Args:
            **names: Name of the setting by name of the argument.

        Returns:
            Those that are set, by name of the argument.
        """
        return {argument: self.settings[name] for argument, name in names.items() if name in self.settings}
