"""Augmentations of object crops: rotation, mask errors, occlusion, lower resolution, blur, other light.

A batch at once on any device; all random numbers come from PyTorch's generator of the device. In all functions rgb is
(B, 3, S, S) float32 in [0, 255], mask (B, S, S) bool, and depth_px (B, S, S) float32 depth in pixels of the crop, NaN
without a reading.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from training.augmentations.random_sampling import bernoulli, normal, uniform

MIN_PIXELS, MIN_SHARE_LEFT = 30, 0.25
"""Least pixels and share of a mask that its errors must leave; otherwise the mask stays as it is."""
NO_DEPTH = 0.2
"""Share of the crops that have no depth at all."""


def augment_crops(rgb: Tensor, mask: Tensor, depth_px: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Apply all augmentations of crops.

    Args:
        rgb: (B, 3, S, S) float32 in [0, 255].
        mask: (B, S, S) bool.
        depth_px: (B, S, S) float32.

    Returns:
        All three, augmented.
    """
    rgb, mask, depth_px = rotate(rgb, mask, depth_px)
    cut = distort_mask(mask)
    area, left = (pixels.sum(dim=(1, 2)) for pixels in (mask, cut))
    enough = (left > MIN_PIXELS) & (left > MIN_SHARE_LEFT * area)
    mask = torch.where(enough[:, None, None], cut, mask)
    return jitter_colors(reduce_resolution(rgb)), mask, lose_depth(depth_px)


