"""The network of the descriptor `tiny`: what a masked crop shows, as one token and as a grid of tokens."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

CROP_PX = 96
PATCH_PX = 8
CLASS_WIDTH, PATCH_WIDTH = 128, 64


def _convolution(inputs: int, outputs: int, size: int = 3, stride: int = 1) -> nn.Sequential:
    padding = size // 2 if stride == 1 or size == 3 else 0
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, size, stride, padding, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    )


class ResidualBlock(nn.Module):
    """x + conv(conv(x)), rectified (He et al., 2016)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = _convolution(width, width)
        self.second = nn.Sequential(nn.Conv2d(width, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width))

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x + self.second(self.first(x)))


class TinyDescriptorNetwork(nn.Module):
    """Crops (N, 4, 96, 96), see `network_input` -> class (N, 128) and patch tokens (N, 144, 64), not normalised."""

    def __init__(self, widths: tuple[int, int, int] = (40, 96, 160)) -> None:
        super().__init__()
        fine, middle, coarse = widths
        self.stem = nn.Sequential(_convolution(4, fine, 4, 4), ResidualBlock(fine))
        self.patches = nn.Sequential(_convolution(fine, middle, 2, 2), ResidualBlock(middle), ResidualBlock(middle))
        self.patch_token = nn.Conv2d(middle, PATCH_WIDTH, 1)
        self.whole = nn.Sequential(_convolution(middle, coarse, 3, 2), ResidualBlock(coarse), ResidualBlock(coarse))
        self.hidden = nn.Linear(2 * coarse, 256)
        self.class_token = nn.Linear(256, CLASS_WIDTH)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        mask = x[:, 3:]
        middle = self.patches(self.stem(x))
        whole = self.whole(middle)
        inside = F.adaptive_avg_pool2d(mask, whole.shape[2:])
        mean = (whole * inside).sum(dim=(2, 3)) / inside.sum(dim=(2, 3)).clamp(min=1e-3)
        most = whole.amax(dim=(2, 3))
        token = self.class_token(F.relu(self.hidden(torch.cat([mean, most], dim=1))))
        return token, self.patch_token(middle).flatten(2).transpose(1, 2)


def network_input(crops: Tensor, masks: Tensor) -> Tensor:
    """(N, 4, S, S) of colours (N, 3, S, S) in [0, 1] and masks (N, S, S) bool: colours about 0, 0 outside; the mask."""
    inside = masks[:, None].to(crops.dtype)
    return torch.cat([(crops * 2 - 1) * inside, inside], dim=1)


def valid_patches(masks: Tensor, least_share: float) -> Tensor:
    """Which patches (N, P) lie inside the masks (N, S, S) by more than `least_share` of their area."""
    return F.avg_pool2d(masks[:, None].float(), PATCH_PX).flatten(1) > least_share
