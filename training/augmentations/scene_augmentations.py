"""Augmentations of whole scenes: mirroring, crops, other colors, holes in depth, missing depth or color.

A batch at once on any device; all random numbers come from PyTorch's generator of the device.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from training.augmentations.random_sampling import bernoulli, normal, uniform

FULL, NO_DEPTH, NO_COLOR = 0.76, 0.14, 0.10
"""Shares of the scenes that have color and depth, color alone, depth alone."""


@dataclass(frozen=True)
class SceneBatch:
    """A batch of scenes.

    Attributes:
        rgb: (B, 3, H, W) float32 in [0, 255].
        depth_m: (B, H, W) float32 metres, 0 = no reading.
        instance: (B, H, W) int64 number of the instance, 0 = surroundings.
        intrinsics: (B, 4) float32, fx, fy, cx and cy in pixels.
    """

    rgb: Tensor
    depth_m: Tensor
    instance: Tensor
    intrinsics: Tensor


def augment_scenes(scenes: SceneBatch) -> SceneBatch:
    """Apply all augmentations of scenes.

    Args:
        scenes: The batch.

    Returns:
        The augmented batch.
    """
    scenes = lose_depth(crop(mirror(scenes)))
    scenes = replace(scenes, rgb=jitter_colors(scenes.rgb))
    return drop_modality(scenes)


def mirror(scenes: SceneBatch) -> SceneBatch:
    """Mirror half of them, left to right.

    Args:
        scenes: The batch.

    Returns:
        The augmented batch.
    """
    flip = bernoulli(scenes.rgb, 0.5)[:, 0, 0, 0]
    intrinsics = scenes.intrinsics.clone()
    intrinsics[:, 2] = torch.where(flip, scenes.rgb.shape[-1] - 1 - intrinsics[:, 2], intrinsics[:, 2])

    def either(image: Tensor) -> Tensor:
        return torch.where(flip.view(-1, *[1] * (image.ndim - 1)), image.flip(-1), image)

    return SceneBatch(either(scenes.rgb), either(scenes.depth_m), either(scenes.instance), intrinsics)


def crop(scenes: SceneBatch) -> SceneBatch:
    """Enlarge a part of 60 % of them to the size of the whole, as seen by a longer lens.

    Args:
        scenes: The batch.

    Returns:
        The augmented batch.
    """
    height, width = scenes.rgb.shape[2:]
    count, device = len(scenes.rgb), scenes.rgb.device
    scale = (torch.rand(count, device=device) * torch.log(torch.tensor(1.8))).exp()
    scale = torch.where(bernoulli(scenes.rgb, 0.6)[:, 0, 0, 0], scale, 1.0)
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
    fx, fy, cx, cy = scenes.intrinsics.T
    intrinsics = torch.stack([fx * scale, fy * scale, (cx - left) * scale, (cy - top) * scale], dim=1)
    return SceneBatch(rgb, depth_m, instance.long(), intrinsics)


def lose_depth(scenes: SceneBatch) -> SceneBatch:
    """Remove blobs of depth in a third of them, add noise of up to half a percent in a fifth.

    Args:
        scenes: The batch.

    Returns:
        The augmented batch.
    """
    depth_m = scenes.depth_m[:, None]
    coarse = torch.randn(len(depth_m), 1, 15, 20, device=depth_m.device)
    field = F.interpolate(coarse, size=depth_m.shape[2:], mode="bilinear", align_corners=False)
    lost = (field > uniform(depth_m, 1.2, 2.2)) & bernoulli(depth_m, 0.33)
    noise = torch.randn_like(depth_m) * uniform(depth_m, 0, 0.005) * bernoulli(depth_m, 0.2)
    return replace(scenes, depth_m=(depth_m * (1 + noise) * ~lost)[:, 0])


def jitter_colors(rgb: Tensor) -> Tensor:
    """Change brightness, contrast, tint, order of channels, blur and noise, each at random.

    Args:
        rgb: (B, 3, H, W) float32 in [0, 255].

    Returns:
        The same shape.
    """
    order = torch.rand((len(rgb), 3), device=rgb.device).argsort(dim=1)
    image = torch.where(bernoulli(rgb, 0.3), rgb.gather(1, order[:, :, None, None].expand_as(rgb)), rgb)
    image = torch.where(bernoulli(rgb, 0.1), image.mean(dim=1, keepdim=True), image)
    mean = image.mean(dim=(1, 2, 3), keepdim=True)
    image = (image - mean) * normal(rgb, 0.25).exp() + mean
    image = image * normal(rgb, 0.3).exp() * normal(rgb, 0.07, 3).exp() + normal(rgb, 10)
    image = image.lerp(_blurred(image), uniform(rgb, 0, 1) * bernoulli(rgb, 0.3))
    image = image + torch.randn_like(image) * uniform(rgb, 1, 10) * bernoulli(rgb, 0.4)
    return image.clamp(0, 255)


def _blurred(image: Tensor) -> Tensor:
    return F.avg_pool2d(F.pad(image, (1, 1, 1, 1), mode="replicate"), 3, stride=1)


def drop_modality(scenes: SceneBatch) -> SceneBatch:
    """Remove depth from some, color from others: what is removed is 0 after encoding.

    Args:
        scenes: The batch.

    Returns:
        The augmented batch.
    """
    number_drawn = torch.rand(len(scenes.rgb), device=scenes.rgb.device)
    blind = (number_drawn > FULL + NO_DEPTH)[:, None, None, None]
    flat = ((number_drawn > FULL) & (number_drawn <= FULL + NO_DEPTH))[:, None, None]
    return replace(scenes, rgb=torch.where(blind, 127.5, scenes.rgb), depth_m=torch.where(flat, 0.0, scenes.depth_m))
