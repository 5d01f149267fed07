"""Polar maps in metres: what a view of an object, or the points under a mask, looks like from its centroid outwards.

A map has rings and angles about the centroid of the visible surface: how much of each cell is covered, its depth
relative to the centroid, and its color. An in-plane rotation of the camera is a circular shift along the angles, so
that all rotations of all views are compared at once by Fourier transforms along the angles (pose.alignment). They stay
together with the object, so that they are computed once.

N masks, V views of an object, P points, R rings, A angles, F frequencies.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from math import pi

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

RINGS, ANGLES = 8, 36
CELLS = RINGS * ANGLES
FREQUENCIES = ANGLES // 2 + 1
COARSE_FREQUENCIES = FREQUENCIES // 2 + 1
"""Frequencies by which all views are ranked (pose.view_choice), the lowest ones."""
RADIUS_MARGIN = 1.05
"""Factor by which the outermost ring lies outside of the farthest point of all views."""


@dataclass(frozen=True, eq=False)
class ViewMaps:
    """Polar maps of all rendered views of one object.

    Attributes:
        maps: (V, 5, R, A) float16: share of the cell that is covered; depth relative to the centroid, metres; red,
            green and blue relative to the view's mean brightness.
        centroid_m: (V, 3) mean of the visible surface in the object frame, metres.
        radius_m: Radius of the outermost ring, metres.
        rotations: (V, 3, 3) object-to-camera.
        template_count: T, how many views, from the first on, are the templates themselves.
        centre_m: (3,) centre of the model's box in the object frame, metres, about which poses are uncertain.
    """

    maps: NDArray[np.float16]
    centroid_m: NDArray[np.float64]
    radius_m: float
    rotations: NDArray[np.float64]
    template_count: int
    centre_m: NDArray[np.float64] = field(default_factory=lambda: np.zeros(3))

    @cached_property
    def nearest_template(self) -> NDArray[np.int64]:
        """(V,) int64, the template whose viewing axis is nearest to each view's; of equally near ones the first."""
        axes = self.rotations[:, 2]
        return (axes @ axes[: self.template_count].T).round(5).argmax(axis=1)

    def from_templates(self, template_values: Tensor) -> Tensor:
        """Give each view the value of its nearest template.

        Args:
            template_values: (N, T), or longer rows.

        Returns:
            (N, V).
        """
        return template_values[:, torch.from_numpy(self.nearest_template).to(template_values.device)]


@dataclass(frozen=True)
class FourierMaps:
    """Fourier coefficients over the angle of the maps of V views.

    Attributes:
        coefficients: (F, 7, 2, R, V), of each of seven terms the cosine and the sine part. The terms, all weighted by
            coverage: the sum of squared colors, red, green, blue, 1, depth, squared depth.
        area_m2: (V,) covered area, square metres.
    """

    coefficients: Tensor
    area_m2: Tensor

    def to(self, device: torch.device | str) -> FourierMaps:
        """Copy them to a device."""
        return FourierMaps(self.coefficients.to(device), self.area_m2.to(device))

    @property
    def color_terms(self) -> Tensor:
        """Squared colors, red, green, blue and 1."""
        return self.coefficients[:, :5]

    @property
    def coverage_term(self) -> Tensor:
        """The term 1, weighted by coverage."""
        return self.coefficients[:, 4:5]

    @property
    def depth_terms(self) -> Tensor:
        """1 and depth."""
        return self.coefficients[:, 4:6]

    @property
    def squared_depth_terms(self) -> Tensor:
        """1, depth and squared depth."""
        return self.coefficients[:, 4:]

    @cached_property
    def by_view(self) -> Tensor:
        """The coefficients of each view together, (V, F, 7, 2, R)."""
        return self.coefficients.permute(4, 0, 1, 2, 3).contiguous()


def make_view_maps(
    rgb: Sequence[NDArray[np.uint8]],
    masks: Sequence[NDArray[np.bool_]],
    xyz_m: Sequence[NDArray[np.floating]],
    rotations: NDArray[np.floating],
    template_count: int | None = None,
    centre_m: NDArray[np.float64] | None = None,
) -> ViewMaps:
    """Make the polar maps of rendered views of any sizes.

    Args:
        rgb: V images (H, W, 3).
        masks: V masks (H, W), each with at least one pixel.
        xyz_m: V images (H, W, 3) of surface points in the object frame, metres.
        rotations: (V, 3, 3) object-to-camera.
        template_count: How many of them are templates; None = all.
        centre_m: Centre of the model's box in the object frame, metres; None = the origin.

    Returns:
        The maps.
    """
    surfaces = [xyz[mask].astype(np.float64) for xyz, mask in zip(xyz_m, masks, strict=True)]
    centroid_m = np.array([points.mean(axis=0) for points in surfaces])
    centred = [
        (points - centroid) @ rotation.T
        for points, centroid, rotation in zip(surfaces, centroid_m, rotations, strict=True)
    ]
    radius_m = max(float(max(np.hypot(*points[:, :2].T).max() for points in centred)) * RADIUS_MARGIN, 1e-6)
    maps = []
    for points, image, mask in zip(centred, rgb, masks, strict=True):
        area_m2 = np.full(len(points), _pixel_area_m2(points, mask))
        points_m, colors = torch.from_numpy(points).float(), torch.from_numpy(image[mask]).float() / 255.0
        maps.append(polar_maps(points_m.T[None], colors.T[None], torch.from_numpy(area_m2).float()[None], radius_m)[0])
    return ViewMaps(
        torch.stack(maps).half().numpy(),
        centroid_m,
        radius_m,
        np.asarray(rotations, np.float64),
        len(rotations) if template_count is None else template_count,
        np.zeros(3) if centre_m is None else np.asarray(centre_m, np.float64),
    )


