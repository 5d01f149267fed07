"""The network of DINOv2 and DINOv3 as it is run: class and patch tokens of crops."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from ism_ros.networks.onnx_export import NetworkExport

LENGTHS = {"crops": (1, 64, 128)}
"""Least, usual and largest number of crops at once."""


class VitTokens(nn.Module):
    """Class and patch tokens of a vision transformer."""

    def __init__(self, model: Any) -> None:
        """Wrap a model of the transformers library."""
        super().__init__()
        self.model = model
        self._before_patches = 1 + int(getattr(model.config, "num_register_tokens", 0))

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Compute class tokens (N, D) and patch tokens (N, P, D), unit rows, of normalised pixels (N, 3, S, S)."""
        tokens = self.model(pixels.to(next(self.model.parameters()).dtype)).last_hidden_state.float()
        return normalize(tokens[:, 0], dim=-1), normalize(tokens[:, self._before_patches :], dim=-1)


def vit_export(model: Any, side: int) -> NetworkExport:
    """Describe the network of a descriptor.

    Args:
        model: Of the transformers library.
        side: Side of its crops, pixels.

    Returns:
        The network.
    """
    outputs = ("class_tokens", "patch_tokens")
    axes = {name: {0: "crops"} for name in ("pixels", *outputs)}
    pixels = {"pixels": torch.zeros(2, 3, side, side)}
    return NetworkExport("descriptor", VitTokens(model), pixels, outputs, axes, LENGTHS, (model,))
