"""The loops over samples: poses are rendered into windows, and the image is read at their cells.

H poses, K samples of an object, N masks, A cells of a padded window.
"""

from __future__ import annotations

import numpy as np

from ism_ros.refinement import step_limits
from ism_ros.refinement.compiled_loops import Poses
from ism_ros.runtime.compilation import HALF, ONE, ZERO, Float, Floats, compiled, compiled_part
from ism_ros.verification.evidence import terms
from ism_ros.verification.evidence.compiled_layout import (
    AREA,
    CELLS,
    FAR_M,
    PADDING,
    STRIDE,
    Image,
    Integers,
    Surfaces,
    Windows,
)

MIN_DEPTH_M, MIN_CELL_PX = Float(step_limits.MIN_DEPTH_M), Float(terms.MIN_CELL_PX)
SILHOUETTE_CELLS, HALF_WINDOW = Float(terms.SILHOUETTE_CELLS), Float(CELLS / 2)
LAST_CELL = Float(CELLS - 1)


@compiled
def fill_windows(poses: Poses, samples: Surfaces, image: Image, intrinsics: Floats, windows: Windows) -> None:
    """Render poses into windows and read the image there.

    Args:
        poses: H poses.
        samples: Of their objects.
        image: What they are compared with.
        intrinsics: (4,) fx, fy, cx, cy, pixels.
        windows: That are filled in.
    """
    count = samples.points_m.shape[2]
    projected, cell = np.empty((4, count), np.float32), np.empty(count, np.int32)
    for pose in range(len(poses.rotation)):
        left, top, right, bottom = _project(
            poses.rotation[pose],
            poses.centre_m[pose],
            samples.points_m[pose],
            samples.normals[pose],
            intrinsics,
            projected,
        )
        cell_px = max(max(right - left, bottom - top) / SILHOUETTE_CELLS, MIN_CELL_PX)
        corner_x = (left + right) * HALF - cell_px * HALF_WINDOW
        corner_y = (top + bottom) * HALF - cell_px * HALF_WINDOW
        windows.cell_px[pose], windows.origin[pose, 0], windows.origin[pose, 1] = cell_px, corner_x, corner_y
        _find_cells(projected, corner_x, corner_y, cell_px, cell)
        _splat(projected, cell, windows.nearest_m[pose], windows.sample[pose])
        _read_image(pose, poses.mask_index[pose], image, windows)


@compiled_part
def _project(
    rotation: Floats, centre_m: Floats, points_m: Floats, normals: Floats, intrinsics: Floats, projected: Floats
) -> tuple[float, float, float, float]:
    """Project the samples (3, K) of a pose.

    `projected` (4, K) is filled in: columns and rows, pixels, depth, and depth once more, FAR_M of samples that face
    away, which would be seen through the gaps between those before them.

    Returns:
        Least column and row, largest column and row.
    """
    fx, fy, cx, cy = intrinsics[0], intrinsics[1], intrinsics[2], intrinsics[3]
    centre_x, centre_y, centre_z = centre_m[0], centre_m[1], centre_m[2]
    xx, xy, xz = rotation[0, 0], rotation[0, 1], rotation[0, 2]
    yx, yy, yz = rotation[1, 0], rotation[1, 1], rotation[1, 2]
    zx, zy, zz = rotation[2, 0], rotation[2, 1], rotation[2, 2]
    # the centre as seen from the camera, in the axes of the object
    from_x = xx * centre_x + yx * centre_y + zx * centre_z
    from_y = xy * centre_x + yy * centre_y + zy * centre_z
    from_z = xz * centre_x + yz * centre_y + zz * centre_z
    left = top = Float(1e9)
    right = bottom = Float(-1e9)
    for sample in range(points_m.shape[1]):
        x, y, z = points_m[0, sample], points_m[1, sample], points_m[2, sample]
        depth_m = max(zx * x + zy * y + zz * z + centre_z, MIN_DEPTH_M)
        column = (xx * x + xy * y + xz * z + centre_x) / depth_m * fx + cx
        row = (yx * x + yy * y + yz * z + centre_y) / depth_m * fy + cy
        normal = normals[0, sample], normals[1, sample], normals[2, sample]
        along_ray = normal[0] * (x + from_x) + normal[1] * (y + from_y) + normal[2] * (z + from_z)
        projected[0, sample], projected[1, sample], projected[2, sample] = column, row, depth_m
        projected[3, sample] = depth_m if along_ray < ZERO else FAR_M
        left, right = min(left, column), max(right, column)
        top, bottom = min(top, row), max(bottom, row)
    return left, top, right, bottom


@compiled_part
def _find_cells(projected: Floats, corner_x: float, corner_y: float, cell_px: float, cell: Integers) -> None:
    """Find the cell of each sample in its padded window."""
    for sample in range(len(cell)):
        column = min(max(np.floor((projected[0, sample] - corner_x) / cell_px), ZERO), LAST_CELL)
        row = min(max(np.floor((projected[1, sample] - corner_y) / cell_px), ZERO), LAST_CELL)
        index = np.int32((row + Float(PADDING)) * Float(STRIDE) + (column + Float(PADDING)))
        cell[sample] = min(max(index, np.int32(0)), np.int32(AREA - 1))


@compiled_part
def _splat(projected: Floats, cell: Integers, nearest_m: Floats, chosen: Integers) -> None:
    """Find the least depth of the samples in each cell, and of those that are as near the last."""
    nearest_m[:] = FAR_M
    for sample in range(len(cell)):
        at = cell[sample]
        nearest_m[at] = min(nearest_m[at], projected[3, sample])
    for sample in range(len(cell)):
        at = cell[sample]
        # others are written to a cell of the padding
        chosen[at if projected[2, sample] <= nearest_m[at] else 0] = sample


@compiled_part
def _read_image(pose: int, mask: int, image: Image, windows: Windows) -> None:
    """Read depth and mask in the middle of each cell of a window."""
    height, width = image.depth_m.shape
    corner_x, corner_y, cell_px = windows.origin[pose, 0], windows.origin[pose, 1], windows.cell_px[pose]
    depth_m, in_mask = windows.depth_m[pose], windows.mask[pose]
    in_image, pixel = windows.in_image[pose], windows.pixel[pose]
    columns, are_inside = np.empty(CELLS, np.int32), np.empty(CELLS, np.float32)
    for cell in range(CELLS):
        columns[cell], are_inside[cell] = _nearest_pixel(corner_x + (Float(cell) + HALF) * cell_px, width)
    for cell_row in range(CELLS):
        row, is_inside = _nearest_pixel(corner_y + (Float(cell_row) + HALF) * cell_px, height)
        first = (cell_row + PADDING) * STRIDE + PADDING
        for cell in range(CELLS):
            column, inside = columns[cell], is_inside * are_inside[cell]
            depth_m[first + cell] = image.depth_m[row, column] * inside
            in_mask[first + cell] = inside if image.masks[mask, row, column] else ZERO
            in_image[first + cell] = inside
            pixel[first + cell] = row * width + column


@compiled_part
def _nearest_pixel(at_px: float, size: int) -> tuple[np.int32, np.float32]:
    """Find the nearest pixel of a row or column of the image, and whether the point lies in it (1 or 0)."""
    position = np.floor(at_px + HALF)
    pixel = min(max(np.int32(position), np.int32(0)), np.int32(size - 1))
    return pixel, ONE if Float(pixel) == position else ZERO
