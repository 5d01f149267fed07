"""In-plane rotation from silhouettes, by their radial profile: how far they extend from their centroid.

N masks, D directions, K points.
"""

from __future__ import annotations

import torch
from torch import Tensor

DIRECTIONS = 72
"""Directions D, over the full circle, in which silhouettes are compared."""

ROTATION_PENALTY = 0.02
"""Penalty on the mean squared difference of profiles for half a revolution, so that round objects are not rotated."""


def silhouette_profiles(masks: Tensor) -> Tensor:
    """Compute the radial profile of each silhouette, relative to its mean.

    Args:
        masks: (N, h, w) bool at any scale and position, crops included.

    Returns:
        (N, D) float32: extent from the centroid in each direction, divided by its mean.
    """
    return _relative(_extent_of_masks(masks, _directions(masks.device)))


def rotate_in_plane(
    rotation: Tensor, profiles: Tensor, points_m: Tensor, translation_m: Tensor, intrinsics: Tensor
) -> Tensor:
    """Rotate poses about the optical axis so that the silhouette of the projected points matches the mask's best.

    Rotating a silhouette is a circular shift of its profile. For descriptors that are not sensitive to that rotation;
    the reference has no such step.

    Args:
        rotation: (N, 3, 3) object-to-camera.
        profiles: (N, D) radial profiles of the masks (`silhouette_profiles`).
        points_m: (K, 3) points of the object, metres; those on the convex hull are enough.
        translation_m: (N, 3) object-to-camera, metres.
        intrinsics: (3, 3), pixels.

    Returns:
        (N, 3, 3) rotated object-to-camera rotations.
    """
    step = 2 * torch.pi / DIRECTIONS
    number = torch.arange(DIRECTIONS, device=rotation.device)
    # one product for all, coordinate by coordinate: many times faster than point by point
    x, y, z = (intrinsics @ rotation @ points_m.T + intrinsics @ translation_m[:, :, None]).unbind(dim=1)
    centre = translation_m @ intrinsics.T
    centre = centre / centre[:, 2:].clamp(min=1e-6)
    u, v = x / z.clamp(min=1e-6) - centre[:, :1], y / z.clamp(min=1e-6) - centre[:, 1:2]
    projected = _relative(_extent(u, v, _directions(rotation.device)))
    shifted = projected[:, (number[None] - number[:, None]) % DIRECTIONS]
    difference = (shifted - profiles[:, None]).square().mean(dim=2)
    angle = torch.minimum(number, DIRECTIONS - number) * step
    chosen = (difference + ROTATION_PENALTY * angle / torch.pi).argmin(dim=1) * step
    cos, sin, zero, one = chosen.cos(), chosen.sin(), torch.zeros_like(chosen), torch.ones_like(chosen)
    about_z = torch.stack([cos, -sin, zero, sin, cos, zero, zero, zero, one], dim=1).view(-1, 3, 3)
    return about_z @ rotation


def _directions(device: torch.device) -> Tensor:
    """Make the unit vectors (2, D) of all directions."""
    angle = torch.arange(DIRECTIONS, device=device) * (2 * torch.pi / DIRECTIONS)
    return torch.stack([angle.cos(), angle.sin()])


def _extent(u: Tensor, v: Tensor, directions: Tensor) -> Tensor:
    """Compute how far points (u, v), (N, K) each, extend in each of the `directions` (2, D): (N, D)."""
    return (directions[0][:, None] * u[:, None] + directions[1][:, None] * v[:, None]).amax(dim=2)


def _extent_of_masks(masks: Tensor, directions: Tensor) -> Tensor:
    """Compute the same for masks (N, h, w) about their centroids, from the first and the last pixel of every row."""
    height, width = masks.shape[1:]
    x = torch.arange(width, device=masks.device).float()
    y = torch.arange(height, device=masks.device).float()
    weight = masks.float()
    columns, rows = weight.sum(dim=1), weight.sum(dim=2)
    area = rows.sum(dim=1, keepdim=True).clamp(min=1)
    x_centre, y_centre = (columns @ x)[:, None] / area, (rows @ y)[:, None] / area
    bytes_ = masks.view(torch.uint8)
    first, last = bytes_.argmax(dim=2), width - 1 - bytes_.flip(2).argmax(dim=2)
    # a row without pixels has its ends at the centre, where they extend nowhere
    filled = rows > 0
    ends = [torch.where(filled, end - x_centre + side, 0.0) for end, side in ((first, -0.5), (last, 0.5))]
    across = torch.where(filled, y - y_centre, 0.0)
    return _extent(torch.cat(ends, dim=1), torch.cat([across, across], dim=1), directions)


def _relative(rows: Tensor) -> Tensor:
    return rows / rows.mean(dim=1, keepdim=True).clamp(min=1e-6)
