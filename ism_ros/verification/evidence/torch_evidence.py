"""Evidence by operations of PyTorch, all poses at once: for GPUs (gathering has the formulas).

H poses, G cells a side, K samples of an object.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ism_ros.data.masks import mask_areas
from ism_ros.refinement.observed_masks import ObservedMasks, values_at, window_pixels
from ism_ros.refinement.pose_batch import PoseBatch
from ism_ros.refinement.step_limits import MIN_DEPTH_M
from ism_ros.verification.color_agreement import color_agreement, colors_of_cells
from ism_ros.verification.evidence.terms import (
    CELLS,
    MIN_CELL_PX,
    MIN_RELATIVE_NOISE,
    SILHOUETTE_CELLS,
    TOLERANCE_DEVIATIONS,
    Evidence,
    ObjectSamples,
)
from ism_ros.verification.image_edges import ImageEdges, outline_agreement
from ism_ros.verification.observed_image import ObservedImage
from ism_ros.verification.window_cells import closed, dilated, eroded, mean_over, pooled, splat_nearest


def gather_evidence(
    poses: PoseBatch, objects: ObjectSamples, observed: ObservedMasks, masks: Tensor, image: ObservedImage
) -> Evidence:
    """Render poses and compare them with the image.

    Args:
        poses: H poses.
        objects: Samples of the object of each pose.
        observed: Depth and masks.
        masks: (N, H, W) bool.
        image: The color image.

    Returns:
        The evidence.
    """
    sample_depth, cell, nearest, origin, cell_px = _splat(poses, objects, observed)
    depth, mask, seen, in_image = _read_window(poses, observed, masks, image.rgb, origin, cell_px)
    silhouette, model, low, high = _surface(nearest)
    silhouette = silhouette & in_image
    model = model * silhouette
    slope_x, slope_y = _slopes(model, silhouette, cell_px, observed.intrinsics[0])
    facing = (1 + slope_x.square() + slope_y.square()).rsqrt()
    tolerance = TOLERANCE_DEVIATIONS * observed.noise_m(model)
    # a cell without samples of the nearest surface may show one behind it
    shown = nearest - model < tolerance
    read = silhouette & (depth > 0)
    gap = (depth - model) * facing
    rim = silhouette & ~eroded(silhouette)
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
    model_colors = colors_of_cells(objects.colors, sample_depth, cell, nearest.flatten(1))
    # where nothing at all is read, the mask says where the object is seen
    is_blind = ~read.flatten(1).any(dim=1)[:, None, None]
    compared = (nearest.isfinite() & (agreeing | (is_blind & visible & mask)) & shown).flatten(1)
    terms = [
        _count(agreeing) / (_count(agreeing) + _count(missing)).clamp(min=1),
        _share(agreeing & (gap.abs() < tolerance / 2), agreeing),
        (_count(agreeing & mask) / read_cells.clamp(min=1)).clamp(max=1),
        (common / (_count(visible) + mask_cells - common).clamp(min=1)).clamp(max=1),
        common / _count(visible).clamp(min=1),
        *_surroundings(silhouette, model, depth, observed),
        _share(hidden, read),
        _share(read, silhouette),
        _normal_agreement(slope_x, slope_y, depth, agreeing & ~rim, cell_px, observed.intrinsics[0]),
        (_count(visible) * cell_px.square()).clamp(min=1).log10(),
        *color_agreement(model_colors, seen.flatten(1, 2).float() / 255.0, compared, image.light),
        *(cell_px.new_zeros(2, len(poses)) if image.edges is None else _edges(image.edges, origin, cell_px, visible)),
        _relative_noise(mean_over(model, silhouette), cell_px, observed),
    ]
    return Evidence(torch.stack(terms, dim=1), visible, origin, cell_px)


def _edges(edges: ImageEdges, origin: Tensor, cell_px: Tensor, visible: Tensor) -> tuple[Tensor, Tensor]:
    return outline_agreement(edges.at_cells(origin, cell_px, CELLS), visible)


def _read_window(
    poses: PoseBatch, observed: ObservedMasks, masks: Tensor, rgb: Tensor, origin: Tensor, cell_px: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Read depth (H, G, G), mask (H, G, G) bool and color (H, G, G, 3) at the cells, and which lie in the image."""
    index, in_image = window_pixels(origin, cell_px, CELLS, observed.depth_m.shape)
    depth = values_at(observed.depth_m.flatten(), index) * in_image
    of_mask = index + poses.mask_index[:, None, None] * observed.depth_m.numel()
    mask = values_at(masks.flatten(), of_mask) & in_image
    return depth, mask, rgb.flatten(0, 1)[index], in_image


