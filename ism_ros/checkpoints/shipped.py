"""Weights of the small networks that are shipped with the package (docs/tiny.md): float16 safetensors."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import torch
from safetensors.torch import load
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from ism_ros.errors import CheckpointError, first_line

FOLDER = Path(__file__).parent / "shipped_weights"
"""Folder of the shipped weights of the package that runs; training.export writes those of its checkout."""


def load_weights(network: nn.Module, name: str, file: Path | None = None) -> str:
    """Load weights into a network and prepare it for inference.

    That is eval mode, no gradients, and norms folded into convolutions.

    Args:
        network: The network, which is changed.
        name: NAME.safetensors among the shipped weights, whose hash is in sha256.json.
        file: Other weights of this network, whose hash is not checked.

    Returns:
        SHA-256 of the file, hexadecimal.

    Raises:
        CheckpointError: The file is missing, changed, or of another network.
    """
    path = file or FOLDER / f"{name}.safetensors"
    try:
        content = path.read_bytes()
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read ({error.strerror}): install ism_ros again") from None
    digest = hashlib.sha256(content).hexdigest()
    if file is None and json.loads((FOLDER / "sha256.json").read_text(encoding="utf-8")).get(name) != digest:
        raise CheckpointError(f"{path} is not the file that was shipped: install ism_ros again")
    try:
        stored = {key: value.float() for key, value in load(content).items()}
        missing, unknown = network.load_state_dict(stored, strict=False)
    except Exception as error:  # safetensors has errors of its own, torch raises RuntimeError for shapes
        reason = first_line(error)
        raise CheckpointError(f"{path} does not fit this version ({reason}): take its own weights") from None
    missing = [key for key in missing if not key.endswith("num_batches_tracked")]
    if missing or unknown:
        raise CheckpointError(f"{path} does not fit this version: take the weights of this version")
    network.eval().requires_grad_(False)
    fold_norms(network)
    return digest


def fold_norms(network: nn.Module) -> None:
    """Fold every batch normalisation that follows a convolution in a Sequential into that convolution."""
    for module in network.modules():
        if not isinstance(module, nn.Sequential):
            continue
        for index in range(len(module) - 1):
            first, second = module[index], module[index + 1]
            if isinstance(first, nn.Conv2d) and isinstance(second, nn.BatchNorm2d):
                module[index] = fuse_conv_bn_eval(first, second)
                module[index + 1] = nn.Identity()


def channels_last(network: nn.Module, device: torch.device) -> nn.Module:
    """Move a network to a device in the memory layout in which convolutions are fastest.

    Args:
        network: The network.
        device: Where it will run.

    Returns:
        The same network.
    """
    return network.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]
