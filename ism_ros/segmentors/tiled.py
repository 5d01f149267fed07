"""Proposals of large frames by overlapping tiles: a segmentor sees the whole frame and each tile, at its input size.

Networks scale a frame to the size for which they were made, so that small things in large pictures are lost, and things
that are small and far off in any. What is found in the tiles is merged: of an object that two tiles cut, both see the
same part where they overlap.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from math import ceil

import numpy as np
import torch
from numpy.typing import NDArray

from ism_ros.data.boxes import mask_to_xywh
from ism_ros.data.camera import Camera
from ism_ros.data.frame import Frame
from ism_ros.data.proposals import Proposals
from ism_ros.segmentors.base import Segmentor

MIN_LARGE_PIXELS = 1_500_000
"""Pixels of a frame from which on `auto` makes tiles: more than those of 1280 x 720."""
MIN_OBJECT_RATIO = 0.115
"""Size of the smallest known object, as a ratio of a frame's side (the root of its area), below which `auto` makes
tiles of any frame: 32 of the 320 x 240 pixels that `tiny` sees. It is the diagonal of the object's box; what a picture
shows of it is half of that at times."""
MAX_TILES_FOR_OBJECTS = 3
"""Most tiles along each side for the sake of small objects."""
NEAR_SHARE = 0.25
"""Share of a frame's depth that is nearer than where objects are supposed to be."""
DEPTH_STEP_PX = 8
"""Rows and columns of depth of which one is looked at for that."""
MIN_TILE_SIDE_PX = 64
"""Least side of a tile; smaller frames have fewer tiles than were asked for."""
OVERLAP_RATIO = 0.2
"""Overlap of neighbouring tiles, as a ratio of the side of a tile. What is larger than that is large enough to be seen
in the whole frame."""
SEAM_RATIO = 0.01
"""Distance to the border of a tile, as a ratio of its side, within which a mask is taken for cut there."""
SAME_IN_OVERLAP_IOU = 0.5
"""IoU, where two tiles overlap, from which on two cut masks show one object."""
FRAGMENT_RATIO = 0.8
"""Share of a cut mask that lies in one that is not cut, from which on it is a part of that and dropped."""
SAME_OBJECT_IOU = 0.6
"""IoU of masks of two tiles above which the less confident is dropped. Lower than among those of one picture, as the
frame as a whole shows small things coarsely."""
MAX_MASK_BYTES = 2**30
"""Most memory of the masks of a frame; the least confident are dropped."""

Box = tuple[int, int, int, int]
"""First column and row, and the ones past the last."""


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


