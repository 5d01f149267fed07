"""Evidence for and against poses: what the camera should see if the object were there, and what it does see.

Each of H poses is rendered into a window of G x G cells around its silhouette, from samples of the object's surface.
With z the depth of the model in a cell, d the reading there, t the tolerance and c the cosine between the surface and
the viewing direction, a cell with a reading is

    agreeing   |d - z| c < t            the surface is where it should be
    hidden     (z - d) c > t            something nearer is before it: neutral
    missing    (d - z) c > t            the camera looks through where the surface should be: against

At the rim of the silhouette, readings may be of what is behind: there, missing ones are neutral and not part of the
object's outline. Of N masks each pose explains one.

H poses, G cells a side, K samples of an object.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ism_ros.data.masks import mask_areas
from ism_ros.pose.observed_masks import ObservedMasks, window_pixels
from ism_ros.pose.refinement import PoseBatch, depth_noise_m

CELLS = 32
"""Cells along each side of the window, G."""
MARGIN_CELLS = 4
"""Cells around the silhouette on each side, in which its surroundings are seen."""
TOLERANCE_DEVIATIONS = 2.5
"""Tolerance t in standard deviations of the sensor."""
MIN_COLOR_DEVIATION = 0.02
"""Least standard deviation of a model's colors, in [0, 1], at which they can be compared."""

TERMS = (
    "agreeing", "close", "explained", "outline_iou", "inside", "continues", "nearer", "hidden", "measured",
    "normals", "color_correlation", "chroma", "visible_pixels",
)  # fmt: skip
"""Names of the terms of Evidence.terms, in their order."""


@dataclass(frozen=True)
class ObjectSamples:
    """Samples of the surfaces of the objects of H poses, of equal number.

    Attributes:
        points_m: (H, K, 3) relative to the centres, object axes, metres.
        normals: (H, K, 3) outwards.
        colors: (H, K, 3) RGB in [0, 1].
    """

    points_m: Tensor
    normals: Tensor
    colors: Tensor


@dataclass(frozen=True)
class Evidence:
    """Evidence of H poses.

    Attributes:
        terms: (H, E) float32, in the order of TERMS:
            agreeing: agreeing cells / (agreeing + missing);
            close: cells within half the tolerance / agreeing;
            explained: agreeing cells of the mask / cells of the mask with a reading;
            outline_iou: IoU of the mask and the visible silhouette;
            inside: share of the visible silhouette that is in the mask;
            continues: share of the ring around the silhouette in which the same surface goes on;
            nearer: share of that ring which is nearer than the object;
            hidden, measured: shares of the silhouette that are hidden, and that have a reading;
            normals: mean cosine of the normals of model and readings;
            color_correlation: of model and image at the cells, mean over channels times their contrast;
            chroma: mean difference of the colors' shares of brightness, at most 1;
            visible_pixels: log10 of the visible silhouette's area, pixels.
        visible: (H, G, G) bool, cells of the visible silhouette.
        origin: (H, 2) x and y of the window's corner, pixels.
        cell_px: (H,) side of a cell, pixels.
    """

    terms: Tensor
    visible: Tensor
    origin: Tensor
    cell_px: Tensor


def gather_evidence(
    poses: PoseBatch, objects: ObjectSamples, observed: ObservedMasks, masks: Tensor, rgb: Tensor
) -> Evidence:
    """Render poses and compare them with the image.

    Args:
        poses: H poses.
        objects: Samples of the object of each pose.
        observed: Depth and masks.
        masks: (N, H, W) bool.
        rgb: (H, W, 3) uint8.

    Returns:
        The evidence.
    """
    point, cell, nearest, origin, cell_px = _splat(poses, objects, observed)
    depth, mask, image, in_image = _read_window(poses, observed, masks, rgb, origin, cell_px)
    silhouette, model, low, high = _surface(nearest)
    # a cell without samples of the nearest surface may show one behind it
    shown = nearest.view_as(model) - model < TOLERANCE_DEVIATIONS * depth_noise_m(model)
    silhouette = silhouette & in_image
    model = model * silhouette
    slope_x, slope_y = _slopes(model, silhouette, cell_px, observed.intrinsics[0])
    facing = (1 + slope_x.square() + slope_y.square()).rsqrt()
    tolerance = TOLERANCE_DEVIATIONS * depth_noise_m(model)
    read = silhouette & (depth > 0)
    gap = (depth - model) * facing
    rim = silhouette & ~_eroded(silhouette)
    # at the rim the model's depth changes within a cell
    agreeing = read & torch.where(rim, (depth > low - tolerance) & (depth < high + tolerance), gap.abs() < tolerance)
    farther = read & ~agreeing & (gap > 0)
    missing, beyond_rim = farther & ~rim, farther & rim
    hidden = read & ~agreeing & ~farther
    visible = silhouette & ~hidden & ~(beyond_rim & ~mask)

    mask_cells, read_cells = (
        area[poses.mask_index] / cell_px.square() for area in (observed.area_px, observed.read_px)
    )
    common = _count(visible & mask)
    terms = [
        _count(agreeing) / (_count(agreeing) + _count(missing)).clamp(min=1),
        _share(agreeing & (gap.abs() < tolerance / 2), agreeing),
        (_count(agreeing & mask) / read_cells.clamp(min=1)).clamp(max=1),
        (common / (_count(visible) + mask_cells - common).clamp(min=1)).clamp(max=1),
        common / _count(visible).clamp(min=1),
        *_surroundings(silhouette, model, depth),
        _share(hidden, read),
        _share(read, silhouette),
        _normal_agreement(slope_x, slope_y, depth, agreeing & ~rim, cell_px, observed.intrinsics[0]),
        *_color_agreement(objects.colors, point, cell, nearest, image, agreeing & shown),
        (_count(visible) * cell_px.square()).clamp(min=1).log10(),
    ]
    return Evidence(torch.stack(terms, dim=1), visible, origin, cell_px)


