"""The network of the descriptor `tiny`: one class token and a grid of patch tokens for each masked crop."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ism_ros.networks.blocks import ResidualBlock, convolution

CROP_PX = 96
"""Side of a crop, pixels."""
PATCH_PX = 8
"""Side of a patch, pixels."""
IDENTITY_WIDTH, VIEW_WIDTH, PATCH_WIDTH = 96, 128, 64
"""Numbers of the identity and the view part of a class token, and of a patch token."""
CLASS_WIDTH = IDENTITY_WIDTH + VIEW_WIDTH
"""Numbers of a class token."""
VIEW_FRACTION = 0.3
"""Weight of the view part in the cosine of two class tokens; the identity part has the rest."""
COARSE = CROP_PX // 16
"""Side of the coarsest feature map."""
INPUT_CHANNELS = 6
"""Red, green, blue, mask, relative depth, and where that was measured."""
COLORS, MASK, DEPTH, MEASURED = slice(0, 3), slice(3, 4), slice(4, 5), slice(5, 6)
"""Which channels are what."""
DEPTH_GAIN, DEPTH_LIMIT = 2.0, 1.5
"""Factor of the relative depth in half sides of the canonical frame, and its largest absolute value."""
CANONICAL_HALF_SIDE = 2.2
"""Half the side of the canonical frame, in standard deviations of the mask along its long axis."""


class TinyDescriptorNetwork(nn.Module):
    """Class tokens (N, 224) and patch tokens (N, 144, 64), unit rows, of crops in a canonical frame.

    A class token is two unit vectors, weighted: the identity of the object, from features pooled over the mask and from
    their layout, and the view, a linear function of the small image plus a correction from the layout. Positions are
    comparable between crops, as all are in the canonical frame.
    """

    def __init__(self, widths: tuple[int, int, int] = (40, 96, 160)) -> None:
        """Build the layers.

        Args:
            widths: Channels at strides 4, 8 and 16.
        """
        super().__init__()
        fine, middle, coarse = widths
        self.stem = nn.Sequential(convolution(INPUT_CHANNELS, fine, 4, 4), ResidualBlock(fine))
        self.patches = nn.Sequential(convolution(fine, middle, 2, 2), ResidualBlock(middle), ResidualBlock(middle))
        self.patch_token = nn.Conv2d(middle, PATCH_WIDTH, 1)
        self.whole = nn.Sequential(convolution(middle, coarse, 3, 2), ResidualBlock(coarse), ResidualBlock(coarse))
        self.places = convolution(coarse, 24, 1)
        layout = 24 * COARSE**2 + 4 * (2 * COARSE) ** 2
        self.identity = nn.Sequential(nn.Linear(2 * coarse + layout, 256), nn.ReLU(), nn.Linear(256, IDENTITY_WIDTH))
        self.view = nn.Sequential(nn.Linear(layout, 256), nn.ReLU(), nn.Linear(256, VIEW_WIDTH))
        # the names of layers are the keys of the shipped weights
        self.picture = nn.Linear(4 * (2 * COARSE) ** 2, VIEW_WIDTH)
        nn.init.orthogonal_(self.picture.weight)
        nn.init.normal_(self.view[2].weight, std=0.01)  # type: ignore[arg-type]

    def convolve_in(self, dtype: torch.dtype) -> None:
        """Convert the convolutions to `dtype`; the layers after them stay in theirs."""
        for part in (self.stem, self.patches, self.patch_token, self.whole, self.places):
            part.to(dtype)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Compute the tokens.

        Args:
            x: (N, 6, 96, 96), as of `network_input`.

        Returns:
            Class tokens (N, 224) and patch tokens (N, 144, 64), float32 unit rows.
        """
        mask = x[:, MASK]
        middle = self.patches(self.stem(x.to(self.patch_token.weight.dtype)))
        whole = self.whole(middle)
        inside = F.adaptive_avg_pool2d(mask, COARSE)
        mean = (whole * inside).sum(dim=(2, 3)) / inside.sum(dim=(2, 3)).clamp(min=1e-3)
        largest = whole.amax(dim=(2, 3)).to(x.dtype)
        image = small_image(x).flatten(1)
        layout = torch.cat([self.places(whole).flatten(1).to(x.dtype), image], dim=1)
        identity = F.normalize(self.identity(torch.cat([mean, largest, layout], dim=1)).float(), dim=-1)
        view = F.normalize((self.picture(image) + self.view(layout)).float(), dim=-1)
        token = torch.cat([identity * (1 - VIEW_FRACTION) ** 0.5, view * VIEW_FRACTION**0.5], dim=1)
        return token, F.normalize(self.patch_token(middle).flatten(2).transpose(1, 2).float(), dim=-1)


