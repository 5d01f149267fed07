"""What onnxruntime computes with: its execution providers for each runtime and device, and what they need."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from ism_ros.errors import CheckpointError
from ism_ros.networks.onnx_export import NetworkExport
from ism_ros.runtime.model_request import NetworkRuntime

CPU, CUDA, TENSORRT = "CPUExecutionProvider", "CUDAExecutionProvider", "TensorrtExecutionProvider"
"""Names of execution providers."""
PACKAGES = {
    CPU: "the package onnxruntime: pip install 'ism_ros[export]'",
    CUDA: "the package onnxruntime-gpu in the place of onnxruntime, and CUDA and cuDNN of its version: pip uninstall "
    "onnxruntime && pip install 'onnxruntime-gpu[cuda,cudnn]'",
    TENSORRT: "the package onnxruntime-gpu in the place of onnxruntime, and TensorRT: pip uninstall onnxruntime && pip "
    "install 'onnxruntime-gpu[cuda,cudnn]' tensorrt",
}
"""What each of them needs."""

Provider = tuple[str, dict[str, Any]]
"""Name and options of an execution provider."""


def providers(
    runtime: NetworkRuntime, device: torch.device, export: NetworkExport, engines: Path
) -> tuple[Provider, ...]:
    """Choose the execution providers of a network, the first of which has to compute it.

    Args:
        runtime: onnxruntime or tensorrt.
        device: Where the network is to run.
        export: The network.
        engines: Folder in which TensorRT keeps what it built.

    Returns:
        The providers; the others compute what the first one has no operation for.

    Raises:
        CheckpointError: The runtime has none for this device.
    """
    if (runtime, device.type) not in PROVIDERS:
        advice = f"set device to cuda:0, or runtime to {'torch' if device.type != 'cpu' else 'onnxruntime or torch'}"
        raise CheckpointError(f"runtime {runtime} does not run on {device}: {advice}")
    return PROVIDERS[runtime, device.type](device, export, engines)


def check_available(runtime: NetworkRuntime, device: torch.device, wanted: str, available: object) -> None:
    """Check that onnxruntime has an execution provider.

    Args:
        runtime: For the error text.
        device: For the error text.
        wanted: Name of the provider.
        available: Names of those that there are.

    Raises:
        CheckpointError: It has not; what is to be installed is told.
    """
    if wanted not in available:  # type: ignore[operator]
        otherwise = "" if device.type == "cpu" else ", or set device to cpu"
        raise CheckpointError(f"runtime {runtime} on {device} needs {PACKAGES[wanted]}{otherwise}, or runtime to torch")


def shape_text(shapes: Mapping[str, tuple[int, ...]]) -> str:
    """Write shapes as TensorRT reads them, such as pixels:1x3x1024x1024,points:64x2."""
    return ",".join(f"{name}:{'x'.join(map(str, shape))}" for name, shape in shapes.items())


def _on_cpu(device: torch.device, export: NetworkExport, engines: Path) -> tuple[Provider, ...]:
    return ((CPU, {}),)


def _on_cuda(device: torch.device, export: NetworkExport, engines: Path) -> tuple[Provider, ...]:
    # products in TF32 where half precision would do as well
    return (CUDA, {"device_id": device.index or 0, "use_tf32": int(bool(export.half))}), (CPU, {})


def _by_tensorrt(device: torch.device, export: NetworkExport, engines: Path) -> tuple[Provider, ...]:
    shapes = export.input_shapes()
    least, usual, largest = ({name: of[which] for name, of in shapes.items()} for which in range(3))
    options = {
        "device_id": device.index or 0,
        "trt_fp16_enable": bool(export.half),
        "trt_engine_cache_enable": True,
        "trt_engine_cache_path": str(engines),
        "trt_profile_min_shapes": shape_text(least),
        "trt_profile_opt_shapes": shape_text(usual),
        "trt_profile_max_shapes": shape_text(largest),
    }
    return ((TENSORRT, options), *_on_cuda(device, export, engines))


PROVIDERS: Mapping[tuple[str, str], Callable[[torch.device, NetworkExport, Path], tuple[Provider, ...]]] = {
    ("onnxruntime", "cpu"): _on_cpu,
    ("onnxruntime", "cuda"): _on_cuda,
    ("tensorrt", "cuda"): _by_tensorrt,
}
"""Execution providers by runtime and kind of device."""
