"""Input channels of the segmentor for batches on any device.

The same as `ism_ros.segmentors.tiny.input_channels.encode`, which is for one frame on a CPU and faster there; a test
compares both.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ism_ros.segmentors.tiny.input_channels import MEAN_WEIGHTS, SLOPE_WEIGHTS, WINDOWS_M, normal_direction

COARSE_STRIDE = 4
"""Stride in pixels at which the means over windows are computed."""


def encode(rgb: Tensor, depth_m: Tensor, intrinsics: Tensor) -> Tensor:
    """Encode frames as input of the segmentor.

    Args:
        rgb: (B, 3, H, W) float32 in [0, 255].
        depth_m: (B, H, W) float32 metres, 0 = no reading.
        intrinsics: (B, 4) fx, fy, cx and cy in pixels of these pictures.

    Returns:
        (B, 10, H, W) float32.
    """
    depth_m = depth_m[:, None]
    valid = (depth_m > 0).float()
    filled = _local_mean(depth_m, valid, 3)
    known = (filled > 0).float()
    coarse, coarse_valid = (image[:, :, ::COARSE_STRIDE, ::COARSE_STRIDE] for image in (depth_m, valid))
    relative = []
    for side, unit_m in WINDOWS_M:
        mean = _local_mean(coarse, coarse_valid, side // COARSE_STRIDE | 1)
        mean = F.interpolate(mean, size=depth_m.shape[2:], mode="bilinear", align_corners=False)
        relative.append(((filled - mean) / unit_m).clamp(-1.5, 1.5) * known * (mean > 0))
    near = 0.5 / filled.clamp(min=0.2) * known
    return torch.cat([rgb / 127.5 - 1, _normals(filled, intrinsics) * known, *relative, near, valid], dim=1)


def _local_mean(depth_m: Tensor, valid: Tensor, side: int) -> Tensor:
    """Mean of the readings in a square window about each pixel, 0 where it has hardly any. Both (B, 1, h, w)."""
    both = torch.cat([depth_m * valid, valid], dim=1)
    both = F.pad(both, [side // 2] * 4, mode="reflect")
    both = F.avg_pool2d(F.avg_pool2d(both, (side, 1), stride=1), (1, side), stride=1)
    total, share = both.split(1, dim=1)
    return torch.where(share > 0.01, total / share.clamp(min=0.01), 0.0)


def _normals(depth_m: Tensor, intrinsics: Tensor) -> Tensor:
    """Compute (B, 3, H, W) unit normals towards the camera, as `input_channels` does for one frame."""
    fx, fy, cx, cy = intrinsics.float().T[:, :, None, None, None]
    height, width = depth_m.shape[2:]
    difference = torch.tensor(SLOPE_WEIGHTS, device=depth_m.device)
    mean = F.pad(torch.tensor(MEAN_WEIGHTS, device=depth_m.device), (1, 1))
    kernels = torch.stack([mean[:, None] * difference, difference[:, None] * mean])[:, None]
    slopes = F.conv2d(F.pad(depth_m, (2, 2, 2, 2), mode="reflect"), kernels)
    du, dv = slopes.split(1, dim=1)
    u = torch.arange(width, device=depth_m.device) - cx
    v = torch.arange(height, device=depth_m.device)[:, None] - cy
    return F.normalize(torch.cat(normal_direction(depth_m, (du, dv), (u, v), (fx, fy)), dim=1), dim=1, eps=1e-9)
