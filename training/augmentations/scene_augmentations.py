"""Scenes changed at random, a batch at once on any device: mirrored, cut, in other colours, with holes, without depth.

All draws come from PyTorch's generator of the device.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from training.augmentations.random_sampling import normal, some, uniform

FULL, NO_DEPTH, NO_COLOUR = 0.76, 0.14, 0.10
"""Shares of the scenes that are seen with colour and depth, with colour alone, with depth alone."""


@dataclass(frozen=True)
class Scenes:
    """rgb: (B, 3, H, W) float32 in [0, 255]. depth_m: (B, H, W) float32. instance: (B, H, W) int64, 0 = surroundings.
    lens: (B, 4) float32, fx, fy, cx, cy."""

    rgb: Tensor
    depth_m: Tensor
    instance: Tensor
    lens: Tensor


def changed(scenes: Scenes) -> Scenes:
    """All changes that training makes."""
    scenes = punctured(cut(mirrored(scenes)))
    scenes = replace(scenes, rgb=changed_colours(scenes.rgb))
    return with_senses_lost(scenes)


def mirrored(scenes: Scenes) -> Scenes:
    """Left and right changed in half of them."""
    flip = some(scenes.rgb, 0.5)[:, 0, 0, 0]
    lens = scenes.lens.clone()
    lens[:, 2] = torch.where(flip, scenes.rgb.shape[-1] - 1 - lens[:, 2], lens[:, 2])

    def either(image: Tensor) -> Tensor:
        return torch.where(flip.view(-1, *[1] * (image.ndim - 1)), image.flip(-1), image)

    return Scenes(either(scenes.rgb), either(scenes.depth_m), either(scenes.instance), lens)


def cut(scenes: Scenes) -> Scenes:
    """A part at the size of the whole, as a camera with a longer lens would see it, in 60 % of them."""
    height, width = scenes.rgb.shape[2:]
    count, device = len(scenes.rgb), scenes.rgb.device
    scale = (torch.rand(count, device=device) * torch.log(torch.tensor(1.8))).exp()
    scale = torch.where(some(scenes.rgb, 0.6)[:, 0, 0, 0], scale, 1.0)
    left, top = (torch.rand(count, device=device) * (side - side / scale) for side in (width, height))
    x = left[:, None] + torch.arange(width, device=device) / scale[:, None]
    y = top[:, None] + torch.arange(height, device=device) / scale[:, None]
    grid = torch.stack(
        [
            ((2 * x + 1) / width - 1)[:, None, :].expand(-1, height, -1),
            ((2 * y + 1) / height - 1)[:, :, None].expand(-1, -1, width),
        ],
        dim=-1,
    )
    rgb = F.grid_sample(scenes.rgb, grid, mode="bilinear", padding_mode="border", align_corners=False)
    both = torch.stack([scenes.depth_m, scenes.instance.float()], dim=1)
    depth_m, instance = F.grid_sample(both, grid, mode="nearest", padding_mode="border", align_corners=False).unbind(1)
    fx, fy, cx, cy = scenes.lens.T
    lens = torch.stack([fx * scale, fy * scale, (cx - left) * scale, (cy - top) * scale], dim=1)
    return Scenes(rgb, depth_m, instance.long(), lens)


def punctured(scenes: Scenes) -> Scenes:
    """Blobs of depth lost in a third of them, and noise of up to half a percent in a fifth."""
    depth_m = scenes.depth_m[:, None]
    coarse = torch.randn(len(depth_m), 1, 15, 20, device=depth_m.device)
    field = F.interpolate(coarse, size=depth_m.shape[2:], mode="bilinear", align_corners=False)
    lost = (field > uniform(depth_m, 1.2, 2.2)) & some(depth_m, 0.33)
    noise = torch.randn_like(depth_m) * uniform(depth_m, 0, 0.005) * some(depth_m, 0.2)
    return replace(scenes, depth_m=(depth_m * (1 + noise) * ~lost)[:, 0])


def changed_colours(rgb: Tensor) -> Tensor:
    """Brightness, contrast, tint, channels in another order, blur and noise, each at random; (B, 3, H, W)."""
    order = torch.rand((len(rgb), 3), device=rgb.device).argsort(dim=1)
    image = torch.where(some(rgb, 0.3), rgb.gather(1, order[:, :, None, None].expand_as(rgb)), rgb)
    image = torch.where(some(rgb, 0.1), image.mean(dim=1, keepdim=True), image)
    mean = image.mean(dim=(1, 2, 3), keepdim=True)
    image = (image - mean) * normal(rgb, 0.25).exp() + mean
    image = image * normal(rgb, 0.3).exp() * normal(rgb, 0.07, 3).exp() + normal(rgb, 10)
    image = image.lerp(_blurred(image), uniform(rgb, 0, 1) * some(rgb, 0.3))
    image = image + torch.randn_like(image) * uniform(rgb, 1, 10) * some(rgb, 0.4)
    return image.clamp(0, 255)


def _blurred(image: Tensor) -> Tensor:
    return F.avg_pool2d(F.pad(image, (1, 1, 1, 1), mode="replicate"), 3, stride=1)


def with_senses_lost(scenes: Scenes) -> Scenes:
    """Depth left out in some, colour in others: what is left out is 0 after encoding."""
    drawn = torch.rand(len(scenes.rgb), device=scenes.rgb.device)
    blind = (drawn > FULL + NO_DEPTH)[:, None, None, None]
    flat = ((drawn > FULL) & (drawn <= FULL + NO_DEPTH))[:, None, None]
    return replace(scenes, rgb=torch.where(blind, 127.5, scenes.rgb), depth_m=torch.where(flat, 0.0, scenes.depth_m))