def _read_window(
    poses: PoseBatch, observed: ObservedMasks, masks: Tensor, rgb: Tensor, origin: Tensor, cell_px: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Read depth (H, G, G), mask (H, G, G) bool and color (H, G, G, 3) at the cells, and which lie in the image."""
    index, in_image = window_pixels(origin, cell_px, CELLS, observed.depth_m.shape)
    depth = observed.depth_m.flatten()[index] * in_image
    mask = masks.flatten(1)[poses.mask_index[:, None, None], index] & in_image
    return depth, mask, rgb.flatten(0, 1)[index], in_image


def _surroundings(silhouette: Tensor, model: Tensor, depth: Tensor) -> tuple[Tensor, Tensor]:
    """Shares (H,) of the ring around the silhouette in which the same surface goes on, and which is nearer."""
    ring = _dilated(silhouette, 3) & ~_dilated(silhouette, 1) & (depth > 0)
    low, high = _range(model, silhouette, 3)
    tolerance = TOLERANCE_DEVIATIONS * depth_noise_m(high)
    continues = ring & (depth > low - tolerance) & (depth < high + tolerance)
    return _share(continues, ring), _share(ring & (depth <= low - tolerance), ring)


def _count(cells: Tensor) -> Tensor:
    return mask_areas(cells).float()


def _share(part: Tensor, whole: Tensor) -> Tensor:
    return _count(part) / _count(whole).clamp(min=1)


def _splat(
    poses: PoseBatch, objects: ObjectSamples, observed: ObservedMasks
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Render the nearest depth of the samples in each cell.

    Returns:
        Points (H, K, 3) in the camera frame, metres; the cell of each (H, K); nearest depth (H, G * G), +inf where
        there is none; corner of the window (H, 2) and side of a cell (H,), pixels.
    """
    fx, fy, cx, cy = observed.intrinsics
    point = objects.points_m @ poses.rotation.mT + poses.centre_m[:, None]
    z = point[..., 2].clamp(min=0.05)
    uv = torch.stack([point[..., 0] / z * fx + cx, point[..., 1] / z * fy + cy], dim=2)
    first, last = uv.aminmax(dim=1)
    cell_px = ((last - first).amax(dim=1) / (CELLS - 2 * MARGIN_CELLS)).clamp(min=0.25)
    origin = (first + last) / 2 - cell_px[:, None] * (CELLS / 2)
    columns_rows = ((uv - origin[:, None]) / cell_px[:, None, None]).long().clamp(0, CELLS - 1)
    cell = columns_rows[..., 1] * CELLS + columns_rows[..., 0]
    # what faces away would be seen through the gaps between the samples before it
    faces = ((objects.normals @ poses.rotation.mT) * point).sum(dim=2) < 0
    nearest = z.new_full((len(z), CELLS * CELLS), torch.inf)
    nearest = nearest.scatter_reduce(1, cell, z.where(faces, torch.inf), "amin")
    return point, cell, nearest, origin, cell_px


def _surface(nearest: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Close holes between samples: silhouette (H, G, G) bool, depth, and its least and largest value nearby.

    A hole may be without any sample, or show the far side of something hollow through the near one.
    """
    closed = nearest.view(-1, CELLS, CELLS)
    for join in (torch.minimum, torch.maximum):
        for axis in (1, 2):
            closed = _pooled(closed, axis, 1, join)
    silhouette = closed.isfinite()
    low, high = _range(closed, silhouette, 1)
    return silhouette, closed.where(silhouette, 0.0), low, high


def _range(depth: Tensor, covered: Tensor, reach: int) -> tuple[Tensor, Tensor]:
    """Least and largest depth of the covered cells around each cell; 0 where there are none."""
    low, high = depth.where(covered, torch.inf), depth.where(covered, -torch.inf)
    for axis in (1, 2):
        low, high = _pooled(low, axis, reach, torch.minimum), _pooled(high, axis, reach, torch.maximum)
    near = high.isfinite()
    return low.where(near, 0.0), high.where(near, 0.0)


def _dilated(cells: Tensor, reach: int) -> Tensor:
    for axis in (1, 2):
        cells = _pooled(cells, axis, reach, torch.logical_or)
    return cells


def _eroded(cells: Tensor) -> Tensor:
    return ~_dilated(~cells, 1)


def _pooled(cells: Tensor, axis: int, reach: int, join: Callable[..., Tensor]) -> Tensor:
    """Join each cell with those up to `reach` before and after it; many times faster than pooling on the CPU."""
    joined = cells.clone()
    for shift in range(1, reach + 1):
        count = cells.shape[axis] - shift
        for to, source in ((shift, 0), (0, shift)):
            part = joined.narrow(axis, to, count)
            join(part, cells.narrow(axis, source, count), out=part)
    return joined


def _slopes(depth: Tensor, valid: Tensor, cell_px: Tensor, focal_px: float) -> tuple[Tensor, Tensor]:
    """Slopes of depth along columns and rows (metres a metre), over four cells; 0 where a neighbour is not valid."""
    width_m = (4 * cell_px[:, None, None] / focal_px * depth).clamp(min=1e-6)
    padded, is_valid = F.pad(depth, (2, 2, 2, 2)), F.pad(valid, (2, 2, 2, 2))
    right, left = padded[:, 2:-2, 4:], padded[:, 2:-2, :-4]
    below, above = padded[:, 4:, 2:-2], padded[:, :-4, 2:-2]
    across = is_valid[:, 2:-2, 4:] & is_valid[:, 2:-2, :-4]
    along = is_valid[:, 4:, 2:-2] & is_valid[:, :-4, 2:-2]
    return (right - left) / width_m * across, (below - above) / width_m * along


def _normal_agreement(
    slope_x: Tensor, slope_y: Tensor, depth: Tensor, agreeing: Tensor, cell_px: Tensor, focal_px: float
) -> Tensor:
    """Mean cosine (H,) between the normals of the model and of the smoothed readings where these agree."""
    weight = agreeing.float()
    around = F.avg_pool2d(weight[:, None], 3, 1, 1)[:, 0]
    smooth = F.avg_pool2d((depth * weight)[:, None], 3, 1, 1)[:, 0] / around.clamp(min=1e-6)
    seen_x, seen_y = _slopes(smooth, agreeing, cell_px, focal_px)
    inner = _eroded(agreeing)
    dot = slope_x * seen_x + slope_y * seen_y + 1
    norms = (1 + slope_x.square() + slope_y.square()) * (1 + seen_x.square() + seen_y.square())
    cosine = dot * norms.rsqrt()
    return (cosine * inner).flatten(1).sum(dim=1) / mask_areas(inner).clamp(min=1)


def _color_agreement(
    colors: Tensor, point: Tensor, cell: Tensor, nearest: Tensor, image: Tensor, agreeing: Tensor
) -> tuple[Tensor, Tensor]:
    """Correlation of colors times the model's contrast, and difference of chroma, (H,) each."""
    # of the samples in a cell that are as near as the nearest, any: the last one written
    samples = torch.arange(cell.shape[1], device=cell.device).expand_as(cell)
    is_nearest = point[..., 2].clamp(min=0.05) <= nearest.gather(1, cell)
    sample = torch.zeros_like(cell[:, :1]).expand(-1, CELLS * CELLS + 1).clone()
    sample.scatter_(1, cell.where(is_nearest, CELLS * CELLS), samples)
    model = colors.gather(1, sample[:, :-1, None].expand(-1, -1, 3))
    seen = image.flatten(1, 2).float() / 255.0
    weight = (nearest.isfinite() & agreeing.flatten(1)).float()[..., None]
    number = weight.sum(dim=1).clamp(min=1)
    mean_model, mean_seen = (model * weight).sum(dim=1) / number, (seen * weight).sum(dim=1) / number
    off_model, off_seen = (model - mean_model[:, None]) * weight, (seen - mean_seen[:, None]) * weight
    var_model, var_seen = off_model.square().sum(dim=1) / number, off_seen.square().sum(dim=1) / number
    covariance = (off_model * off_seen).sum(dim=1) / number
    comparable = (var_model > MIN_COLOR_DEVIATION**2) & (var_seen > 2.5e-5)
    correlation = (covariance * (var_model * var_seen).clamp(min=1e-10).rsqrt() * comparable).mean(dim=1)
    contrast = (var_model.sqrt().mean(dim=1) / 0.1).clamp(max=1)
    shares = [mean / mean.mean(dim=1, keepdim=True).clamp(min=0.02) for mean in (mean_model, mean_seen)]
    return correlation * contrast, (shares[0] - shares[1]).abs().mean(dim=1).clamp(max=1)