def polar_maps(points_m: Tensor, colors: Tensor, area_m2: Tensor, radius_m: float) -> Tensor:
    """Bin points into rings and angles.

    Args:
        points_m: (N, 3, P) relative to their centroid, z along the optical axis, metres.
        colors: (N, 3, P) in [0, 1].
        area_m2: (N, P) area of each point across the optical axis, square metres; 0 = no point.
        radius_m: Radius of the outermost ring, metres; what lies farther out is counted there.

    Returns:
        (N, 5, R, A), as ViewMaps.maps.
    """
    x, y, depth = points_m.unbind(dim=1)
    ring = (torch.hypot(x, y) * (RINGS / radius_m)).clamp(max=RINGS - 1).long()
    angle = torch.atan2(y, x).mul_(ANGLES / (2 * pi))
    angle = angle.add_((angle < 0).to(angle.dtype), alpha=ANGLES).long().clamp_(max=ANGLES - 1)
    cell = (ring * ANGLES + angle)[:, None].expand(-1, 5, -1)
    values = torch.cat([area_m2[:, None], (depth * area_m2)[:, None], colors * area_m2[:, None]], dim=1)
    sums = values.new_zeros(len(values), 5, CELLS).scatter_add_(2, cell, values)
    total, *summed = sums.unflatten(2, (RINGS, ANGLES)).unbind(dim=1)
    weighted = torch.stack(summed[1:]).sum(dim=(0, 2, 3)) / 3
    brightness = (weighted / total.sum(dim=(1, 2)).clamp(min=1e-12)).clamp(min=1e-3)[:, None, None]
    depth, *color_means = (value / total.clamp(min=1e-12) for value in summed)
    covered = (total / cell_areas_m2(radius_m, total)).clamp(max=1.0)
    return torch.stack([covered, depth, *(color / brightness for color in color_means)], dim=1)


def fourier_maps(maps: Tensor, radius_m: float) -> FourierMaps:
    """Transform the maps of an object's views.

    Args:
        maps: (V, 5, R, A) float, as ViewMaps.maps.
        radius_m: Radius of the outermost ring, metres.

    Returns:
        Their coefficients, on the device of `maps`.
    """
    coverage = maps[:, 0]
    area_m2 = (coverage * cell_areas_m2(radius_m, maps)).sum(dim=(1, 2))
    return FourierMaps(angular_dft(weighted_terms(maps, coverage)).permute(4, 0, 3, 2, 1).contiguous(), area_m2)


def weighted_terms(maps: Tensor, weight: Tensor) -> Tensor:
    """Make the terms of FourierMaps.

    Args:
        maps: (N, 5, R, A).
        weight: (N, R, A) of each cell.

    Returns:
        (7, N, R, A): squared colors, red, green, blue, 1, depth and squared depth, each times `weight`.
    """
    depth, colors = maps[:, 1], maps[:, 2:]
    red, green, blue = (weight[:, None] * colors).unbind(dim=1)
    squared = weight * (colors**2).sum(dim=1)
    return torch.stack([squared, red, green, blue, weight, weight * depth, weight * depth**2])


def angular_dft(maps: Tensor) -> Tensor:
    """Transform along the angles: (..., A) -> (..., 2, F), cosine and sine parts."""
    return (maps @ dft_matrices(maps.device, maps.dtype)[0]).unflatten(-1, (2, FREQUENCIES))


@lru_cache
def dft_matrices(device: torch.device, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Make the transforms along the angles as matrices.

    Returns:
        To cosine and sine parts, (A, 2F), and back from both parts of each frequency, (2F, A).
    """
    angle = torch.arange(ANGLES, device=device, dtype=dtype) * (2 * pi / ANGLES)
    phase = angle[:, None] * torch.arange(FREQUENCIES, device=device, dtype=dtype)
    basis = torch.stack([phase.cos(), phase.sin()], dim=1)
    multiplicity = torch.full((FREQUENCIES,), 2.0, device=device, dtype=dtype)
    multiplicity[0] = multiplicity[-1] = 1.0
    return basis.flatten(1), (basis * multiplicity / ANGLES).permute(2, 1, 0).flatten(0, 1)


def cell_areas_m2(radius_m: float, like: Tensor) -> Tensor:
    """Area of one cell of each ring, (R, 1) square metres, with the dtype and device of `like`."""
    return _cell_areas_m2(radius_m, like.device, like.dtype)


@lru_cache
def _cell_areas_m2(radius_m: float, device: torch.device, dtype: torch.dtype) -> Tensor:
    number = torch.arange(RINGS, device=device, dtype=dtype)[:, None]
    return pi * radius_m**2 / RINGS**2 / ANGLES * (2 * number + 1)


def _pixel_area_m2(points_m: NDArray[np.float64], mask: NDArray[np.bool_]) -> float:
    """Area of one pixel, from how x and y of the points grow with columns and rows: no camera need be known."""
    sides = []
    for pixels, values in zip(np.nonzero(mask)[::-1], points_m[:, :2].T, strict=True):
        offset = pixels - pixels.mean()
        sides.append(abs(float(offset @ values)) / max(float(offset @ offset), 1e-12))
    return sides[0] * sides[1]
