"""The network of the descriptor `tiny`: what a masked crop shows, as one token and as a grid of tokens."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ism_ros.networks.blocks import ResidualBlock, convolution

CROP_PX = 96
PATCH_PX = 8
IDENTITY_WIDTH, VIEW_WIDTH, PATCH_WIDTH = 96, 128, 64
CLASS_WIDTH = IDENTITY_WIDTH + VIEW_WIDTH
VIEW_SHARE = 0.3
"""Of the cosine of two class tokens: how much of it says whether they are seen from the same side."""
COARSE = CROP_PX // 16
REACH = 2.2
"""Half the side of the common frame, in standard deviations of the mask along its long axis."""


class TinyDescriptorNetwork(nn.Module):
    """Crops (N, 4, 96, 96), see `network_input` -> class tokens (N, 224) and patch tokens (N, 144, 64), unit rows.

    A class token is two unit vectors, weighted: one of what the object is, from features pooled over the mask and from
    their places, and one of the side that it is seen from: a linear function of the small picture, corrected by what
    the features say. Places mean the same in every crop, as all are in the common frame.
    """

    def __init__(self, widths: tuple[int, int, int] = (40, 96, 160)) -> None:
        super().__init__()
        fine, middle, coarse = widths
        self.stem = nn.Sequential(convolution(4, fine, 4, 4), ResidualBlock(fine))
        self.patches = nn.Sequential(convolution(fine, middle, 2, 2), ResidualBlock(middle), ResidualBlock(middle))
        self.patch_token = nn.Conv2d(middle, PATCH_WIDTH, 1)
        self.whole = nn.Sequential(convolution(middle, coarse, 3, 2), ResidualBlock(coarse), ResidualBlock(coarse))
        self.places = convolution(coarse, 24, 1)
        layout = 24 * COARSE**2 + 4 * (2 * COARSE) ** 2
        self.identity = nn.Sequential(nn.Linear(2 * coarse + layout, 256), nn.ReLU(), nn.Linear(256, IDENTITY_WIDTH))
        self.view = nn.Sequential(nn.Linear(layout, 256), nn.ReLU(), nn.Linear(256, VIEW_WIDTH))
        self.picture = nn.Linear(4 * (2 * COARSE) ** 2, VIEW_WIDTH)
        nn.init.orthogonal_(self.picture.weight)
        nn.init.normal_(self.view[2].weight, std=0.01)  # type: ignore[arg-type]

    def convolve_in(self, dtype: torch.dtype) -> None:
        """Convolutions in `dtype`; what follows them stays as it is."""
        for part in (self.stem, self.patches, self.patch_token, self.whole, self.places):
            part.to(dtype)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        mask = x[:, 3:]
        middle = self.patches(self.stem(x.to(self.patch_token.weight.dtype)))
        whole = self.whole(middle)
        inside = F.adaptive_avg_pool2d(mask, whole.shape[2:])
        mean = (whole * inside).sum(dim=(2, 3)) / inside.sum(dim=(2, 3)).clamp(min=1e-3)
        most = whole.amax(dim=(2, 3)).to(x.dtype)
        picture = small_picture(x).flatten(1)
        layout = torch.cat([self.places(whole).flatten(1).to(x.dtype), picture], dim=1)
        identity = F.normalize(self.identity(torch.cat([mean, most, layout], dim=1)).float(), dim=-1)
        view = F.normalize((self.picture(picture) + self.view(layout)).float(), dim=-1)
        token = torch.cat([identity * (1 - VIEW_SHARE) ** 0.5, view * VIEW_SHARE**0.5], dim=1)
        return token, F.normalize(self.patch_token(middle).flatten(2).transpose(1, 2).float(), dim=-1)


def small_picture(x: Tensor) -> Tensor:
    """(N, 4, S, S) -> (N, 4, 12, 12): colours less their mean over the mask, of one contrast, 0 outside; and the mask
    less a half.

    Sums of squares and products say how large the contrast is, so that only what is small is ever divided by it.
    """
    mask, side = x[:, 3:], x.shape[-1] // (2 * COARSE)
    coloured = x[:, :3] * mask
    here, colours = mask.flatten(2), coloured.flatten(2)
    area = here.sum(dim=2).clamp(min=1)
    mean = colours.sum(dim=2) / area
    squares, products, weights = ((a * b).sum(dim=2) for a, b in ((colours, colours), (colours, here), (here, here)))
    spread = (squares - 2 * mean * products + mean.square() * weights).sum(dim=1, keepdim=True).clamp(min=0)
    contrast = (spread / (3 * area)).sqrt() + 0.05
    small, small_mask = F.avg_pool2d(coloured, side), F.avg_pool2d(mask, side)
    away = small - mean[:, :, None, None] * small_mask
    return torch.cat([away * (0.5 / contrast)[:, :, None, None], small_mask - 0.5], dim=1)


def network_input(crops: Tensor, masks: Tensor) -> Tensor:
    """(N, 4, S, S) of colours (N, 3, S, S) in [0, 1] and masks (N, S, S) bool, turned and scaled to a common frame.

    The mask's long axis is level and its standard deviation along it always the same; which end comes first is told by
    the skew along that axis. So a turn of the camera about its optical axis changes little. Colours lie about 0 and are
    0 outside; the last channel is the mask.
    """
    inside = masks[:, None].to(crops.dtype)
    pixels = torch.cat([(crops * 2 - 1) * inside, inside], dim=1)
    line = _places(masks.shape[-1], masks.device)[:, None]
    across, down, middle = common_frame(masks)[:, :, None].unbind(dim=3)
    # what affine_grid would give, at a third of the time
    grid = (line * across.mT + middle.mT)[:, None] + (line * down.mT)[:, :, None]
    return F.grid_sample(pixels, grid, mode="bilinear", padding_mode="zeros", align_corners=False)


def common_frame(masks: Tensor) -> Tensor:
    """(N, 2, 3): from places in the common frame to those in the crop, both in -1..1. masks: (N, S, S) bool."""
    size = masks.shape[-1]
    line = _places(size, masks.device)
    weight = masks.float()
    columns, rows = weight.sum(dim=1), weight.sum(dim=2)
    area = columns.sum(dim=1).clamp(min=1)
    x, y = columns @ line / area, rows @ line / area
    dx, dy = line[None] - x[:, None], line[None] - y[:, None]
    xx, yy = (columns * dx * dx).sum(1) / area, (rows * dy * dy).sum(1) / area
    xy = (torch.bmm(weight, dx[:, :, None])[:, :, 0] * dy).sum(1) / area
    angle = 0.5 * torch.atan2(2 * xy, xx - yy)
    cos, sin = angle.cos(), angle.sin()
    long = (0.5 * (xx + yy) + torch.hypot(0.5 * (xx - yy), xy)).sqrt().clamp(min=2 / size)
    along = dx[:, None, :] * cos[:, None, None] + dy[:, :, None] * sin[:, None, None]
    turned = torch.where((weight * along.pow(3)).sum(dim=(1, 2)) < 0, -1.0, 1.0)
    step = REACH * long * turned
    return torch.stack(
        [torch.stack([step * cos, -step * sin, x], dim=1), torch.stack([step * sin, step * cos, y], dim=1)], dim=1
    )


def _places(size: int, device: torch.device) -> Tensor:
    """(size,): the middles of so many pixels in -1..1."""
    return (torch.arange(size, device=device, dtype=torch.float32) * 2 + 1) / size - 1


def valid_patches(pixels: Tensor, least_share: float) -> Tensor:
    """Which patches (N, P) of `network_input` are covered by the mask by more than `least_share` of their area."""
    return F.avg_pool2d(pixels[:, 3:], PATCH_PX).flatten(1) > least_share