class TiledSegmentor:
    """A segmentor that sees large frames as a whole and by tiles; others as it would without."""

    def __init__(
        self, segmentor: Segmentor, tiles: str, tile_pixels: int | None = None, diameter_m: float | None = None
    ) -> None:
        """Wrap a segmentor.

        Args:
            segmentor: Sees the frame and the tiles.
            tiles: auto, off, or the number of tiles along each side.
            tile_pixels: Area of the tiles of `auto`; None = no tiles then.
            diameter_m: Of the smallest object that is looked for, metres; None = not known.
        """
        self._segmentor = segmentor
        self._tiles = tiles
        self._tile_pixels = tile_pixels
        self._diameter_m = diameter_m

    def for_objects(self, diameter_m: float | None) -> TiledSegmentor:
        """Make one that looks for objects of a known size.

        Args:
            diameter_m: Of the smallest, metres; None = not known.

        Returns:
            The same segmentor with tiles for such objects.
        """
        return TiledSegmentor(self._segmentor, self._tiles, self._tile_pixels, diameter_m)

    @property
    def name(self) -> str:
        """The name of the segmentor that sees the tiles."""
        return self._segmentor.name

    @property
    def is_small(self) -> bool:
        """Whether that segmentor is small."""
        return self._segmentor.is_small

    def propose(self, frame: Frame, stability_score_threshold: float | None = None) -> Proposals:
        """Find proposals in a frame.

        Args:
            frame: The frame.
            stability_score_threshold: As of the segmentor that sees the tiles.

        Returns:
            Its proposals, where the frame is not divided; else those of the whole frame and of the tiles, merged, most
            confident first.
        """
        whole = self._segmentor.propose(frame, stability_score_threshold)
        object_px = None if self._diameter_m is None else expected_size_px(frame, self._diameter_m)
        per_side = tiles_per_side(frame.height, frame.width, self._tiles, self._tile_pixels, object_px)
        if per_side == 1:
            return whole
        size, device = (frame.height, frame.width), whole.masks.device
        found = list(boxed_masks(whole, (0, 0, frame.width, frame.height), size))
        del whole  # its masks are as large as the frame
        for tile in tile_boxes(frame.height, frame.width, per_side):
            proposals = self._segmentor.propose(frame_of_tile(frame, tile), stability_score_threshold)
            found += boxed_masks(proposals, tile, size)
        return _proposals(merged_masks(found)[: max(1, MAX_MASK_BYTES // (size[0] * size[1]))], size, device)


def with_tiles(segmentor: Segmentor, tiles: str, tile_pixels: int | None) -> Segmentor:
    """Let a segmentor see large frames by tiles.

    Args:
        segmentor: The segmentor.
        tiles: auto, off, or the number of tiles along each side.
        tile_pixels: Area of the tiles of `auto`; None = no tiles then.

    Returns:
        The segmentor itself where no frame would be divided.
    """
    divides = tiles.isdigit() or (tiles == "auto" and tile_pixels is not None)
    return TiledSegmentor(segmentor, tiles, tile_pixels) if divides else segmentor


def with_tiles_for_objects(segmentor: Segmentor, diameters_m: Iterable[float | None]) -> Segmentor:
    """Let a segmentor that sees frames by tiles know what it is used to look for.

    Args:
        segmentor: Any.
        diameters_m: Of the objects that are looked for, metres; None = not known.

    Returns:
        The segmentor itself where it makes no tiles.
    """
    if not isinstance(segmentor, TiledSegmentor):
        return segmentor
    return segmentor.for_objects(min((size for size in diameters_m if size is not None), default=None))


def expected_size_px(frame: Frame, diameter_m: float) -> float | None:
    """Estimate how large an object would be seen in a frame: at the depth of what is near in it.

    Args:
        frame: The frame.
        diameter_m: Of the object, metres.

    Returns:
        Pixels; None without depth.
    """
    if frame.depth_m is None:
        return None
    depth_m = frame.depth_m[::DEPTH_STEP_PX, ::DEPTH_STEP_PX]
    depth_m = depth_m[depth_m > 0]
    if not len(depth_m):
        return None
    focal_px = (frame.camera.fx * frame.camera.fy) ** 0.5
    return float(focal_px * diameter_m / np.quantile(depth_m, NEAR_SHARE))


def tiles_per_side(
    height: int, width: int, tiles: str, tile_pixels: int | None, object_px: float | None = None
) -> int:
    """Decide into how many tiles along each side a frame is divided.

    Args:
        height: Of the frame, pixels.
        width: Of the frame, pixels.
        tiles: auto, off, or the number.
        tile_pixels: Area of the tiles of `auto`, about; None = no tiles then.
        object_px: Size of the smallest object that is looked for, pixels; None = not known.

    Returns:
        The number; 1 = none.
    """
    most = max(1, min(height, width) // MIN_TILE_SIDE_PX)
    if tiles.isdigit():
        return min(int(tiles), most)
    if tiles != "auto" or tile_pixels is None:
        return 1
    of_size, of_object = (1.0 if height * width < MIN_LARGE_PIXELS else (height * width / tile_pixels) ** 0.5), 1.0
    if object_px is not None:
        of_object = MIN_OBJECT_RATIO * (height * width) ** 0.5 / max(object_px, 1e-6)
    wanted = max(_tiles_of_share(of_size), min(_tiles_of_share(of_object), MAX_TILES_FOR_OBJECTS))
    return min(wanted, most)


def _tiles_of_share(times: float) -> int:
    """Number of tiles along a side that is `times` as long as each of them: 1, or 2 and more."""
    # n tiles that overlap by r are each 1 / (n - r (n - 1)) of the side
    return max(2, round((times - OVERLAP_RATIO) / (1 - OVERLAP_RATIO))) if times > 1 else 1


def tile_boxes(height: int, width: int, per_side: int) -> Iterator[Box]:
    """Divide a frame into tiles of one size that overlap by OVERLAP_RATIO.

    Args:
        height: Of the frame, pixels.
        width: Of the frame, pixels.
        per_side: Tiles along each side.

    Yields:
        The tiles, row by row.
    """
    rows, columns = (list(_spans(length, per_side)) for length in (height, width))
    for y_first, y_end in rows:
        for x_first, x_end in columns:
            yield x_first, y_first, x_end, y_end


def _spans(length: int, count: int) -> Iterator[tuple[int, int]]:
    """Divide a length, pixels, into overlapping spans (first, end) of one size."""
    side = min(length, ceil(length / (count - OVERLAP_RATIO * (count - 1))))
    for number in range(count):
        first = round(number * (length - side) / max(count - 1, 1))
        yield first, first + side


def frame_of_tile(frame: Frame, tile: Box) -> Frame:
    """Crop a frame and shift its camera.

    Args:
        frame: The frame.
        tile: Where to.

    Returns:
        What the same camera sees there.
    """
    x_first, y_first, x_end, y_end = tile
    window = slice(y_first, y_end), slice(x_first, x_end)
    intrinsics = frame.camera.intrinsics.copy()
    intrinsics[:2, 2] -= x_first, y_first
    return replace(
        frame,
        rgb=np.ascontiguousarray(frame.rgb[window]),
        depth_m=None if frame.depth_m is None else np.ascontiguousarray(frame.depth_m[window]),
        camera=Camera(intrinsics, x_end - x_first, y_end - y_first, is_cropped=True),
    )


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


def _proposals(masks: Sequence[BoxedMask], size: tuple[int, int], device: torch.device) -> Proposals:
    """Draw the masks at the frame's size."""
    drawn = torch.zeros((len(masks), *size), dtype=torch.bool, device=device)
    for one, mask in zip(drawn, masks, strict=True):
        x_first, y_first, x_end, y_end = mask.box
        one[y_first:y_end, x_first:x_end] = torch.from_numpy(mask.pixels).to(device)
    boxes = torch.tensor([[*mask.box[:2], mask.box[2] - 1, mask.box[3] - 1] for mask in masks]).view(-1, 4)
    confidence = torch.tensor([mask.confidence for mask in masks], device=device)
    return Proposals(drawn, confidence, boxes.to(device))
