"""SAM: automatic masks of the original Segment Anything Model."""

from __future__ import annotations

from functools import lru_cache
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn.functional import interpolate, pad

from ism_ros.checkpoints.catalog import find_checkpoint
from ism_ros.checkpoints.loaders.sam_checkpoint import DECODER_HEADS, load_sam
from ism_ros.runtime.model_request import ModelRequest
from ism_ros.runtime.out_of_memory import OutOfMemoryCounter
from ism_ros.runtime.precision import network_dtype
from ism_ros.segmentors.base import SAM6D_THRESHOLDS, SegmentorSpec
from ism_ros.segmentors.sam.automatic_masks import AutomaticMaskSegmentor, MaskOptions, mask_options
from ism_ros.segmentors.sam.image_crops import Size
from ism_ros.segmentors.sam.resized_masks import AxisResize, bilinear_matrix

MEAN_RGB = (123.675, 116.28, 103.53)
STD_RGB = (58.395, 57.12, 57.375)


def sam_segmentor(
    checkpoint: Path,
    device: str = "cpu",
    options: MaskOptions | None = None,
    decoder_heads: int = DECODER_HEADS,
    recoveries: OutOfMemoryCounter | None = None,
) -> AutomaticMaskSegmentor:
    """Automatic masks of a SAM checkpoint, an official file or a safetensors folder. Raises CheckpointError."""
    model = PromptableSam(load_sam(checkpoint, decoder_heads), device)
    return AutomaticMaskSegmentor("sam", model, options or MaskOptions(), recoveries)


class PromptableSam:
    """SAM with its image encoder in half precision on a GPU; points and masks stay float32, which they need."""

    def __init__(self, model: Any, device: str = "cpu") -> None:
        self.device = torch.device(device)
        self._model = model.to(self.device)
        self._side = int(model.config.vision_config.image_size)
        self._encoder_dtype = network_dtype(self.device)
        self._model.vision_encoder.to(self._encoder_dtype)

    def embed(self, image_rgb: NDArray[np.uint8]) -> tuple[Tensor, Size]:
        """The image embedding (1, C, h, w) and the image's height and width."""
        size = image_rgb.shape[0], image_rgb.shape[1]
        pixels = prepared(image_rgb, scaled_to_side(size, self._side), self._side, self.device)
        embedding = self._model.vision_encoder(pixels.to(self._encoder_dtype)).last_hidden_state
        return embedding.float(), size

    def predict(self, embedding: tuple[Tensor, Size], points_xy: Tensor) -> tuple[Tensor, Tensor]:
        """Small logits (N, 3, h, w) and predicted IoU (N, 3) for single points."""
        image, size = embedding
        height, width = scaled_to_side(size, self._side)
        scale = points_xy.new_tensor([width / size[1], height / size[0]])
        answer = self._model(
            image_embeddings=image,
            input_points=(points_xy * scale)[None, :, None],
            input_labels=torch.ones((1, len(points_xy), 1), dtype=torch.int64, device=self.device),
            multimask_output=True,
        )
        return answer.pred_masks[0], answer.iou_scores[0]

    def upscale(self, logits: Tensor, size: Size) -> Tensor:
        return upscaled(logits, self._side, size)

    def axes(self, size: Size) -> tuple[AxisResize, AxisResize]:
        return upscaling_axes(self._side, self._side // 4, size)

    def extent(self, size: Size) -> tuple[float, float]:
        height, width = scaled_to_side(size, self._side)
        small = self._side // 4
        return height * small / self._side, width * small / self._side


def scaled_to_side(size: Size, side: int) -> Size:
    """Height and width with the longer one `side` pixels."""
    scale = side / max(size)
    return int(size[0] * scale + 0.5), int(size[1] * scale + 0.5)


def upscaled(logits: Tensor, side: int, size: Size) -> Tensor:
    """Small logits (N, h, h) at the image's `size`: first to the encoder's square of `side` pixels, then what shows
    the image to that size, as the authors do.
    """
    height, width = scaled_to_side(size, side)
    factor = side / logits.shape[-1]
    # a row and a column more than show the image, so that the last ones have their neighbours
    needed = logits[:, None, : ceil(height / factor) + 1, : ceil(width / factor) + 1]
    square = interpolate(needed, scale_factor=factor, mode="bilinear", align_corners=False)
    return interpolate(square[:, :, :height, :width], size=size, mode="bilinear", align_corners=False)[:, 0]


@lru_cache(8)
def upscaling_axes(side: int, small: int, size: Size) -> tuple[AxisResize, AxisResize]:
    """`upscaled` along rows and columns, for small logits of `small` pixels a side."""

    def axis(length: int, scaled: int) -> AxisResize:
        factor = side / small
        before = min(small, ceil(scaled / factor) + 1)
        to_square = bilinear_matrix(scaled, before, 1 / factor)
        return AxisResize((bilinear_matrix(length, scaled) @ to_square).float())

    height, width = scaled_to_side(size, side)
    return axis(size[0], height), axis(size[1], width)


def prepared(image_rgb: NDArray[np.uint8], scaled: Size, side: int, device: torch.device) -> Tensor:
    """The encoder's input (1, 3, side, side): scaled, normalised, padded at the right and at the bottom."""
    image = Image.fromarray(image_rgb)
    if image.size != (scaled[1], scaled[0]):
        image = image.resize((scaled[1], scaled[0]), Image.Resampling.BILINEAR)
    pixels = torch.from_numpy(np.array(image)).to(device).permute(2, 0, 1).float()
    mean, std = (pixels.new_tensor(values)[:, None, None] for values in (MEAN_RGB, STD_RGB))
    return pad((pixels - mean) / std, (0, side - scaled[1], 0, side - scaled[0]))[None]


def load_requested_sam(request: ModelRequest) -> AutomaticMaskSegmentor:
    """Load the checkpoint that the request names, by default ViT-H."""
    checkpoint = find_checkpoint(request.checkpoints_dir, "sam", request.model or "vit_h")
    return sam_segmentor(checkpoint, request.device, mask_options(request), recoveries=request.recoveries)


SAM = SegmentorSpec(load_requested_sam, thresholds={"dinov2": SAM6D_THRESHOLDS}, requires=("transformers",))
