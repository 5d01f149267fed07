"""Proposals by a small network that ships with this package: trained on rendered scenes, fast on two CPU cores.

Its input is color and depth, or either alone, at about 320 x 240 pixels (input_channels); for every cell of a grid it
predicts the mask of the object there (segmentor_network, mask_proposals). Training and limits: docs/tiny.md.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import chain
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ism_ros.checkpoints.shipped import channels_last, load_weights
from ism_ros.data.frame import Frame
from ism_ros.data.masks import mask_areas
from ism_ros.data.proposals import Proposals
from ism_ros.networks.network_runners import NetworkRunner, requested_runner
from ism_ros.runtime.model_request import ModelRequest
from ism_ros.runtime.precision import small_network_dtype
from ism_ros.runtime.threads import map_on_threads
from ism_ros.segmentors.base import SegmentorSpec
from ism_ros.segmentors.tiny.input_channels import COLOR_CHANNELS, encode, working_size
from ism_ros.segmentors.tiny.mask_proposals import FoundMasks, find_masks, joined_masks
from ism_ros.segmentors.tiny.onnx_segmentor import RunSegmentorNetwork
from ism_ros.segmentors.tiny.segmentor_network import MASK_STRIDE, NetworkOutputs, TinyNetwork
from ism_ros.segmentors.upsampling import upsample_to_masks


class TinySegmentor:
    """Class-agnostic proposals from one RGB-D frame, or from its color alone."""

    name = "tiny"
    is_small = True

    def __init__(
        self,
        device: str = "cpu",
        weights: Path | None = None,
        max_proposals: int = 40,
        min_score: float = 0.2,
        duplicate_iou: float = 0.75,
        dtype: torch.dtype | None = None,
        runner: NetworkRunner | None = None,
    ) -> None:
        """Load the network.

        Args:
            device: PyTorch device.
            weights: File of weights; None = those of the package.
            max_proposals: Most proposals of a frame.
            min_score: Confidence above which masks are kept.
            duplicate_iou: Of two masks whose IoU is above it, the less confident is dropped.
            dtype: Number format of the network; None = that of `small_network_dtype`.
            runner: Makes the network run, in float32; None = PyTorch, in that number format.

        Raises:
            CheckpointError: The weights cannot be read or are not of this network, or the runtime cannot be used.
            ExportError: The network cannot be exported for the runtime.
        """
        self.device = torch.device(device)
        self.max_proposals = max_proposals
        self.min_score = min_score
        self.duplicate_iou = duplicate_iou
        network = TinyNetwork()
        load_weights(network, "segmentor", weights)
        self._network: Callable[[Tensor], NetworkOutputs]
        if runner is None:
            self._dtype = dtype or small_network_dtype(self.device)
            self._network = channels_last(network, self.device).to(self._dtype)
        else:
            self._dtype, self._network = torch.float32, RunSegmentorNetwork(network, runner)

    def propose(self, frame: Frame, stability_score_threshold: float | None = None) -> Proposals:
        """Find proposals in a frame.

        Args:
            frame: The frame, with or without depth.
            stability_score_threshold: Not used: this network has no stability score.

        Returns:
            Proposals, most confident first, masks at the frame's size on the device; none for frames with a side below
            16 pixels.
        """
        if min(frame.height, frame.width) < 16:
            return Proposals.empty(frame.height, frame.width, self.device)
        pixels = network_pixels(frame)
        images = np.stack([pixels, color_alone(pixels)]) if frame.has_depth else pixels[None]
        return self._upsample(self._find(images), (int(pixels.shape[1]), int(pixels.shape[2])), frame)

    def _find(self, images: NDArray[np.float32]) -> FoundMasks:
        """Find masks in all images, which are of one frame; on a CPU with a thread for each, each by itself."""
        alone = self.device.type == "cpu" and torch.get_num_threads() <= len(images)
        batches = [images[index : index + 1] for index in range(len(images))] if alone else [images]
        found = [*chain.from_iterable(map_on_threads(self._find_in_batch, torch.get_num_threads(), batches))]
        return found[0] if len(found) == 1 else joined_masks(found, self.max_proposals, self.duplicate_iou)

    @torch.inference_mode()
    def _find_in_batch(self, images: NDArray[np.float32]) -> list[FoundMasks]:
        batch = torch.from_numpy(images).to(self.device, self._dtype, memory_format=torch.channels_last)
        outputs = self._network(batch)
        return [
            find_masks(
                outputs,
                index,
                min_score=self.min_score,
                max_masks=self.max_proposals,
                duplicate_iou=self.duplicate_iou,
            )
            for index in range(len(images))
        ]

    @torch.inference_mode()
    def _upsample(self, found: FoundMasks, size: tuple[int, int], frame: Frame) -> Proposals:
        """Upsample masks to the frame's size; those without a pixel there are dropped."""
        if not len(found):
            return Proposals.empty(frame.height, frame.width, self.device)
        row_at, column_at = (
            torch.arange(length, device=self.device, dtype=torch.float64) * (inner / length / MASK_STRIDE)
            for length, inner in zip((frame.height, frame.width), size, strict=True)
        )
        masks = upsample_to_masks(found.logits, row_at, column_at, 0.0)
        proposals = Proposals(masks, found.confidence)
        return proposals[mask_areas(masks) > 0]


def network_pixels(frame: Frame) -> NDArray[np.float32]:
    """Scale and encode a frame.

    Args:
        frame: The frame.

    Returns:
        The network's input, (10, h, w) float32.
    """
    height, width = working_size(frame.height, frame.width)
    x, y = width / frame.width, height / frame.height
    camera = frame.camera
    rgb = cv2.resize(frame.rgb, (width, height), interpolation=cv2.INTER_AREA if x < 1 else cv2.INTER_LINEAR)
    depth_m = None
    if frame.depth_m is not None and frame.has_depth:
        depth_m = np.asarray(cv2.resize(frame.depth_m, (width, height), interpolation=cv2.INTER_NEAREST), np.float32)
    return encode(np.asarray(rgb, np.uint8), depth_m, (camera.fx * x, camera.fy * y, camera.cx * x, camera.cy * y))


def color_alone(pixels: NDArray[np.float32]) -> NDArray[np.float32]:
    """Make the input of the same frame without depth.

    Where the depth of an object is wrong or as good as that of its surroundings, as of white things on a table, of
    shiny ones and of those far away, its color still shows it.

    Args:
        pixels: (10, h, w), channels as in tiny.input_channels.

    Returns:
        The same with color alone.
    """
    color = np.zeros_like(pixels)
    color[:COLOR_CHANNELS] = pixels[:COLOR_CHANNELS]
    return color


def load_tiny_segmentor(request: ModelRequest) -> TinySegmentor:
    """Load the weights of the package, or those of the file that a request names.

    Args:
        request: Device and model.

    Returns:
        The segmentor.

    Raises:
        CheckpointError: The weights cannot be read or are not of this network, or the runtime cannot be used.
        ExportError: The network cannot be exported for the runtime.
    """
    weights = Path(request.model) if request.model else None
    return TinySegmentor(request.device, weights, dtype=request.dtype, runner=requested_runner(request))


TINY = SegmentorSpec(load_tiny_segmentor, cpu_threads=4, tile_pixels=450_000)
"""Registry entry `tiny`. With more than four threads they wait for each other longer than they compute."""
