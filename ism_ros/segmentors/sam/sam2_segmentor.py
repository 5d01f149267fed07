"""SAM 2: automatic masks of the image model of Segment Anything 2 and 2.1."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import interpolate

from ism_ros.checkpoints.catalog import find_checkpoint
from ism_ros.checkpoints.loaders.sam2_checkpoint import load_sam2
from ism_ros.networks.network_runners import NetworkRunner, TorchRunner, requested_runner
from ism_ros.networks.sam_networks import sam2_exports
from ism_ros.runtime.model_request import ModelRequest
from ism_ros.runtime.out_of_memory import OutOfMemoryCounter
from ism_ros.segmentors.base import SegmentorSpec
from ism_ros.segmentors.sam.automatic_masks import AutomaticMaskSegmentor, MaskOptions, mask_options
from ism_ros.segmentors.sam.image_crops import Size
from ism_ros.segmentors.sam.prompts import Prompter, requested_prompter
from ism_ros.segmentors.sam.resized_masks import AxisResize, bilinear_matrix

MEAN_RGB = (0.485, 0.456, 0.406)
STD_RGB = (0.229, 0.224, 0.225)
"""Mean and standard deviation by which SAM 2 normalises colors in [0, 1]."""
DEFAULT_OPTIONS = MaskOptions(predicted_iou=0.8)
"""With the authors' least predicted IoU: SAM 2 predicts lower ones than SAM, for which it is 0.88."""


def sam2_segmentor(
    checkpoint: Path,
    device: str = "cpu",
    options: MaskOptions | None = None,
    recoveries: OutOfMemoryCounter | None = None,
    dtype: torch.dtype | None = None,
    prompter: Prompter | None = None,
    runner: NetworkRunner | None = None,
) -> AutomaticMaskSegmentor:
    """Load a SAM 2 checkpoint as a segmentor.

    Args:
        checkpoint: An official file or a safetensors folder.
        device: PyTorch device.
        options: Of automatic masks; None = DEFAULT_OPTIONS.
        recoveries: Counts where memory ran out.
        dtype: Number format of the image encoder; None = that of `network_dtype`.
        prompter: Makes the prompts of each frame; None = the grid of the options.
        runner: Makes the networks run; None = PyTorch.

    Returns:
        The segmentor.

    Raises:
        CheckpointError: The checkpoint cannot be used.
    """
    model = PromptableSam2(load_sam2(checkpoint), device, dtype, runner)
    return AutomaticMaskSegmentor("sam2", model, options or DEFAULT_OPTIONS, recoveries, prompter)


class Sam2Embedding(NamedTuple):
    """Features of an image for the mask decoder.

    Attributes:
        features: (1, C, h, w) float32 each, from the finest to the coarsest.
        size: Height and width of the image, pixels.
    """

    features: list[Tensor]
    size: Size


