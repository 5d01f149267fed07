"""Proposals of large frames by overlapping tiles: a segmentor sees the whole frame and each tile, at its input size.

Networks scale a frame to the size for which they were made, so that small things in large pictures are lost, and things
that are small and far off in any. `tile_layout.py` tells where tiles lie, `tile_merging.py` merges what is found there.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch

from ism_ros.data.frame import Frame
from ism_ros.data.proposals import Proposals
from ism_ros.segmentors.base import Segmentor
from ism_ros.segmentors.tile_layout import expected_size_px, frame_of_tile, tile_boxes, tiles_per_side
from ism_ros.segmentors.tile_merging import BoxedMask, boxed_masks, merged_masks

MAX_MASK_BYTES = 2**30
"""Most memory of the masks of a frame; the least confident are dropped."""


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


def _proposals(masks: Sequence[BoxedMask], size: tuple[int, int], device: torch.device) -> Proposals:
    """Draw the masks at the frame's size."""
    drawn = torch.zeros((len(masks), *size), dtype=torch.bool, device=device)
    for one, mask in zip(drawn, masks, strict=True):
        x_first, y_first, x_end, y_end = mask.box
        one[y_first:y_end, x_first:x_end] = torch.from_numpy(mask.pixels).to(device)
    boxes = torch.tensor([[*mask.box[:2], mask.box[2] - 1, mask.box[3] - 1] for mask in masks]).view(-1, 4)
    confidence = torch.tensor([mask.confidence for mask in masks], device=device)
    return Proposals(drawn, confidence, boxes.to(device))