def _surroundings(silhouette: Tensor, model: Tensor, depth: Tensor, observed: ObservedMasks) -> tuple[Tensor, Tensor]:
    """Shares (H,) of the ring around the silhouette in which the same surface goes on, and which is nearer."""
    ring = dilated(silhouette, 3) & ~dilated(silhouette, 1) & (depth > 0)
    low, high = _range(model, silhouette, 3)
    tolerance = TOLERANCE_DEVIATIONS * observed.noise_m(high)
    continues = ring & (depth > low - tolerance) & (depth < high + tolerance)
    return _share(continues, ring), _share(ring & (depth <= low - tolerance), ring)


def _relative_noise(depth_m: Tensor, cell_px: Tensor, observed: ObservedMasks) -> Tensor:
    """Log10 (H,) of the noise at distances (H,) over the widths of the silhouettes there."""
    width_m = SILHOUETTE_CELLS * cell_px / observed.intrinsics[0] * depth_m
    return (observed.noise_m(depth_m) / width_m.clamp(min=1e-6)).clamp(MIN_RELATIVE_NOISE, 1.0).log10()


def _count(cells: Tensor) -> Tensor:
    return mask_areas(cells).float()


def _share(part: Tensor, whole: Tensor) -> Tensor:
    return _count(part) / _count(whole).clamp(min=1)


def _splat(
    poses: PoseBatch, objects: ObjectSamples, observed: ObservedMasks
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Render the nearest depth of the samples in each cell.

    Returns:
        Depth of the samples (H, K), metres; the cell of each (H, K); nearest depth (H, G, G), +inf where
        there is none; corner of the window (H, 2) and side of a cell (H,), pixels.
    """
    fx, fy, cx, cy = observed.intrinsics
    x, y, z = torch.baddbmm(poses.centre_m[:, :, None], poses.rotation, objects.points_m).unbind(dim=1)
    z = z.clamp(min=MIN_DEPTH_M)
    uv = torch.stack([x / z * fx + cx, y / z * fy + cy], dim=1)
    first, last = uv.amin(dim=2), uv.amax(dim=2)
    cell_px = ((last - first).amax(dim=1) / SILHOUETTE_CELLS).clamp(min=MIN_CELL_PX)
    origin = (first + last) / 2 - cell_px[:, None] * (CELLS / 2)
    # what faces away would be seen through the gaps between the samples before it
    from_camera_m = objects.points_m + (poses.rotation.mT @ poses.centre_m[:, :, None])
    faces = (objects.normals * from_camera_m).sum(dim=1) < 0
    at = uv.sub_(origin[:, :, None]).div_(cell_px[:, None, None])
    nearest, cell = splat_nearest(at, z.where(faces, torch.inf), CELLS)
    return z, cell, nearest, origin, cell_px


def _surface(nearest: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Close holes between samples: silhouette (H, G, G) bool, depth, and its least and largest value nearby."""
    depth = closed(nearest)
    silhouette = depth.isfinite()
    low, high = _range(depth, silhouette, 1)
    return silhouette, depth.where(silhouette, 0.0), low, high


def _range(depth: Tensor, covered: Tensor, reach: int) -> tuple[Tensor, Tensor]:
    """Least and largest depth of the covered cells around each cell; 0 where there are none."""
    low, high = depth.where(covered, torch.inf), depth.where(covered, -torch.inf)
    for axis in (1, 2):
        low, high = pooled(low, axis, reach, torch.minimum), pooled(high, axis, reach, torch.maximum)
    near = high.isfinite()
    return low.where(near, 0.0), high.where(near, 0.0)


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
    inner = eroded(agreeing)
    dot = slope_x * seen_x + slope_y * seen_y + 1
    norms = (1 + slope_x.square() + slope_y.square()) * (1 + seen_x.square() + seen_y.square())
    cosine = dot * norms.rsqrt()
    return mean_over(cosine, inner)