class PromptableSam2:
    """SAM 2 with its image encoder in half precision on a GPU; points and masks stay float32, which they need."""

    def __init__(
        self, model: Any, device: str = "cpu", dtype: torch.dtype | None = None, runner: NetworkRunner | None = None
    ) -> None:
        """Move a model to a device.

        Args:
            model: The SAM 2 model of the transformers library.
            device: PyTorch device.
            dtype: Number format of the image encoder; None = that of `network_dtype`.
            runner: Makes the networks run; None = PyTorch, with that number format.
        """
        self.device = torch.device(device)
        runner = runner or TorchRunner(self.device, dtype)
        self._encode, self._decode_points, self._decode_boxes = map(runner, sam2_exports(model))
        self._side = int(model.config.prompt_encoder_config.image_size)

    def embed(self, image_rgb: NDArray[np.uint8]) -> Sam2Embedding:
        """Compute the features of a single image, without memory of earlier frames.

        Args:
            image_rgb: (H, W, 3) uint8.

        Returns:
            The features.
        """
        features = list(self._encode(preprocess(image_rgb, self._side, self.device)))
        return Sam2Embedding(features, (image_rgb.shape[0], image_rgb.shape[1]))

    def predict(self, embedding: Sam2Embedding, points_xy: Tensor) -> tuple[Tensor, Tensor]:
        """Predict masks for single points.

        Args:
            embedding: As of `embed`.
            points_xy: (N, 2) float32, pixels of the image.

        Returns:
            Low-resolution logits (N, 3, h, w) and predicted IoU (N, 3).
        """
        scaled = points_xy * self._scale(embedding.size)
        logits, predicted_iou = self._decode_points(scaled, *embedding.features)
        return logits, predicted_iou

    def predict_boxes(self, embedding: Sam2Embedding, boxes_xyxy: Tensor) -> tuple[Tensor, Tensor]:
        """Predict masks for boxes.

        Args:
            embedding: As of `embed`.
            boxes_xyxy: (N, 4) float32, first and last column and row, pixels of the image.

        Returns:
            As `predict`.
        """
        scaled = boxes_xyxy * self._scale(embedding.size).repeat(2)
        logits, predicted_iou = self._decode_boxes(scaled, *embedding.features)
        return logits, predicted_iou

    def _scale(self, size: Size) -> Tensor:
        """Return the factors (2,) on x and y of an image of `size` that lead to the encoder's square."""
        return torch.tensor([self._side / size[1], self._side / size[0]], device=self.device)

    def upscale(self, logits: Tensor, size: Size) -> Tensor:
        """Upscale low-resolution logits (N, h, w) to the image's `size`: (N, H, W)."""
        return interpolate(logits[:, None], size=size, mode="bilinear", align_corners=False)[:, 0]

    def axes(self, size: Size) -> tuple[AxisResize, AxisResize]:
        """Return `upscale` along the rows and along the columns of low-resolution logits, as matrices."""
        rows, columns = (AxisResize(bilinear_matrix(length, self._side // 4).float()) for length in size)
        return rows, columns

    def extent(self, size: Size) -> tuple[float, float]:
        """Return all rows and columns of the low-resolution logits: images are stretched to the encoder's square."""
        small = float(self._side // 4)
        return small, small


def preprocess(image_rgb: NDArray[np.uint8], side: int, device: torch.device) -> Tensor:
    """Stretch an image to a square, with antialiasing, and normalise its colors.

    Args:
        image_rgb: (H, W, 3) uint8.
        side: Side of the encoder's square, pixels.
        device: Of the result.

    Returns:
        The encoder's input, (1, 3, side, side) float32.
    """
    pixels = torch.from_numpy(np.ascontiguousarray(image_rgb)).to(device).permute(2, 0, 1)[None].float() / 255
    square = interpolate(pixels, size=(side, side), mode="bilinear", align_corners=False, antialias=True)
    mean, std = (square.new_tensor(values)[:, None, None] for values in (MEAN_RGB, STD_RGB))
    return (square - mean) / std


def load_requested_sam2(request: ModelRequest) -> AutomaticMaskSegmentor:
    """Load the checkpoint of a request, by default Hiera B+.

    Args:
        request: Device, model and settings.

    Returns:
        The segmentor.

    Raises:
        CheckpointError: The checkpoint is missing or cannot be used.
    """
    checkpoint = find_checkpoint(request.checkpoints_dir, "sam2", request.model or "base_plus")
    options = mask_options(request, DEFAULT_OPTIONS)
    return sam2_segmentor(
        checkpoint,
        request.device,
        options,
        request.recoveries,
        request.dtype,
        requested_prompter(request),
        requested_runner(request),
    )


SAM2 = SegmentorSpec(
    load_requested_sam2,
    requires=("transformers",),
    settings={"predicted_iou_threshold": DEFAULT_OPTIONS.predicted_iou},
)
"""Registry entry `sam2`."""
