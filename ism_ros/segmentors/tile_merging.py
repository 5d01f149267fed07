"""Masks of overlapping tiles merged: of an object that two tiles cut, both see the same part where they overlap."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ism_ros.data.boxes import mask_to_xywh
from ism_ros.data.proposals import Proposals
from ism_ros.segmentors.tile_layout import Box

SEAM_RATIO = 0.01
"""Distance to the border of a tile, as a ratio of its side, within which a mask is taken for cut there."""
SAME_IN_OVERLAP_IOU = 0.5
"""IoU, where two tiles overlap, from which on two cut masks show one object."""
FRAGMENT_RATIO = 0.8
"""Share of a cut mask that lies in one that is not cut, from which on it is a part of that and dropped."""
SAME_OBJECT_IOU = 0.6
"""IoU of masks of two tiles above which the less confident is dropped. Lower than among those of one picture, as the
frame as a whole shows small things coarsely."""


@dataclass(frozen=True, eq=False)
class BoxedMask:
    """A mask within its tight box, so that hundreds of them in large frames take little memory.

    Attributes:
        box: Of the frame.
        pixels: (h, w) bool, of the size of the box.
        area: Pixels inside.
        confidence: In [0, 1].
        tile: Where it was found; the whole frame, too, is one.
        is_cut: Whether it ends at a border of the tile that is not one of the frame.
    """

    box: Box
    pixels: NDArray[np.bool_]
    area: int
    confidence: float
    tile: Box
    is_cut: bool


def boxed_masks(proposals: Proposals, tile: Box, frame_size: tuple[int, int]) -> Iterator[BoxedMask]:
    """Cut the masks of a tile out at their boxes.

    Args:
        proposals: Of the tile.
        tile: The tile.
        frame_size: Height and width of the frame, pixels.

    Yields:
        One for each mask that is not empty.
    """
    height, width = frame_size
    for mask, confidence in zip(proposals.masks.cpu().numpy(), proposals.confidence.tolist(), strict=True):
        x, y, columns, rows = mask_to_xywh(mask)
        if not columns:
            continue
        box = x + tile[0], y + tile[1], x + tile[0] + columns, y + tile[1] + rows
        seam_px = SEAM_RATIO * max(tile[2] - tile[0], tile[3] - tile[1])
        is_cut = any(
            abs(end - border) <= seam_px and border != of_frame
            for end, border, of_frame in zip(box, tile, (0, 0, width, height), strict=True)
        )
        pixels = mask[y : y + rows, x : x + columns].copy()
        yield BoxedMask(box, pixels, int(np.count_nonzero(pixels)), confidence, tile, is_cut)


def merged_masks(masks: Sequence[BoxedMask]) -> list[BoxedMask]:
    """Merge what was found in overlapping tiles.

    Args:
        masks: Of all tiles.

    Returns:
        Masks that were cut joined with their other parts; neither parts that were cut off others, nor what two tiles
        show; the most confident first.
    """
    groups = _groups([mask for mask in masks if mask.is_cut])
    whole = [mask for mask in masks if not mask.is_cut] + [_joined(group) for group in groups if len(group) > 1]
    alone = [group[0] for group in groups if len(group) == 1]
    whole += [mask for mask in alone if not any(_shared(mask, one) >= FRAGMENT_RATIO * mask.area for one in whole)]
    kept: list[BoxedMask] = []
    for mask in sorted(whole, key=lambda mask: -mask.confidence):
        if not any(mask.tile != better.tile and _iou_is_above(mask, better, SAME_OBJECT_IOU) for better in kept):
            kept.append(mask)
    return kept


def _groups(masks: Sequence[BoxedMask]) -> list[list[BoxedMask]]:
    """Group cut masks by the object that they show: those that agree where their tiles overlap, and so on."""
    groups: list[list[BoxedMask]] = []
    for mask in masks:
        same = [group for group in groups if any(_agree_in_overlap(mask, other) for other in group)]
        groups = [group for group in groups if not any(group is one for one in same)]
        groups.append([mask, *(other for group in same for other in group)])
    return groups


def _agree_in_overlap(first: BoxedMask, second: BoxedMask) -> bool:
    """Tell whether two masks of different tiles are about the same where both tiles look."""
    overlap = _intersection(first.tile, second.tile)
    if first.tile == second.tile or overlap is None:
        return False
    areas = [int(np.count_nonzero(_window(mask, overlap))) for mask in (first, second)]
    shared = _shared(first, second)
    return shared > 0 and shared >= SAME_IN_OVERLAP_IOU * (sum(areas) - shared)


def _joined(masks: Sequence[BoxedMask]) -> BoxedMask:
    """Join the parts of one object; its confidence is the least of theirs."""
    boxes = np.array([mask.box for mask in masks])
    (x_first, y_first), (x_end, y_end) = boxes[:, :2].min(axis=0).tolist(), boxes[:, 2:].max(axis=0).tolist()
    pixels = np.zeros((y_end - y_first, x_end - x_first), bool)
    for mask in masks:
        x, y = mask.box[0] - x_first, mask.box[1] - y_first
        pixels[y : y + mask.pixels.shape[0], x : x + mask.pixels.shape[1]] |= mask.pixels
    confidence = min(mask.confidence for mask in masks)
    box = x_first, y_first, x_end, y_end
    return BoxedMask(box, pixels, int(np.count_nonzero(pixels)), confidence, box, False)


def _iou_is_above(first: BoxedMask, second: BoxedMask, least: float) -> bool:
    if min(first.area, second.area) <= least * max(first.area, second.area):
        return False
    shared = _shared(first, second)
    return shared > least * (first.area + second.area - shared)


def _shared(first: BoxedMask, second: BoxedMask) -> int:
    """Count the pixels that are in both."""
    common = _intersection(first.box, second.box)
    if common is None:
        return 0
    return int(np.count_nonzero(_window(first, common) & _window(second, common)))


def _intersection(first: Box, second: Box) -> Box | None:
    x_first, y_first = max(first[0], second[0]), max(first[1], second[1])
    x_end, y_end = min(first[2], second[2]), min(first[3], second[3])
    return (x_first, y_first, x_end, y_end) if x_first < x_end and y_first < y_end else None


def _window(mask: BoxedMask, box: Box) -> NDArray[np.bool_]:
    """Return the pixels of a mask that lie in a box of the frame."""
    x, y = mask.box[:2]
    rows, columns = slice(max(0, box[1] - y), max(0, box[3] - y)), slice(max(0, box[0] - x), max(0, box[2] - x))
    return mask.pixels[rows, columns]
