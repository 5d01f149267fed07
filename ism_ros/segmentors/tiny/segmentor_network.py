"""The network of the segmentor `tiny`: for every cell of a coarse grid, one instance mask and its predicted IoU.

An encoder of residual blocks (He et al., 2016) and a top-down path (Lin et al., 2017). For each cell of a grid of 8
input pixels the head predicts the IoU of the mask of the object there, and the mask itself: weights of a linear
classifier over per-pixel features (as in SOLOv2, Wang et al., 2020), and centre and width of a Gaussian over the
object centre that each pixel predicts (as in Neven et al., 2019). Both together are one matrix product.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ism_ros.networks.blocks import ResidualBlock, convolution
from ism_ros.segmentors.tiny.input_channels import CHANNELS

FEATURES = 20
"""Features of a pixel, F."""
MASK_STRIDE, CELL_STRIDE = 2, 8
"""Strides of the masks and of the grid of cells, input pixels."""
CENTRE_UNIT_PX = 16.0
"""Unit of centres, mask pixels."""


@dataclass(frozen=True)
class NetworkOutputs:
    """Outputs for B images, h x w at the masks' size, gh x gw cells.

    Attributes:
        features: (B, F, h, w) float32.
        centres: (B, 2, h, w) float32, predicted x and y of the centre of each pixel's object, in units of
            CENTRE_UNIT_PX mask pixels.
        dense: (B, 2, h, w) float32, logits of belonging to an object and of lying on a border (training only).
        score: (B, gh, gw) float32, logit of the IoU of each cell's mask.
        kernels: (B, F + 4, gh, gw) float32, parameters of each cell's mask (`mask_weights`).
    """

    features: Tensor
    centres: Tensor
    dense: Tensor
    score: Tensor
    kernels: Tensor


class TinyNetwork(nn.Module):
    """Encoder, top-down path and head for inputs (B, 10, H, W), H and W at least 16."""

    def __init__(
        self, widths: tuple[int, int, int, int, int] = (24, 48, 96, 144, 176), blocks: tuple[int, ...] = (1, 2, 2, 1)
    ) -> None:
        """Build the layers.

        Args:
            widths: Channels at strides 2, 4, 8, 16 and 32.
            blocks: Residual blocks at strides 4, 8, 16 and 32.
        """
        super().__init__()
        half, quarter, eighth, sixteenth, last = widths
        self.stem = convolution(CHANNELS, half, stride=2)
        stages = []
        for inputs, outputs, count in zip(widths, widths[1:], blocks, strict=False):
            residual = [ResidualBlock(outputs) for _ in range(count)]
            stages.append(nn.Sequential(convolution(inputs, outputs, stride=2), *residual))
        self.stages = nn.ModuleList(stages)
        self.context = nn.Linear(last, last)
        self.lateral_last = nn.Conv2d(last, eighth, 1)
        self.lateral_sixteenth = nn.Conv2d(sixteenth, eighth, 1)
        self.lateral_eighth = nn.Conv2d(eighth, eighth, 1)
        self.fuse_sixteenth = convolution(eighth, eighth)
        self.fuse_eighth = convolution(eighth, eighth)
        self.down_to_quarter = nn.Conv2d(eighth, quarter, 1)
        self.lateral_quarter = nn.Conv2d(quarter, quarter, 1)
        self.fuse_quarter = convolution(quarter, quarter)
        self.down_to_half = nn.Conv2d(quarter, 32, 1)
        self.lateral_half = nn.Conv2d(half, 32, 1)
        self.fuse_half = convolution(32, 32)
        self.pixels = nn.Conv2d(32, FEATURES + 4, 1)
        self.head = nn.Sequential(convolution(eighth + 2, eighth), convolution(eighth, eighth))
        self.score = nn.Conv2d(eighth, 1, 1)
        self.kernels = nn.Conv2d(eighth, FEATURES + 4, 1)
        nn.init.constant_(self.score.bias, -4.0)  # type: ignore[arg-type]
        nn.init.normal_(self.kernels.weight, std=0.01)

    def forward(self, x: Tensor) -> NetworkOutputs:
        """Compute the outputs.

        Args:
            x: (B, 10, H, W), channels as in tiny.input_channels.

        Returns:
            The outputs, h and w half of H and W, gh and gw an eighth.
        """
        half = self.stem(x)
        quarter, eighth, sixteenth, last = _stage_outputs(half, self.stages)
        last = last + self.context(last.mean(dim=(2, 3)))[:, :, None, None]
        up = self.fuse_sixteenth(self.lateral_sixteenth(sixteenth) + _enlarged(self.lateral_last(last), sixteenth))
        up = self.fuse_eighth(self.lateral_eighth(eighth) + _enlarged(up, eighth))
        fine = self.fuse_quarter(self.lateral_quarter(quarter) + _enlarged(self.down_to_quarter(up), quarter))
        fine = self.fuse_half(self.lateral_half(half) + _enlarged(self.down_to_half(fine), half))
        pixels = self.pixels(fine).float()
        head = self.head(torch.cat([up, _coordinates(up)], dim=1))
        offsets = pixels[:, FEATURES : FEATURES + 2]
        return NetworkOutputs(
            features=pixels[:, :FEATURES],
            centres=positions(pixels.shape[2:], 1.0 / CENTRE_UNIT_PX, pixels.device)[None] + offsets,
            dense=pixels[:, FEATURES + 2 :],
            score=self.score(head).float()[:, 0],
            kernels=self.kernels(head).float(),
        )


def _stage_outputs(x: Tensor, stages: nn.ModuleList) -> list[Tensor]:
    """Compute the output of every stage, each from that of the one before it."""
    out = []
    for stage in stages:
        x = stage(x)
        out.append(x)
    return out


def _enlarged(x: Tensor, like: Tensor) -> Tensor:
    return F.interpolate(x, size=like.shape[2:], mode="nearest")


def _coordinates(x: Tensor) -> Tensor:
    """Make maps (B, 2, h, w) of x and y in -1..1 over the image."""
    rows = torch.linspace(-1, 1, x.shape[2], device=x.device, dtype=x.dtype)[:, None].expand(x.shape[2:])
    columns = torch.linspace(-1, 1, x.shape[3], device=x.device, dtype=x.dtype)[None].expand(x.shape[2:])
    return torch.stack([columns, rows])[None].expand(x.shape[0], -1, -1, -1)


def positions(shape: torch.Size | tuple[int, int], unit: float, device: torch.device) -> Tensor:
    """Make maps of the coordinates of pixels.

    Args:
        shape: Height and width, pixels.
        unit: Factor on the coordinates.
        device: Of the result.

    Returns:
        (2, h, w) float32: x and y of each pixel, times `unit`.
    """
    rows = torch.arange(shape[0], device=device, dtype=torch.float32)[:, None].expand(shape)
    columns = torch.arange(shape[1], device=device, dtype=torch.float32)[None].expand(shape)
    return torch.stack([columns, rows]) * unit


def mask_weights(kernels: Tensor, cell_xy: Tensor) -> Tensor:
    """Compute the weights that `mask_inputs` is multiplied with.

    The logit of a pixel with features f that predicts its object's centre at e is k f + b - a |e - c|^2, which is
    linear in (f, |e|^2, e, 1).

    Args:
        kernels: (N, F + 4) of N cells: weights k of the features, offset of the centre c from the cell (x, y) in units
            of CENTRE_UNIT_PX, log(a / 4), and b - 2.
        cell_xy: (N, 2) positions of the cells, mask pixels.

    Returns:
        (N, F + 4).
    """
    features, shift, log_precision, constant = kernels.split([FEATURES, 2, 1, 1], dim=1)
    centre = cell_xy / CENTRE_UNIT_PX + shift
    a = 4.0 * log_precision.clamp(-4, 5).exp()
    return torch.cat([features, -a, 2 * a * centre, constant + 2 - a * (centre * centre).sum(1, keepdim=True)], dim=1)


def mask_inputs(features: Tensor, centres: Tensor) -> Tensor:
    """Stack what the logits of masks are linear in: (f, |e|^2, e, 1) of each pixel.

    Args:
        features: (..., F, h, w).
        centres: (..., 2, h, w).

    Returns:
        (..., F + 4, h * w).
    """
    squared = (centres * centres).sum(dim=-3, keepdim=True)
    return torch.cat([features, squared, centres, torch.ones_like(squared)], dim=-3).flatten(-2)
