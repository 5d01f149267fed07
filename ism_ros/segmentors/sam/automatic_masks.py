"""Masks of everything in an image by prompting a model, with a grid of points as segment-anything defines it.

Kirillov et al., Segment Anything, 2023, appendix B: a mask stays where the model thinks it is good (predicted IoU),
where moving the threshold changes little (stability), and where no better one has the same box. All of it happens on
the device, and on the model's small logits: only what stays is scaled up.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import interpolate

from ism_ros.data.boxes import boxes_from_masks
from ism_ros.data.frame import Frame
from ism_ros.data.nms import nms
from ism_ros.data.proposals import Proposals
from ism_ros.runtime.model_request import ModelRequest
from ism_ros.runtime.out_of_memory import OutOfMemoryCounter, OutOfMemoryRetry
from ism_ros.segmentors.sam.image_crops import (
    Crop,
    Size,
    generate_crop_boxes,
    is_box_near_crop_edge,
    resize_to_width,
)
from ism_ros.segmentors.sam.mask_stability import (
    STABILITY_OFFSET,
    boxes_of_logits,
    stability_bounds,
    stability_score,
    valid_region,
)
from ism_ros.segmentors.sam.promptable import CropPrompts, Promptable
from ism_ros.segmentors.sam.prompts import Prompter, grid_prompts
from ism_ros.segmentors.sam.resized_masks import measure_resized

CLOSE_PX = 4
"""Pixels that rounding may move across a threshold, with a margin."""


@dataclass(frozen=True)
class MaskOptions:
    """Options of automatic masks; the defaults are those of SAM-6D.

    Attributes:
        width: Width that images are scaled to first, pixels; 0 = as they are.
        points_per_side: Points along each side of the grid of prompts.
        predicted_iou: Least predicted IoU of a mask; 0 = any.
        stability: Least stability score of a mask; 0 = any.
        box_nms: Largest box IoU of two masks of one crop.
        crop_layers: Layers of crops besides the whole image: 1 adds 2 x 2 crops, 2 adds 4 x 4 more.
        crop_overlap: Overlap of neighbouring crops, as a ratio of the image's shorter side.
        crop_nms: Largest box IoU of two masks of different crops.
        crop_points_scale: Factor by which the grid is coarser in each layer.
        stability_margin: Factor on the error bound of the stability of low-resolution logits (mask_stability). Where
            the bound leaves open whether a mask is stable, its stability is computed at full size; infinity computes
            all of them at full size, as the reference does.
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


def mask_options(request: ModelRequest, defaults: MaskOptions = MaskOptions()) -> MaskOptions:
    """Read the options of automatic masks from the settings of a request.

    Args:
        request: Its settings.
        defaults: Of the model, for the settings that the request leaves out.

    Returns:
        The options.
    """
    return replace(
        defaults,
        **request.given(
            width="segmentor_width",
            points_per_side="points_per_side",
            predicted_iou="predicted_iou_threshold",
            stability="stability_score_threshold",
            crop_layers="crop_layers",
        ),
    )


class Candidates(NamedTuple):
    """Masks of one crop.

    Attributes:
        logits: (N, h, w) low-resolution logits.
        predicted_iou: (N,).
        boxes_xyxy: (N, 4) int64, inclusive pixels of the crop.
    """

    logits: Tensor
    predicted_iou: Tensor
    boxes_xyxy: Tensor

    @staticmethod
    def empty(device: torch.device) -> Candidates:
        """Make no masks, on `device`."""
        boxes = torch.zeros((0, 4), dtype=torch.int64, device=device)
        return Candidates(torch.zeros((0, 1, 1), device=device), torch.zeros(0, device=device), boxes)

    def at(self, rows: Tensor) -> Candidates:
        """Return the masks at `rows`, (K,) int64."""
        return Candidates(self.logits.index_select(0, rows), self.predicted_iou[rows], self.boxes_xyxy[rows])


