"""Networks run by onnxruntime on the CPU, as PyTorch calls them."""

from __future__ import annotations

import os
from typing import Any

import torch
from torch import Tensor

from ism_ros.errors import CheckpointError
from ism_ros.networks.onnx_export import NetworkExport, onnx_bytes


class OnnxSession:
    """An exported network. It has as many threads as PyTorch when it is made."""

    def __init__(self, export: NetworkExport, device: torch.device, spinning: bool | None = None) -> None:
        """Export a network and load it.

        Args:
            export: The network.
            device: Must be the CPU.
            spinning: Whether threads spin while they wait, which is faster where no other program needs the cores;
                None = where OMP_WAIT_POLICY is ACTIVE, which is that of PyTorch's threads (runtime.threads).

        Raises:
            CheckpointError: The device is another, or the package onnxruntime is missing.
            ExportError: As `onnx_bytes`.
        """
        if device.type != "cpu":
            text = f"runtime onnxruntime runs on the CPU, not on {device}: set device to cpu, or runtime to torch"
            raise CheckpointError(text)
        try:
            import onnxruntime
        except ImportError:
            text = "runtime onnxruntime needs the package onnxruntime: pip install 'ism_ros[export]'"
            raise CheckpointError(text) from None
        if spinning is None:
            spinning = os.environ.get("OMP_WAIT_POLICY", "").upper() == "ACTIVE"
        options: Any = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        options.add_session_config_entry("session.intra_op.allow_spinning", str(int(spinning)))
        self._session: Any = onnxruntime.InferenceSession(
            onnx_bytes(export), options, providers=["CPUExecutionProvider"]
        )
        self._names = list(export.inputs)

    def __call__(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Run the network.

        Args:
            *inputs: On the CPU, in the order of the export.

        Returns:
            The outputs, on the CPU.
        """
        given = {name: value.contiguous().numpy() for name, value in zip(self._names, inputs, strict=True)}
        return tuple(torch.from_numpy(output) for output in self._session.run(None, given))