def small_image(x: Tensor) -> Tensor:
    """Downscale crops to 12 x 12 pixels and normalise their brightness and contrast.

    The contrast is computed from sums of squares and products, so that only the small image is divided by it.

    Args:
        x: (N, 6, S, S), as of `network_input`.

    Returns:
        (N, 4, 12, 12): colors minus their mean over the mask, divided by twice (their standard deviation there +
        0.05), 0 outside; and the mask minus one half.
    """
    mask, side = x[:, MASK], x.shape[-1] // (2 * COARSE)
    colored = x[:, COLORS] * mask
    here, colors = mask.flatten(2), colored.flatten(2)
    area = here.sum(dim=2).clamp(min=1)
    mean = colors.sum(dim=2) / area
    squares, products, weights = ((a * b).sum(dim=2) for a, b in ((colors, colors), (colors, here), (here, here)))
    spread = (squares - 2 * mean * products + mean.square() * weights).sum(dim=1, keepdim=True).clamp(min=0)
    contrast = (spread / (3 * area)).sqrt() + 0.05
    small, small_mask = F.avg_pool2d(colored, side), F.avg_pool2d(mask, side)
    away = small - mean[:, :, None, None] * small_mask
    return torch.cat([away * (0.5 / contrast)[:, :, None, None], small_mask - 0.5], dim=1)


def network_input(crops: Tensor, masks: Tensor, depth_px: Tensor | None = None) -> Tensor:
    """Rotate and scale masked crops to a canonical frame.

    There the mask's long axis is horizontal, its standard deviation along that axis is always the same, and its
    skewness along it is positive. So an in-plane rotation of the camera changes little. Depth is scaled with the frame.

    Args:
        crops: (N, 3, S, S) RGB in [0, 1].
        masks: (N, S, S) bool.
        depth_px: (N, S, S) relative depth in pixels of the crop, NaN without a reading and outside the mask; None = no
            readings at all.

    Returns:
        (N, 6, S, S): colors in -1..1, 0 outside the mask; the mask; relative depth, 0 without a reading; and 1 where
        there is one.
    """
    inside = masks[:, None].to(crops.dtype)
    line = _places(masks.shape[-1], masks.device)[:, None]
    frame = canonical_frame(masks)
    if depth_px is None:
        depth = [torch.zeros_like(inside)] * 2
    else:
        half_side_px = frame[:, :, 0].norm(dim=1) * (masks.shape[-1] / 2)
        relative = depth_px[:, None] * (DEPTH_GAIN / half_side_px)[:, None, None, None]
        depth = [relative.clamp(-DEPTH_LIMIT, DEPTH_LIMIT).nan_to_num_(0.0), relative.isfinite().to(crops.dtype)]
    pixels = torch.cat([(crops * 2 - 1) * inside, inside, *depth], dim=1)
    across, down, middle = frame[:, :, None].unbind(dim=3)
    # the same as affine_grid, in a third of the time
    grid = (line * across.mT + middle.mT)[:, None] + (line * down.mT)[:, :, None]
    sampled = F.grid_sample(pixels, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
    if depth_px is not None:  # between readings and none, the readings alone
        sampled[:, DEPTH] /= sampled[:, MEASURED].clamp(min=1e-3)
    return sampled


def canonical_frame(masks: Tensor) -> Tensor:
    """Compute the affine transforms from the canonical frame to crops, from the moments of masks.

    Args:
        masks: (N, S, S) bool.

    Returns:
        (N, 2, 3), for coordinates in -1..1 in both.
    """
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
    sign = torch.where((weight * along.pow(3)).sum(dim=(1, 2)) < 0, -1.0, 1.0)
    step = CANONICAL_HALF_SIDE * long * sign
    return torch.stack(
        [torch.stack([step * cos, -step * sin, x], dim=1), torch.stack([step * sin, step * cos, y], dim=1)], dim=1
    )


def _places(size: int, device: torch.device) -> Tensor:
    """Place the centres of `size` pixels in -1..1, (size,)."""
    return (torch.arange(size, device=device, dtype=torch.float32) * 2 + 1) / size - 1


def valid_patches(pixels: Tensor, min_coverage: float) -> Tensor:
    """Find which patches are covered by the mask.

    Args:
        pixels: (N, 6, S, S), as of `network_input`.
        min_coverage: Fraction of a patch's area above which it is covered.

    Returns:
        (N, P) bool.
    """
    return F.avg_pool2d(pixels[:, MASK], PATCH_PX).flatten(1) > min_coverage
