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
from ism_ros.networks.network_runners import NetworkRunner, TorchRunner, requested_runner
from ism_ros.networks.sam_networks import sam_exports
from ism_ros.runtime.model_request import ModelRequest
from ism_ros.runtime.out_of_memory import OutOfMemoryCounter
from ism_ros.segmentors.base import SAM6D_THRESHOLDS, SegmentorSpec
from ism_ros.segmentors.sam.automatic_masks import AutomaticMaskSegmentor, MaskOptions, mask_options
from ism_ros.segmentors.sam.image_crops import Size
from ism_ros.segmentors.sam.prompts import Prompter, requested_prompter
from ism_ros.segmentors.sam.resized_masks import AxisResize, bilinear_matrix

MEAN_RGB = (123.675, 116.28, 103.53)
STD_RGB = (58.395, 57.12, 57.375)
"""Mean and standard deviation by which SAM normalises colors in [0, 255]."""


def sam_segmentor(
    checkpoint: Path,
    device: str = "cpu",
    options: MaskOptions | None = None,
    decoder_heads: int = DECODER_HEADS,
    recoveries: OutOfMemoryCounter | None = None,
    dtype: torch.dtype | None = None,
    prompter: Prompter | None = None,
    runner: NetworkRunner | None = None,
) -> AutomaticMaskSegmentor:
    """Load a SAM checkpoint as a segmentor.

    Args:
        checkpoint: An official file or a safetensors folder.
        device: PyTorch device.
        options: Of automatic masks; None = the defaults.
        decoder_heads: Attention heads of the mask decoder, which the checkpoint does not contain.
        recoveries: Counts where memory ran out.
        dtype: Number format of the image encoder; None = that of `network_dtype`.
        prompter: Makes the prompts of each frame; None = the grid of the options.
        runner: Makes the networks run; None = PyTorch.

    Returns:
        The segmentor.

    Raises:
        CheckpointError: The checkpoint cannot be used.
    """
    model = PromptableSam(load_sam(checkpoint, decoder_heads), device, dtype, runner)
    return AutomaticMaskSegmentor("sam", model, options or MaskOptions(), recoveries, prompter)


