"""Masks of everything in an image by prompting a model with a grid of points, as segment-anything defines it.

Kirillov et al., Segment Anything, 2023, appendix B: a mask stays where the model thinks it is good (predicted IoU),
where moving the threshold changes little (stability), and where no better one has the same box. All of it happens on
the device, and on the model's small logits: only what stays is scaled up.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import ceil
from typing import Any, NamedTuple, Protocol

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import interpolate

from ism_ros.data.boxes import boxes_from_masks
from ism_ros.data.frame import Frame
from ism_ros.data.masks import mask_areas
from ism_ros.data.nms import nms
from ism_ros.data.proposals import Proposals
from ism_ros.runtime.model_request import ModelRequest
from ism_ros.runtime.out_of_memory import OutOfMemoryCounter, OutOfMemoryRetry
from ism_ros.segmentors.sam.resized_masks import AxisResize, measure_resized

Size = tuple[int, int]

STABILITY_OFFSET = 1.0
"""How far the threshold of the logits is moved up and down to see whether a mask is stable."""
CLOSE_PX = 4
"""Pixels that rounding may move across a level, with room."""
EDGE_PX = 20
"""A box so close to the border of a crop is of something that is cut off there."""


@dataclass(frozen=True)
class MaskOptions:
    """What is asked of automatic masks; the defaults are those of SAM-6D.

    width: images are scaled to it first, pixels; 0 = as they are. points_per_side: of the grid. predicted_iou,
    stability: least values, 0 = any. box_nms: largest box IoU of two masks of one crop. crop_layers: 1 also looks at
    2 x 2 crops, 2 at 4 x 4 more. crop_overlap: of neighbouring crops, as a share of the image's shorter side. crop_nms:
    largest box IoU of masks of different crops. crop_points_scale: the grid is so many times coarser in each layer.
    stability_margin: where the error that the small logits' stability may have, by the length of the mask's outline,
    times this leaves open whether a mask is stable, it is decided at full size; infinity decides all of them so, as the
    reference does.
    """

    width: int = 640
    points_per_side: int = 32
    predicted_iou: float = 0.88
    stability: float = 0.85
    box_nms: float = 0.7
    crop_layers: int = 0
    crop_overlap: float = 512 / 1500
    crop_nms: float = 0.7
    crop_points_scale: int = 1
    stability_margin: float = 1.0


def mask_options(request: ModelRequest) -> MaskOptions:
    """Read the options of automatic masks from the settings of a request."""
    return MaskOptions(
        **request.given(
            width="segmentor_width",
            points_per_side="points_per_side",
            predicted_iou="predicted_iou_threshold",
            stability="stability_score_threshold",
            crop_layers="crop_layers",
        )
    )


class Promptable(Protocol):
    """A model that gives masks for points in an image."""

    @property
    def device(self) -> torch.device: ...

    def embed(self, image_rgb: NDArray[np.uint8]) -> Any:
        """What `predict` needs to know of an image (H, W, 3)."""
        ...

    def predict(self, embedding: Any, points_xy: Tensor) -> tuple[Tensor, Tensor]:
        """Masks for points (N, 2) float32 in pixels of the image: small logits (N, M, h, w), predicted IoU (N, M)."""
        ...

    def upscale(self, logits: Tensor, size: Size) -> Tensor:
        """Small logits (N, h, w) at the size (height, width) of the image."""
        ...

    def axes(self, size: Size) -> tuple[AxisResize, AxisResize]:
        """`upscale` along the rows and along the columns of small logits (N, h, w); it leaves out the padding."""
        ...

    def extent(self, size: Size) -> tuple[float, float]:
        """How many rows and columns of the small logits show an image of `size`; the rest is padding."""
        ...


class Candidates(NamedTuple):
    """Masks of one crop. logits: (N, h, w). predicted_iou: (N,). boxes_xyxy: (N, 4) int64 in the crop."""

    logits: Tensor
    predicted_iou: Tensor
    boxes_xyxy: Tensor

    def at(self, rows: Tensor) -> Candidates:
        return Candidates(self.logits.index_select(0, rows), self.predicted_iou[rows], self.boxes_xyxy[rows])


class Crop(NamedTuple):
    """A part of the image: first and past-the-last column and row, and in which layer it is."""

    x_first: int
    y_first: int
    x_end: int
    y_end: int
    layer: int

    @property
    def size(self) -> Size:
        return self.y_end - self.y_first, self.x_end - self.x_first


class AutomaticMasks:
    """Asks `model` for masks everywhere. OutOfMemoryRetry that do not fit into memory are halved for good."""

    def __init__(
        self,
        model: Promptable,
        points_per_batch: int = 64,
        masks_per_batch: int = 32,
        recoveries: OutOfMemoryCounter | None = None,
    ) -> None:
        self._model = model
        self._points = OutOfMemoryRetry(points_per_batch, "point prompts", recoveries)
        self._masks = OutOfMemoryRetry(masks_per_batch, "masks", recoveries)

    @torch.inference_mode()
    def propose(self, image_rgb: NDArray[np.uint8], options: MaskOptions) -> Proposals:
        """Proposals of an image (H, W, 3), best predicted IoU first, masks at its size; none is an empty result."""
        height, width = image_rgb.shape[:2]
        image = scaled_to_width(image_rgb, options.width) if options.width else image_rgb
        size = image.shape[0], image.shape[1]
        crops = list(cut(size, options.crop_layers, options.crop_overlap))
        parts = [self._in_crop(image, crop, options) for crop in crops]
        if not sum(len(part.logits) for part in parts):
            return Proposals.empty(height, width, self._model.device)
        confidence = torch.cat([part.predicted_iou for part in parts])
        masks = torch.cat([self._masks_of(part, crop, size) for part, crop in zip(parts, crops, strict=True)])
        if len(crops) > 1:
            smallness = [1.0 / (crop.size[0] * crop.size[1]) for crop in crops]
            score = torch.cat([c.new_full((len(c),), s) for (_, c, _), s in zip(parts, smallness, strict=True)])
            kept = nms(boxes_from_masks(masks), score, options.crop_nms)
            masks, confidence = masks[kept], confidence[kept]
        best = confidence.argsort(descending=True, stable=True)
        return Proposals(self._at_size(masks[best], (height, width)), confidence[best].clamp(0.0, 1.0))

    def _in_crop(self, image: NDArray[np.uint8], crop: Crop, options: MaskOptions) -> Candidates:
        """What stays of the masks for all points in one crop."""
        size = crop.size
        embedding = self._model.embed(image[crop.y_first : crop.y_end, crop.x_first : crop.x_end])
        per_side = options.points_per_side // options.crop_points_scale**crop.layer
        points = point_grid(max(1, per_side), size).to(self._model.device)
        parts = self._points.run(
            len(points), lambda rows: self.select(*self._model.predict(embedding, points[rows]), size, options)
        )
        boxes = torch.cat([part.boxes_xyxy for part in parts])
        whole = torch.nonzero(~cut_off(boxes, crop, (image.shape[0], image.shape[1])))[:, 0]
        predicted_iou = torch.cat([part.predicted_iou for part in parts])
        best = torch.zeros(len(boxes), dtype=torch.bool, device=boxes.device)
        best[whole[nms(boxes[whole], predicted_iou[whole], options.box_nms)]] = True
        # logits are large: only those of the best are put together
        rows = best.split([len(part.logits) for part in parts])
        kept = [part.at(torch.nonzero(row)[:, 0]) for part, row in zip(parts, rows, strict=True)]
        return Candidates(*(torch.cat(column) for column in zip(*kept, strict=True)))

    def select(self, logits: Tensor, predicted_iou: Tensor, size: Size, options: MaskOptions) -> Candidates:
        """The good and stable ones of masks (N, M, h, w) with predicted IoU (N, M), of an image or crop of `size`."""
        logits, predicted_iou = logits.flatten(0, 1), predicted_iou.flatten()
        extent = self._model.extent(size)
        good = torch.nonzero((predicted_iou > options.predicted_iou) | (options.predicted_iou <= 0))[:, 0]
        least, most = stability_bounds(logits, good, extent, size, options.stability_margin)
        stable = torch.full_like(predicted_iou, -1.0)
        stable[good] = torch.where(most < options.stability, -1.0, 1.0)
        near = good[(least < options.stability) & (options.stability <= most) & (options.stability > 0)]
        stable[near], boxes_of_near = self._measured_at_full_size(logits, near, size, options.stability)
        kept = torch.nonzero(stable >= options.stability)[:, 0]
        # logits are large: only now are those that stay copied
        logits = logits.index_select(0, kept)
        boxes = near.new_full((len(stable), 4), -1)
        boxes[near] = boxes_of_near
        boxes = torch.where(boxes[kept] < 0, boxes_of_logits(shown(logits, extent), extent, size), boxes[kept])
        return Candidates(logits, predicted_iou[kept], boxes)

    def _measured_at_full_size(self, logits: Tensor, rows: Tensor, size: Size, least: float) -> tuple[Tensor, Tensor]:
        """Stability (K,) and boxes (K, 4) of the masks at `rows` of the small logits (N, h, w), at the size `size`;
        least: the stability that decides."""
        if logits.is_cuda:
            return self._measured_enlarged(logits, rows, size)
        down, along = self._model.axes(size)
        shown_logits = logits[rows, : down.matrix.shape[1], : along.matrix.shape[1]]
        strict, loose, boxes = measure_resized(shown_logits, down, along, STABILITY_OFFSET)
        stable = strict / loose.clamp(min=1)
        # rounding may move a pixel across a level: what hangs on that is enlarged as the reference does it
        close = torch.nonzero((stable - least).abs() * loose <= CLOSE_PX)[:, 0]
        stable[close], boxes[close] = self._measured_enlarged(logits, rows[close], size)
        return stable, boxes

    def _measured_enlarged(self, logits: Tensor, rows: Tensor, size: Size) -> tuple[Tensor, Tensor]:
        """The same, of the enlarged masks as a whole."""

        def measure(part: slice) -> tuple[Tensor, Tensor]:
            large = self._model.upscale(logits[rows[part]], size)
            return stability(large), boxes_from_masks(large > 0)

        empty = logits.new_zeros(0), torch.zeros((0, 4), dtype=torch.int64, device=logits.device)
        stable, boxes = zip(empty, *self._masks.run(len(rows), measure), strict=True)
        return torch.cat(stable), torch.cat(boxes)

    def _masks_of(self, found: Candidates, crop: Crop, size: Size) -> Tensor:
        """The masks of one crop in the whole image, (N, H, W) bool."""
        masks = torch.zeros((len(found.logits), *size), dtype=torch.bool, device=found.logits.device)

        def paint(rows: slice) -> None:
            inside = masks[rows, crop.y_first : crop.y_end, crop.x_first : crop.x_end]
            torch.gt(self._model.upscale(found.logits[rows], crop.size), 0.0, out=inside)

        self._masks.run(len(masks), paint)
        return masks

    def _at_size(self, masks: Tensor, size: Size) -> Tensor:
        """Masks scaled to `size`, the border where half of a pixel is covered."""
        if masks.shape[1:] == size:
            return masks
        scaled = torch.empty((len(masks), *size), dtype=torch.bool, device=masks.device)

        def scale(rows: slice) -> None:
            large = interpolate(masks[rows, None].float(), size=size, mode="bilinear", align_corners=False)
            torch.gt(large[:, 0], 0.5, out=scaled[rows])

        self._masks.run(len(masks), scale)
        return scaled


class AutomaticMaskSegmentor:
    """Automatic masks of `model` as a segmentor of whole frames."""

    is_small = False

    def __init__(
        self, name: str, model: Promptable, options: MaskOptions, recoveries: OutOfMemoryCounter | None = None
    ) -> None:
        self.name = name
        self._options = options
        self._masks = AutomaticMasks(model, recoveries=recoveries)

    def propose(self, frame: Frame, stability_score_threshold: float | None = None) -> Proposals:
        """Proposals of `frame`, best predicted IoU first; its depth is not looked at."""
        options = self._options
        if stability_score_threshold is not None:
            options = replace(options, stability=stability_score_threshold)
        return self._masks.propose(frame.rgb, options)


def scaled_to_width(image_rgb: NDArray[np.uint8], width: int) -> NDArray[np.uint8]:
    """The image (H, W, 3) at another width and the height that goes with it."""
    height = max(1, int(width * image_rgb.shape[0] / image_rgb.shape[1]))
    if image_rgb.shape[:2] == (height, width):
        return image_rgb
    return np.asarray(cv2.resize(image_rgb, (width, height)), dtype=np.uint8)


def point_grid(per_side: int, size: Size) -> Tensor:
    """Points (per_side ** 2, 2) in the middle of as many equal cells of an image, x then y, pixels."""
    line = (torch.arange(per_side, dtype=torch.float64) + 0.5) / per_side
    y, x = torch.meshgrid(line * size[0], line * size[1], indexing="ij")
    return torch.stack([x.flatten(), y.flatten()], dim=1).float()


def cut(size: Size, layers: int, overlap_share: float) -> Iterator[Crop]:
    """The whole image and, in layer i, 2^i x 2^i crops that overlap."""
    height, width = size
    yield Crop(0, 0, width, height, 0)
    for layer in range(1, layers + 1):
        a_side = 2**layer
        overlap = int(overlap_share * min(height, width) * (2 / a_side))
        crop_height, crop_width = (-(-(overlap * (a_side - 1) + length) // a_side) for length in size)
        for x in range(0, a_side * (crop_width - overlap), crop_width - overlap):
            for y in range(0, a_side * (crop_height - overlap), crop_height - overlap):
                yield Crop(x, y, min(x + crop_width, width), min(y + crop_height, height), layer)


def shown(logits: Tensor, extent: tuple[float, float]) -> Tensor:
    """The rows and columns of small logits (N, h, w) that show the image."""
    return logits[:, : ceil(extent[0]), : ceil(extent[1])]


def stability(logits: Tensor) -> Tensor:
    """IoU of each mask with a stricter threshold and with a looser one, (N, h, w) -> (N,) float32."""
    # as many at once as stay in the processor's cache between the two comparisons
    areas = [(mask_areas(part > STABILITY_OFFSET), mask_areas(part > -STABILITY_OFFSET)) for part in logits.split(64)]
    strict, loose = (torch.cat(column) for column in zip(*areas, strict=True))
    return strict / loose.clamp(min=1)


def stability_bounds(
    logits: Tensor, rows: Tensor, extent: tuple[float, float], size: Size, margin: float = 1.0
) -> tuple[Tensor, Tensor]:
    """Between what values the stability at full size lies, from the small logits.

    Wherever neighbouring small pixels lie on different sides of a threshold, the outline is somewhere between them: at
    most half a small pixel from where counting small pixels puts it, and at most half a large one from where counting
    large ones does. So the error of an area is at most that times the rows or columns that the outline crosses, which
    is much of a small mask's area and little of a large one's.

    Args:
        logits: (N, h, w), of which only `rows` (K,) are looked at.
        rows: Which ones, (K,) int64.
        extent: Rows and columns of the small logits that show the image.
        size: Height and width of the image.
        margin: How many times these errors are allowed for.

    Returns:
        The least and the largest value that the stability at full size may have, both (K,).
    """
    pixel = max(part / length for part, length in zip(extent, size, strict=True))
    margin = min(margin, 1e9)  # infinity times an outline of length 0 is no number
    empty = logits.new_zeros(0)
    least, most = [empty], [empty]
    # as many at once as stay in the processor's cache between the comparisons
    for some in rows.split(64):
        part = shown(logits[some], extent)
        (strict, strict_error), (loose, loose_error) = (
            _area_and_error(part > level, pixel) for level in (STABILITY_OFFSET, -STABILITY_OFFSET)
        )
        strict_error, loose_error = margin * strict_error, margin * loose_error
        least.append((strict - strict_error).clamp(min=0) / (loose + loose_error).clamp(min=1e-6))
        most.append((strict + strict_error) / (loose - loose_error).clamp(min=1e-6))
    return torch.cat(least), torch.cat(most)


def _area_and_error(masks: Tensor, pixel: float) -> tuple[Tensor, Tensor]:
    """Small pixels of masks (N, h, w) bool, and by how many that may be wrong. pixel: side of a large one."""
    along_rows = mask_areas(masks[:, :, 1:] ^ masks[:, :, :-1])
    along_columns = mask_areas(masks[:, 1:] ^ masks[:, :-1])
    crossings = torch.maximum(along_rows, along_columns).float()
    return mask_areas(masks).float(), 0.5 * (1 + pixel) * crossings


def boxes_of_logits(logits: Tensor, extent: tuple[float, float], size: Size) -> Tensor:
    """Boxes (N, 4) int64 that masks will have at `size`, from small logits (N, h, w) that show it up to `extent`.

    Where a mask ends between two small pixels is taken from where a line between their logits is 0.
    """
    columns, rows = logits.amax(dim=1), logits.amax(dim=2)
    x_first, x_last = _ends(columns, extent[1], size[1])
    y_first, y_last = _ends(rows, extent[0], size[0])
    filled = rows.amax(dim=1) > 0
    return torch.stack([x_first, y_first, x_last, y_last], dim=1) * filled[:, None]


def _ends(profile: Tensor, extent: float, length: int) -> tuple[Tensor, Tensor]:
    """The first and the last of `length` pixels that is above 0, from values (N, w) at the middles of w cells."""
    first = length - 1 - _last(profile.flip(1), profile.shape[1] - extent, extent, length)
    return first, _last(profile, 0.0, extent, length)


def _last(profile: Tensor, skipped: float, extent: float, length: int) -> Tensor:
    """The last pixel above 0; `skipped` cells before the first one that shows the image."""
    count = profile.shape[1]
    last = count - 1 - (profile > 0).flip(1).to(torch.uint8).argmax(dim=1)
    here = profile.gather(1, last[:, None])[:, 0]
    there = profile.gather(1, (last + 1).clamp(max=count - 1)[:, None])[:, 0]
    beyond = torch.where(last + 1 < count, here / (here - there).clamp(min=1e-6), torch.full_like(here, float(count)))
    pixel = ((last + beyond + 0.5 - skipped) * (length / extent) - 0.5).floor()
    return pixel.clamp(0, length - 1).long()


def cut_off(boxes_xyxy: Tensor, crop: Crop, size: Size) -> Tensor:
    """Which boxes (N, 4) in a crop end at its border where that is not the border of the image (of `size`), (N,)."""
    origin = boxes_xyxy.new_tensor([crop.x_first, crop.y_first] * 2)
    near_crop = ((boxes_xyxy + origin) - boxes_xyxy.new_tensor(crop[:4])).abs() <= EDGE_PX
    near_image = ((boxes_xyxy + origin) - boxes_xyxy.new_tensor([0, 0, size[1], size[0]])).abs() <= EDGE_PX
    return (near_crop & ~near_image).any(dim=1)