class AutomaticMasks:
    """Generator of automatic masks. Batches that do not fit into memory are halved for good."""

    def __init__(
        self,
        model: Promptable,
        points_per_batch: int = 64,
        masks_per_batch: int = 32,
        recoveries: OutOfMemoryCounter | None = None,
    ) -> None:
        """Prepare batches.

        Args:
            model: Predicts the masks.
            points_per_batch: Points whose masks are predicted at once.
            masks_per_batch: Masks that are upscaled at once.
            recoveries: Counts where memory ran out.
        """
        self._model = model
        self._points = OutOfMemoryRetry(points_per_batch, "point prompts", recoveries)
        self._masks = OutOfMemoryRetry(masks_per_batch, "masks", recoveries)

    @torch.inference_mode()
    def propose(
        self, image_rgb: NDArray[np.uint8], options: MaskOptions, prompts: CropPrompts | None = None
    ) -> Proposals:
        """Find masks of everything in an image.

        Args:
            image_rgb: (H, W, 3) uint8.
            options: Grid, thresholds and crops.
            prompts: Prompts of each crop; None = the grid of the options.

        Returns:
            Proposals, best predicted IoU first, masks at the image's size; N = 0 where none passes the thresholds.
        """
        height, width = image_rgb.shape[:2]
        image = resize_to_width(image_rgb, options.width) if options.width else image_rgb
        size = image.shape[0], image.shape[1]
        crops = list(generate_crop_boxes(size, options.crop_layers, options.crop_overlap))
        prompts = prompts or grid_prompts(options.points_per_side, options.crop_points_scale)
        parts = [self._in_crop(image, crop, options, prompts) for crop in crops]
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

    def _in_crop(self, image: NDArray[np.uint8], crop: Crop, options: MaskOptions, prompts: CropPrompts) -> Candidates:
        """Select the masks for all prompts in one crop."""
        points, given_boxes = prompts(crop, (image.shape[0], image.shape[1]))
        if not len(points) + len(given_boxes):
            return Candidates.empty(self._model.device)
        embedding = self._model.embed(image[crop.y_first : crop.y_end, crop.x_first : crop.x_end])
        parts = self._predicted(self._model.predict, embedding, points, crop.size, options)
        if len(given_boxes):
            parts += self._predicted(self._model.predict_boxes, embedding, given_boxes, crop.size, options)
        boxes = torch.cat([part.boxes_xyxy for part in parts])
        whole = torch.nonzero(~is_box_near_crop_edge(boxes, crop, (image.shape[0], image.shape[1])))[:, 0]
        predicted_iou = torch.cat([part.predicted_iou for part in parts])
        best = torch.zeros(len(boxes), dtype=torch.bool, device=boxes.device)
        best[whole[nms(boxes[whole], predicted_iou[whole], options.box_nms)]] = True
        # logits are large: only those of the best are concatenated
        rows = best.split([len(part.logits) for part in parts])
        kept = [part.at(torch.nonzero(row)[:, 0]) for part, row in zip(parts, rows, strict=True)]
        return Candidates(*(torch.cat(column) for column in zip(*kept, strict=True)))

    def _predicted(
        self,
        predict: Callable[[Any, Tensor], tuple[Tensor, Tensor]],
        embedding: Any,
        prompts: Tensor,
        size: Size,
        options: MaskOptions,
    ) -> list[Candidates]:
        """Select the masks that `predict` gives for prompts (N, ...) of one kind, in batches."""
        prompts = prompts.to(self._model.device)
        return self._points.run(
            len(prompts), lambda rows: self.select(*predict(embedding, prompts[rows]), size, options)
        )

    def select(self, logits: Tensor, predicted_iou: Tensor, size: Size, options: MaskOptions) -> Candidates:
        """Select good and stable masks.

        Args:
            logits: (N, M, h, w) low-resolution logits.
            predicted_iou: (N, M).
            size: Height and width of the image or crop, pixels.
            options: Thresholds.

        Returns:
            Those with a predicted IoU above, and a stability score of at least, the thresholds.
        """
        logits, predicted_iou = logits.flatten(0, 1), predicted_iou.flatten()
        extent = self._model.extent(size)
        good = torch.nonzero((predicted_iou > options.predicted_iou) | (options.predicted_iou <= 0))[:, 0]
        least, most = stability_bounds(logits, good, extent, size, options.stability_margin)
        stable = torch.full_like(predicted_iou, -1.0)
        stable[good] = torch.where(most < options.stability, -1.0, 1.0)
        near = good[(least < options.stability) & (options.stability <= most) & (options.stability > 0)]
        stable[near], boxes_of_near = self._measured_at_full_size(logits, near, size, options.stability)
        kept = torch.nonzero(stable >= options.stability)[:, 0]
        # logits are large: only those that are kept are copied
        logits = logits.index_select(0, kept)
        boxes = near.new_full((len(stable), 4), -1)
        boxes[near] = boxes_of_near
        boxes = torch.where(boxes[kept] < 0, boxes_of_logits(valid_region(logits, extent), extent, size), boxes[kept])
        return Candidates(logits, predicted_iou[kept], boxes)

    def _measured_at_full_size(self, logits: Tensor, rows: Tensor, size: Size, least: float) -> tuple[Tensor, Tensor]:
        """Measure stability (K,) and boxes (K, 4) at full `size`, of the masks at `rows` of logits (N, h, w).

        `least` is the stability threshold: masks that rounding could move across it are upscaled as a whole.
        """
        if logits.is_cuda:
            return self._measured_enlarged(logits, rows, size)
        down, along = self._model.axes(size)
        valid_logits = logits[rows, : down.matrix.shape[1], : along.matrix.shape[1]]
        strict, loose, boxes = measure_resized(valid_logits, down, along, STABILITY_OFFSET)
        stable = strict / loose.clamp(min=1)
        # rounding may move a pixel across a threshold: masks that depend on it are upscaled as in the reference
        close = torch.nonzero((stable - least).abs() * loose <= CLOSE_PX)[:, 0]
        stable[close], boxes[close] = self._measured_enlarged(logits, rows[close], size)
        return stable, boxes

    def _measured_enlarged(self, logits: Tensor, rows: Tensor, size: Size) -> tuple[Tensor, Tensor]:
        """Measure the same from the upscaled masks as a whole."""

        def measure(part: slice) -> tuple[Tensor, Tensor]:
            large = self._model.upscale(logits[rows[part]], size)
            return stability_score(large), boxes_from_masks(large > 0)

        empty = logits.new_zeros(0), torch.zeros((0, 4), dtype=torch.int64, device=logits.device)
        stable, boxes = zip(empty, *self._masks.run(len(rows), measure), strict=True)
        return torch.cat(stable), torch.cat(boxes)

    def _masks_of(self, found: Candidates, crop: Crop, size: Size) -> Tensor:
        """Draw the masks of one crop in the whole image, (N, H, W) bool."""
        masks = torch.zeros((len(found.logits), *size), dtype=torch.bool, device=found.logits.device)

        def draw(rows: slice) -> None:
            inside = masks[rows, crop.y_first : crop.y_end, crop.x_first : crop.x_end]
            torch.gt(self._model.upscale(found.logits[rows], crop.size), 0.0, out=inside)

        self._masks.run(len(masks), draw)
        return masks

    def _at_size(self, masks: Tensor, size: Size) -> Tensor:
        """Scale masks to `size`; a pixel is inside where more than half of it is covered."""
        if masks.shape[1:] == size:
            return masks
        scaled = torch.empty((len(masks), *size), dtype=torch.bool, device=masks.device)

        def scale(rows: slice) -> None:
            large = interpolate(masks[rows, None].float(), size=size, mode="bilinear", align_corners=False)
            torch.gt(large[:, 0], 0.5, out=scaled[rows])

        self._masks.run(len(masks), scale)
        return scaled


class AutomaticMaskSegmentor:
    """Automatic masks as a segmentor of whole frames."""

    is_small = False

    def __init__(
        self,
        name: str,
        model: Promptable,
        options: MaskOptions,
        recoveries: OutOfMemoryCounter | None = None,
        prompter: Prompter | None = None,
    ) -> None:
        """Wrap a model.

        Args:
            name: Name of the segmentor.
            model: Predicts the masks.
            options: Grid, thresholds and crops.
            recoveries: Counts where memory ran out.
            prompter: Makes the prompts of each frame; None = the grid of the options.
        """
        self.name = name
        self._options = options
        self._prompter = prompter
        self._masks = AutomaticMasks(model, recoveries=recoveries)

    def propose(self, frame: Frame, stability_score_threshold: float | None = None) -> Proposals:
        """Find proposals in a frame.

        Args:
            frame: The frame; only guided prompts use its depth.
            stability_score_threshold: Least stability score of a mask; None = that of the options.

        Returns:
            Proposals, best predicted IoU first, masks at the frame's size.
        """
        options = self._options
        if stability_score_threshold is not None:
            options = replace(options, stability=stability_score_threshold)
        return self._masks.propose(frame.rgb, options, self._prompter and self._prompter(frame))