class PromptableSam:
    """SAM with its image encoder in half precision on a GPU; points and masks stay float32, which they need."""

    def __init__(
        self, model: Any, device: str = "cpu", dtype: torch.dtype | None = None, runner: NetworkRunner | None = None
    ) -> None:
        """Move a model to a device.

        Args:
            model: The SAM model of the transformers library.
            device: PyTorch device.
            dtype: Number format of the image encoder; None = that of `network_dtype`.
            runner: Makes the networks run; None = PyTorch, with that number format.
        """
        self.device = torch.device(device)
        runner = runner or TorchRunner(self.device, dtype)
        self._encode, self._decode_points, self._decode_boxes = map(runner, sam_exports(model))
        self._side = int(model.config.vision_config.image_size)

    def embed(self, image_rgb: NDArray[np.uint8]) -> tuple[Tensor, Size]:
        """Compute the image embedding.

        Args:
            image_rgb: (H, W, 3) uint8.

        Returns:
            The embedding (1, C, h, w) float32, and the image's height and width, pixels.
        """
        size = image_rgb.shape[0], image_rgb.shape[1]
        pixels = preprocess(image_rgb, scaled_to_side(size, self._side), self._side, self.device)
        (embedding,) = self._encode(pixels)
        return embedding, size

    def predict(self, embedding: tuple[Tensor, Size], points_xy: Tensor) -> tuple[Tensor, Tensor]:
        """Predict masks for single points.

        Args:
            embedding: As of `embed`.
            points_xy: (N, 2) float32, pixels of the image.

        Returns:
            Low-resolution logits (N, 3, h, w) and predicted IoU (N, 3).
        """
        image, size = embedding
        logits, predicted_iou = self._decode_points(points_xy * self._scale(size), image)
        return logits, predicted_iou

    def predict_boxes(self, embedding: tuple[Tensor, Size], boxes_xyxy: Tensor) -> tuple[Tensor, Tensor]:
        """Predict masks for boxes.

        Args:
            embedding: As of `embed`.
            boxes_xyxy: (N, 4) float32, first and last column and row, pixels of the image.

        Returns:
            As `predict`.
        """
        image, size = embedding
        logits, predicted_iou = self._decode_boxes(boxes_xyxy * self._scale(size).repeat(2), image)
        return logits, predicted_iou

    def _scale(self, size: Size) -> Tensor:
        """Return the factors (2,) on x and y of an image of `size` that lead to the encoder's square."""
        height, width = scaled_to_side(size, self._side)
        return torch.tensor([width / size[1], height / size[0]], device=self.device)

    def upscale(self, logits: Tensor, size: Size) -> Tensor:
        """Upscale low-resolution logits (N, h, w) to the image's `size`: (N, H, W)."""
        return upscale_logits(logits, self._side, size)

    def axes(self, size: Size) -> tuple[AxisResize, AxisResize]:
        """Return `upscale` along the rows and along the columns of low-resolution logits, as matrices."""
        return upscaling_axes(self._side, self._side // 4, size)

    def extent(self, size: Size) -> tuple[float, float]:
        """Return how many rows and columns of low-resolution logits show an image of `size`; the rest is padding."""
        height, width = scaled_to_side(size, self._side)
        small = self._side // 4
        return height * small / self._side, width * small / self._side


def scaled_to_side(size: Size, side: int) -> Size:
    """Scale a size so that its longer side has `side` pixels.

    Args:
        size: Height and width, pixels.
        side: Pixels.

    Returns:
        Height and width, whole pixels.
    """
    scale = side / max(size)
    return int(size[0] * scale + 0.5), int(size[1] * scale + 0.5)


def upscale_logits(logits: Tensor, side: int, size: Size) -> Tensor:
    """Upscale logits as segment-anything does: to the encoder's square, then its valid part to the image.

    Args:
        logits: (N, h, h) low-resolution logits.
        side: Side of the encoder's square, pixels.
        size: Height and width of the image, pixels.

    Returns:
        (N, H, W) logits.
    """
    height, width = scaled_to_side(size, side)
    factor = side / logits.shape[-1]
    # a row and a column more than show the image, so that the last ones have their neighbours
    needed = logits[:, None, : ceil(height / factor) + 1, : ceil(width / factor) + 1]
    square = interpolate(needed, scale_factor=factor, mode="bilinear", align_corners=False)
    return interpolate(square[:, :, :height, :width], size=size, mode="bilinear", align_corners=False)[:, 0]


@lru_cache(8)
def upscaling_axes(side: int, small: int, size: Size) -> tuple[AxisResize, AxisResize]:
    """Make the matrices of `upscale_logits` along rows and columns.

    Args:
        side: Side of the encoder's square, pixels.
        small: Side of the low-resolution logits, pixels.
        size: Height and width of the image, pixels.

    Returns:
        The resizes along rows and along columns.
    """

    def axis(length: int, scaled: int) -> AxisResize:
        factor = side / small
        before = min(small, ceil(scaled / factor) + 1)
        to_square = bilinear_matrix(scaled, before, 1 / factor)
        return AxisResize((bilinear_matrix(length, scaled) @ to_square).float())

    height, width = scaled_to_side(size, side)
    return axis(size[0], height), axis(size[1], width)


def preprocess(image_rgb: NDArray[np.uint8], scaled: Size, side: int, device: torch.device) -> Tensor:
    """Scale an image, normalise its colors, and pad it at the right and at the bottom.

    Args:
        image_rgb: (H, W, 3) uint8.
        scaled: Height and width to scale it to, pixels.
        side: Side of the encoder's square, pixels.
        device: Of the result.

    Returns:
        The encoder's input, (1, 3, side, side) float32.
    """
    image = Image.fromarray(image_rgb)
    if image.size != (scaled[1], scaled[0]):
        image = image.resize((scaled[1], scaled[0]), Image.Resampling.BILINEAR)
    pixels = torch.from_numpy(np.array(image)).to(device).permute(2, 0, 1).float()
    mean, std = (pixels.new_tensor(values)[:, None, None] for values in (MEAN_RGB, STD_RGB))
    return pad((pixels - mean) / std, (0, side - scaled[1], 0, side - scaled[0]))[None]


def load_requested_sam(request: ModelRequest) -> AutomaticMaskSegmentor:
    """Load the checkpoint of a request, by default ViT-H.

    Args:
        request: Device, model and settings.

    Returns:
        The segmentor.

    Raises:
        CheckpointError: The checkpoint is missing or cannot be used.
    """
    checkpoint = find_checkpoint(request.checkpoints_dir, "sam", request.model or "vit_h")
    return sam_segmentor(
        checkpoint,
        request.device,
        mask_options(request),
        recoveries=request.recoveries,
        dtype=request.dtype,
        prompter=requested_prompter(request),
        runner=requested_runner(request),
    )


SAM = SegmentorSpec(load_requested_sam, thresholds={"dinov2": SAM6D_THRESHOLDS}, requires=("transformers",))
"""Registry entry `sam`."""
