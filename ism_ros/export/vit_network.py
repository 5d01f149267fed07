"""DINOv2 and DINOv3 for ONNX."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from ism_ros.networks.onnx_export import NetworkExport


class VitTokens(nn.Module):
    """Class and patch tokens of a vision transformer."""

    def __init__(self, model: Any) -> None:
        """Wrap a model of the transformers library."""
        super().__init__()
        self.model = model
        self._before_patches = 1 + int(getattr(model.config, "num_register_tokens", 0))

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Compute class tokens (N, D) and patch tokens (N, P, D), unit rows, of normalised pixels (N, 3, S, S)."""
        tokens = self.model(pixels).last_hidden_state
        return normalize(tokens[:, 0], dim=-1), normalize(tokens[:, self._before_patches :], dim=-1)


def vit_export(model: Any, side: int) -> NetworkExport:
    """Describe the export of a descriptor.

    Args:
        model: Of the transformers library.
        side: Side of its crops, pixels.

    Returns:
        The export.
    """
    outputs = ("class_tokens", "patch_tokens")
    axes = {name: {0: "crops"} for name in ("pixels", *outputs)}
    return NetworkExport("descriptor", VitTokens(model), {"pixels": torch.zeros(2, 3, side, side)}, outputs, axes)
