"""Masks of detections: the visible silhouettes of their poses, decided pixel by pixel.

Each sample of the object's surface is spread over the part of its tangent plane that it stands for, all of them are
splatted into a window of G x G cells, and that is enlarged to the pixels. With z the depth of the model at a pixel, d
the reading there and t the tolerance of verification.evidence, a pixel of the silhouette is

    hidden      d < z - t, and so is most of what is around it: something nearer is before it
    beyond      d > z + t at the rim: the camera looks past the object, unless the proposal has it

Where the outline of the proposal runs along that of the silhouette it is taken: it follows the image.

K detections, S samples of an object, G cells a side, P points that each sample is spread over.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ism_ros.refinement.observed_masks import ObservedMasks
from ism_ros.refinement.pose_batch import PoseBatch
from ism_ros.refinement.step_limits import MIN_DEPTH_M
from ism_ros.verification.evidence.terms import TOLERANCE_DEVIATIONS, ObjectSamples
from ism_ros.verification.window_cells import splat_nearest

CELLS, MARGIN_CELLS = 96, 3
"""Cells along each side of the window, G, and of these around the silhouette."""
POINTS_PER_SIDE = 4
"""Points along each side of the square that a sample is spread over, the square root of P."""
GAP_SPACINGS = 0.6
"""Half of the width of gaps between samples that are closed, distances between samples: some are left out by chance."""
SMOOTHING_SPACINGS = 0.25
"""Standard deviation over which outlines are smoothed, distances between samples: so uneven are their last rows."""
BAND_SPACINGS, MIN_BAND_PX = 0.6, 2.0
"""Distance from the outline of a silhouette up to which that of the proposal is taken instead: distances between
samples, and at least, pixels."""
REACH_CELLS = 3
"""Cells within which the model's depth counts at a pixel: that far a pose is off, and depth from color."""
MIN_PART_SHARE = 0.05
"""Share of the largest part of a mask below which another part is left out: specks of depth."""
HIDDEN_AROUND_PX = 5
"""Side of the square over most of which something has to be nearer for its middle to be hidden, pixels."""

Mask = NDArray[np.bool_]
FloatArray = NDArray[np.float32]


@dataclass(frozen=True)
class SilhouetteWindows:
    """Depth of K poses in windows around them.

    Attributes:
        depth_m: (K, G, G) float32, metres; +inf where there is no surface.
        origin: (K, 2) x and y of the window's corner, pixels.
        cell_px: (K,) side of a cell, pixels.
        spacing_px: (K,) distance between samples, pixels.
    """

    depth_m: FloatArray
    origin: FloatArray
    cell_px: FloatArray
    spacing_px: FloatArray


def fine_silhouettes(
    poses: PoseBatch, objects: ObjectSamples, spacing_m: Tensor, observed: ObservedMasks, proposals: Tensor
) -> Tensor:
    """Make the masks of detections.

    Args:
        poses: K poses.
        objects: Samples of the object of each.
        spacing_m: (K,) distances between these, metres.
        observed: Depth.
        proposals: (K, H, W) bool, the proposals that they are under.

    Returns:
        (K, H, W) bool, on the device of the proposals.
    """
    windows = _splat(poses, objects, spacing_m, observed)
    readings = observed.depth_m.cpu().numpy()
    masks = np.zeros(proposals.shape, bool)
    # OpenCV shares large masks out to threads itself; ours would wait for each other's short steps in Python
    for row, proposal in enumerate(proposals.cpu().numpy()):
        area = _pixels_of_window(windows, row, readings.shape)
        if area is not None:
            masks[row][area] = _mask_in_window(windows, row, area, readings[area], proposal[area], observed)
    return torch.from_numpy(masks).to(proposals.device)


def _splat(poses: PoseBatch, objects: ObjectSamples, spacing_m: Tensor, observed: ObservedMasks) -> SilhouetteWindows:
    """Render the nearest depth of what samples stand for."""
    fx, fy, cx, cy = observed.intrinsics
    centre_m = poses.centre_m[:, :, None]
    points_m, normals = poses.rotation @ objects.points_m + centre_m, poses.rotation @ objects.normals
    faces = (normals * points_m).sum(dim=1) < 0
    x, y, z = normals.unbind(dim=1)
    # two tangents that are at right angles to the normal and to each other (Duff et al., JCGT 2017)
    sign = torch.where(z >= 0, 1.0, -1.0)
    a = -1 / (sign + z)
    b = x * y * a
    one = torch.stack([1 + sign * x * x * a, sign * b, -sign * x], dim=1)
    other = torch.stack([b, sign + y * y * a, -y], dim=1)
    steps = (torch.arange(POINTS_PER_SIDE, device=z.device) + 0.5) / POINTS_PER_SIDE - 0.5
    across, along = (part.flatten() for part in torch.meshgrid(steps, steps, indexing="ij"))
    offsets = one[..., None] * across + other[..., None] * along
    x, y, z = (points_m[..., None] + spacing_m[:, None, None, None] * offsets).flatten(2).unbind(dim=1)
    depth = z.clamp(min=MIN_DEPTH_M)
    uv = torch.stack([x / depth * fx + cx, y / depth * fy + cy], dim=1)
    first, last = uv.amin(dim=2), uv.amax(dim=2)
    cell_px = ((last - first).amax(dim=1) / (CELLS - 2 * MARGIN_CELLS)).clamp(min=0.5)
    origin = (first + last) / 2 - cell_px[:, None] * (CELLS / 2)
    seen = depth.unflatten(1, (-1, POINTS_PER_SIDE**2)).where(faces[:, :, None], torch.inf).flatten(1)
    nearest, _ = splat_nearest((uv - origin[:, :, None]) / cell_px[:, None, None], seen, CELLS)
    spacing_px = spacing_m / poses.centre_m[:, 2].clamp(min=MIN_DEPTH_M) * (fx * fy) ** 0.5
    return SilhouetteWindows(*(part.cpu().numpy() for part in (nearest, origin, cell_px, spacing_px)))


