"""What runs networks, by the setting `runtime`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from ism_ros.networks.onnx_export import NetworkExport
from ism_ros.networks.onnx_session import OnnxSession
from ism_ros.runtime.model_request import ModelRequest, NetworkRuntime
from ism_ros.runtime.precision import network_dtype

RunnableNetwork = Callable[..., tuple[Tensor, ...]]
"""Takes tensors on the runner's device, float32, and returns such."""


class NetworkRunner(Protocol):
    """Makes networks run."""

    @property
    def arithmetic(self) -> str:
        """Name of what computes them, and in which format of numbers where that may differ."""
        ...

    def __call__(self, export: NetworkExport) -> RunnableNetwork:
        """Make a network run; raises CheckpointError or ExportError where it cannot."""
        ...


class TorchRunner:
    """PyTorch, with the parts of networks that are exact enough in half precision in it."""

    def __init__(self, device: torch.device, dtype: torch.dtype | None = None) -> None:
        """Choose the format of numbers.

        Args:
            device: Where networks run.
            dtype: Format of the parts that are exact enough in half precision; None = that of `network_dtype`.
        """
        self._device = device
        self._dtype = dtype or network_dtype(device)

    @property
    def arithmetic(self) -> str:
        """Name of the format of numbers."""
        return str(self._dtype)

    def __call__(self, export: NetworkExport) -> RunnableNetwork:
        """Move a network to the device."""
        network = export.network.to(self._device)
        for part in export.half:
            part.to(self._dtype)

        def run(*inputs: Tensor) -> tuple[Tensor, ...]:
            outputs = network(*inputs)
            return (outputs,) if isinstance(outputs, Tensor) else outputs

        return run


@dataclass(frozen=True)
class OnnxRunner:
    """onnxruntime.

    Attributes:
        runtime: onnxruntime or tensorrt.
        device: Where networks run.
        cache_dir: Folder of the cache; None = nothing is kept.
    """

    runtime: NetworkRuntime
    device: torch.device
    cache_dir: Path | None = None

    @property
    def arithmetic(self) -> str:
        """Name of the runtime."""
        return str(self.runtime)

    def __call__(self, export: NetworkExport) -> RunnableNetwork:
        """Export a network, and load it."""
        return OnnxSession(export, self.device, runtime=self.runtime, cache_dir=self.cache_dir)


def requested_runner(request: ModelRequest) -> NetworkRunner | None:
    """Make what runs the networks of a request.

    Args:
        request: Its settings `runtime` and `cache_dir`, and its device.

    Returns:
        None = PyTorch, in the formats that suit each network.
    """
    return RUNNERS[request.settings.get("runtime", "torch")](request)


def _by_torch(request: ModelRequest) -> None:
    return None


def _by_onnxruntime(runtime: NetworkRuntime, request: ModelRequest) -> NetworkRunner:
    return OnnxRunner(runtime, torch.device(request.device), request.cache_dir)


RUNNERS: Mapping[NetworkRuntime, Callable[[ModelRequest], NetworkRunner | None]] = {
    "torch": _by_torch,
    "onnxruntime": partial(_by_onnxruntime, "onnxruntime"),
    "tensorrt": partial(_by_onnxruntime, "tensorrt"),
}
"""Runners by the value of the setting `runtime`."""
