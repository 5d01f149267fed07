"""Agreement of the colors of poses with those of the image, robust to light.

Shares of a color are its channels relative to their mean, so that brightness does not count.

H poses, C cells of a window, K samples of an object.
"""

from __future__ import annotations

import torch
from torch import Tensor

MIN_MODEL_DEVIATION, MIN_SEEN_DEVIATION = 0.02, 0.005
"""Least standard deviations of the colors of a model, and of the image there, in [0, 1], that can be correlated."""
CONTRAST = 0.1
"""Standard deviation of a model's colors from which on their correlation counts fully."""
MIN_BRIGHTNESS = 0.02
"""Least mean of the channels of which shares are taken, in [0, 1]."""
LIGHT_STEP_PX = 4
"""Step at which pixels are averaged for the light, pixels."""


def light_of_image(rgb: Tensor) -> Tensor:
    """Estimate the color of the light: the mean color, were all of it gray (Buchsbaum, J. Franklin Inst. 1980).

    Args:
        rgb: (H, W, 3) uint8.

    Returns:
        (3,) shares of red, green and blue.
    """
    return _shares(rgb[::LIGHT_STEP_PX, ::LIGHT_STEP_PX].float().flatten(0, 1).mean(dim=0) / 255.0)


def colors_of_cells(colors: Tensor, depth_m: Tensor, cell: Tensor, nearest_m: Tensor) -> Tensor:
    """Take for each cell the color of a sample that is as near as the nearest.

    Args:
        colors: (H, K, 3) RGB of the samples.
        depth_m: (H, K) their depth, metres.
        cell: (H, K) int64, the cell that each lies in.
        nearest_m: (H, C) least depth of the cells, +inf where there is none.

    Returns:
        (H, C, 3); any color where a cell has no sample.
    """
    samples = torch.arange(cell.shape[1], device=cell.device).expand_as(cell)
    count = nearest_m.shape[1]
    # of several that are as near the last one written; all others are written to one cell more
    sample = torch.zeros_like(cell[:, :1]).expand(-1, count + 1).clone()
    sample.scatter_(1, cell.where(depth_m <= nearest_m.gather(1, cell), count), samples)
    return colors.gather(1, sample[:, :-1, None].expand(-1, -1, 3))


def color_agreement(model: Tensor, seen: Tensor, compared: Tensor, light: Tensor) -> tuple[Tensor, ...]:
    """Compare the colors of a model with those of the image.

    Args:
        model: (H, C, 3) RGB in [0, 1].
        seen: (H, C, 3), likewise, of the image.
        compared: (H, C) bool, cells that count.
        light: (3,) shares of the light's color.

    Returns:
        (H,) each:
            color_correlation: mean correlation of the channels, times the model's contrast, at most 1;
            chroma: mean difference of the shares of the mean colors, at most 1;
            balanced_chroma: the same after division of the image by the light;
            saturation: mean difference of the model's shares from those of gray, at most 1: models without colors have
                0, and for them the differences say nothing.
    """
    weight = compared.float()[..., None]
    number = weight.sum(dim=1).clamp(min=1)
    mean_model, mean_seen = (model * weight).sum(dim=1) / number, (seen * weight).sum(dim=1) / number
    off_model, off_seen = (model - mean_model[:, None]) * weight, (seen - mean_seen[:, None]) * weight
    var_model, var_seen = off_model.square().sum(dim=1) / number, off_seen.square().sum(dim=1) / number
    covariance = (off_model * off_seen).sum(dim=1) / number
    comparable = (var_model > MIN_MODEL_DEVIATION**2) & (var_seen > MIN_SEEN_DEVIATION**2)
    correlation = (covariance * (var_model * var_seen).clamp(min=1e-10).rsqrt() * comparable).mean(dim=1)
    contrast = (var_model.sqrt().mean(dim=1) / CONTRAST).clamp(max=1)
    shares, seen_shares = _shares(mean_model), _shares(mean_seen)
    balanced = _shares(seen_shares / light)
    return (
        correlation * contrast,
        *((shares - other).abs().mean(dim=1).clamp(max=1) for other in (seen_shares, balanced, torch.ones_like(light))),
    )


def _shares(color: Tensor) -> Tensor:
    """Channels (..., 3) relative to their mean."""
    return color / color.mean(dim=-1, keepdim=True).clamp(min=MIN_BRIGHTNESS)
