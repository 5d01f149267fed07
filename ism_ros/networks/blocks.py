"""Convolutional blocks of the shipped networks."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn


def convolution(inputs: int, outputs: int, size: int = 3, stride: int = 1) -> nn.Sequential:
    """Build a convolution with batch normalisation and ReLU.

    Args:
        inputs: Channels that come in.
        outputs: Channels that go out.
        size: Side of the kernel, pixels.
        stride: Step of the kernel, pixels. With a stride, kernels other than 3 x 3 are not padded (patch embedding).

    Returns:
        A module from (B, inputs, H, W) to (B, outputs, H / stride, W / stride).
    """
    padding = size // 2 if stride == 1 or size == 3 else 0
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, size, stride, padding, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    )


class ResidualBlock(nn.Module):
    """Residual block relu(x + conv(relu(conv(x)))), 3 x 3 convolutions with batch normalisation (He et al., 2016)."""

    def __init__(self, width: int) -> None:
        """Build the block.

        Args:
            width: Channels, as many in as out.
        """
        super().__init__()
        self.first = convolution(width, width)
        self.second = nn.Sequential(nn.Conv2d(width, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width))

    def forward(self, x: Tensor) -> Tensor:
        """Compute the block's output, (B, width, H, W) as the input."""
        return F.relu(x + self.second(self.first(x)))