def _pixels_of_window(windows: SilhouetteWindows, row: int, size: tuple[int, ...]) -> tuple[slice, slice] | None:
    """Rows and columns of the image that a window covers, or None where it is outside."""
    first = np.floor(windows.origin[row]).astype(int)
    last = np.ceil(windows.origin[row] + CELLS * windows.cell_px[row]).astype(int) + 1
    left, top = np.maximum(first, 0).tolist()
    right, bottom = np.minimum(last, [size[1], size[0]]).tolist()
    return (slice(top, bottom), slice(left, right)) if right > left and bottom > top else None


def _mask_in_window(
    windows: SilhouetteWindows,
    row: int,
    area: tuple[slice, slice],
    readings: FloatArray,
    proposal: Mask,
    observed: ObservedMasks,
) -> Mask:
    depth, cell_px, spacing_px = windows.depth_m[row], float(windows.cell_px[row]), float(windows.spacing_px[row])
    # closes gaps between samples, and holes that show the far side through the near one
    gap = np.ones((2 * math.ceil(GAP_SPACINGS * spacing_px / cell_px) + 1,) * 2, np.uint8)
    depth = cv2.dilate(cv2.erode(np.where(np.isfinite(depth), depth, np.float32(1e6)), gap), gap)
    covered = depth < 1e6
    if not covered.any():
        return np.zeros(proposal.shape, bool)
    around = np.ones((2 * REACH_CELLS + 1,) * 2, np.uint8)
    low = cv2.erode(depth, around)
    high = cv2.dilate(np.where(covered, depth, np.float32(-1e6)), around)
    tolerance = TOLERANCE_DEVIATIONS * observed.noise_m(torch.from_numpy(np.clip(low, 0, 1e3))).numpy()
    x, y = windows.origin[row]
    # a cell's value stands at its centre
    to_area = np.array(
        [[cell_px, 0, x + cell_px / 2 - area[1].start], [0, cell_px, y + cell_px / 2 - area[0].start]], np.float32
    )
    size = proposal.shape[::-1]
    smooth = cv2.GaussianBlur(covered.astype(np.float32), (0, 0), max(SMOOTHING_SPACINGS * spacing_px / cell_px, 0.6))
    silhouette = cv2.warpAffine(smooth, to_area, size, flags=cv2.INTER_LINEAR) > 0.5
    before, behind = (
        cv2.warpAffine(part, to_area, size, flags=cv2.INTER_NEAREST) for part in (low - tolerance, high + tolerance)
    )
    has_reading = (readings > 0) & silhouette
    nearer = has_reading & (readings < before)
    hidden = cv2.blur(nearer.astype(np.float32), (HIDDEN_AROUND_PX, HIDDEN_AROUND_PX)) > 0.5
    band_px = max(BAND_SPACINGS * spacing_px, MIN_BAND_PX)
    disk = _disk(band_px)
    is_rim = _near_outline(silhouette, disk)
    beyond = has_reading & is_rim & (readings > behind) & ~proposal
    visible = silhouette & ~hidden & ~beyond
    along_both = _near_outline(visible, disk) & _near_outline(proposal, disk)
    return _without_specks(np.where(along_both, proposal, visible), spacing_px)


def _without_specks(mask: Mask, spacing_px: float) -> Mask:
    """Leave out small parts of a mask, and what is thinner than half the distance between samples."""
    side = 2 * int(spacing_px / 2) + 1
    # most of what is around a pixel, as its median, which takes several times as long
    share = cv2.blur(mask.astype(np.float32), (side, side), borderType=cv2.BORDER_REPLICATE)
    count, labels, statistics, _ = cv2.connectedComponentsWithStats((share > 0.5).astype(np.uint8), connectivity=4)
    area = statistics[:, cv2.CC_STAT_AREA].copy()
    area[0] = 0  # what is no mask
    is_part = area >= MIN_PART_SHARE * max(int(area.max()), 1)
    return np.asarray(is_part[labels], bool) if count > 1 else mask


def _disk(radius_px: float) -> NDArray[np.uint8]:
    """Make the square of pixels, 1 up to a distance from its middle."""
    across = np.arange(-int(radius_px), int(radius_px) + 1) ** 2
    return (across[:, None] + across <= radius_px**2).astype(np.uint8)


def _near_outline(mask: Mask, disk: NDArray[np.uint8]) -> Mask:
    """Find what is as near to the outline of a mask as the disk is large; beyond the window it goes on.

    For a few pixels this is several times faster than a distance transform.
    """
    pixels = mask.view(np.uint8)
    return cv2.dilate(pixels, disk) != cv2.erode(pixels, disk)