def rotate(rgb: Tensor, mask: Tensor, depth_px: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Rotate in the plane by any angle, with a little stretch and shear.

    Args:
        rgb: (B, 3, S, S) float32 in [0, 255].
        mask: (B, S, S) bool.
        depth_px: (B, S, S) float32.

    Returns:
        All three, augmented.
    """
    count, device = len(rgb), rgb.device
    angle = torch.rand(count, device=device) * (2 * math.pi)
    turn = torch.stack([angle.cos(), -angle.sin(), angle.sin(), angle.cos()], dim=1).view(-1, 2, 2)
    stretch = torch.eye(2, device=device) + 0.04 * torch.randn(count, 2, 2, device=device)
    linear = turn @ stretch * torch.empty(count, 1, 1, device=device).uniform_(0.75, 0.95)
    back = F.pad(torch.linalg.inv(linear), (0, 1))
    grid = F.affine_grid(back, list(rgb.shape), align_corners=False)
    out = F.grid_sample(rgb, grid, mode="bilinear", padding_mode="border", align_corners=False)
    both = torch.stack([mask.float(), depth_px.nan_to_num(0.0), depth_px.isnan().float()], dim=1)
    inside, depth_px, lost = F.grid_sample(both, grid, mode="nearest", align_corners=False).unbind(dim=1)
    scale = torch.linalg.det(linear).abs().sqrt()[:, None, None]
    return out, inside > 0.5, torch.where(lost > 0.5, torch.nan, depth_px * scale)


def lose_depth(depth_px: Tensor) -> Tensor:
    """Remove all depth of some, blobs of it in others, and add noise to many.

    Args:
        depth_px: (B, S, S) float32.

    Returns:
        The same shape.
    """
    depth = depth_px[:, None]
    field = F.interpolate(torch.randn(len(depth), 1, 6, 6, device=depth.device), size=depth.shape[2:], mode="bilinear")
    lost = (field > uniform(depth, 0.3, 2.0)) & bernoulli(depth, 0.3)
    noise_px = torch.randn_like(depth) * uniform(depth, 0, 2.5) * bernoulli(depth, 0.4)
    lost = lost | bernoulli(depth, NO_DEPTH)
    return torch.where(lost, torch.nan, depth + noise_px)[:, 0]


def distort_mask(mask: Tensor) -> Tensor:
    """Distort masks: outline moved in or out, wavy, with a part missing or a foreign one added.

    Args:
        mask: (B, S, S) bool.

    Returns:
        (B, S, S) bool.
    """
    size = mask.shape[-1]
    out = mask[:, None].float()
    wide = (torch.rand(len(mask), device=mask.device) * 3).long()
    grown, shrunk = (
        torch.stack([sign * F.max_pool2d(sign * out, side, stride=1, padding=side // 2) for side in (3, 5, 7)])
        for sign in (1, -1)
    )
    rows = torch.arange(len(mask), device=mask.device)
    moved = torch.where(bernoulli(out, 0.5), grown[wide, rows], shrunk[wide, rows])
    out = torch.where(bernoulli(out, 0.6), moved, out)

    waves = F.interpolate(
        torch.randn(len(mask), 1, 16, 16, device=mask.device), size=(size, size), mode="bicubic", align_corners=False
    )
    soft = F.avg_pool2d(F.avg_pool2d(out, 5, stride=1, padding=2), 5, stride=1, padding=2)
    out = torch.where(bernoulli(out, 0.5), (soft + uniform(out, 0.05, 0.25) * waves > 0.5).float(), out)

    line = torch.linspace(-1, 1, size, device=mask.device)
    x, y = line.expand(size, size)[None, None], line[:, None].expand(size, size)[None, None]
    angle = uniform(out, 0, 2 * math.pi)
    along = x * angle.cos() + y * angle.sin()
    area = out.sum(dim=(2, 3), keepdim=True).clamp(min=1)
    mean = (along * out).sum(dim=(2, 3), keepdim=True) / area
    deviation = ((along - mean).square() * out).sum(dim=(2, 3), keepdim=True).div(area).sqrt()
    hidden = (along > mean + uniform(out, 0, 1.8) * deviation) & bernoulli(out, 0.35)
    out = torch.where(hidden, 0.0, out)

    angle = uniform(out, 0, math.pi)
    dx, dy = x - uniform(out, -1, 1), y - uniform(out, -1, 1)
    a = (dx * angle.cos() + dy * angle.sin()) / uniform(out, 0.1, 0.4)
    b = (dy * angle.cos() - dx * angle.sin()) / uniform(out, 0.1, 0.4)
    spot = (a.square() + b.square() < 1) & bernoulli(out, 0.2)
    out = torch.where(spot, bernoulli(out, 0.4).float(), out)
    return out[:, 0] > 0.5


def reduce_resolution(rgb: Tensor) -> Tensor:
    """Reduce the resolution of half of them, as seen from further away or out of focus.

    Args:
        rgb: (B, 3, S, S) float32 in [0, 255].

    Returns:
        The same shape.
    """
    size = rgb.shape[-1]
    out = rgb
    number_drawn = torch.rand((len(rgb), 1, 1, 1), device=rgb.device)
    for number, side in enumerate((28, 40, 56, 80)):
        small = F.interpolate(rgb, size=(side, side), mode="bilinear", align_corners=False, antialias=True)
        large = F.interpolate(small, size=(size, size), mode="bilinear", align_corners=False)
        out = torch.where((number_drawn >= 0.125 * number) & (number_drawn < 0.125 * (number + 1)), large, out)
    return out


def jitter_colors(rgb: Tensor) -> Tensor:
    """Change exposure, contrast, tint, a gradient of light, noise; hues stay, as they distinguish objects.

    Args:
        rgb: (B, 3, S, S) float32 in [0, 255].

    Returns:
        The same shape.
    """
    image = rgb * normal(rgb, 0.25).exp() * normal(rgb, 0.05, 3).exp()
    mean = image.mean(dim=(1, 2, 3), keepdim=True)
    image = (image - mean) * normal(rgb, 0.15).exp() + mean + normal(rgb, 6)
    line = torch.linspace(-1, 1, rgb.shape[-1], device=rgb.device)
    angle = uniform(rgb, 0, 2 * math.pi)
    across = line * angle.cos() + line[:, None] * angle.sin()
    image = image * (1 + uniform(rgb, 0, 0.4) * bernoulli(rgb, 0.3) * across)
    image = image + torch.randn_like(image) * uniform(rgb, 1, 9) * bernoulli(rgb, 0.4)
    return image.clamp(0, 255)
