"""Proposals by a small network that travels with this package: learned on rendered scenes, fast on two CPU cores.

It sees colour and depth, or either alone, at about 320 x 240 pixels (tiny_input), and finds for every place of a grid
the mask of the object there (tiny_network, tiny_masks). How it was made and what it cannot do: docs/tiny.md.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from ism_ros.checkpoints.shipped import channels_last, load_weights
from ism_ros.data.frame import Frame
from ism_ros.data.masks import mask_areas
from ism_ros.data.proposals import Proposals
from ism_ros.runtime.model_request import ModelRequest
from ism_ros.runtime.precision import small_network_dtype
from ism_ros.segmentors.base import SegmentorSpec
from ism_ros.segmentors.tiny.input_channels import encode, working_size
from ism_ros.segmentors.tiny.mask_proposals import FoundMasks, find_masks
from ism_ros.segmentors.tiny.segmentor_network import MASK_STRIDE, TinyNetwork
from ism_ros.segmentors.upsampling import enlarge_to_masks


class TinySegmentor:
    """Class-agnostic proposals from one RGB-D frame, or from its colour alone.

    weights: other weights than those of the package. max_proposals: at most so many. least_score: confidence above
    which masks are kept. duplicate_iou: of two masks whose IoU is above it, the less confident is dropped.
    """

    name = "tiny"
    is_small = True

    def __init__(
        self,
        device: str = "cpu",
        weights: Path | None = None,
        max_proposals: int = 60,
        least_score: float = 0.2,
        duplicate_iou: float = 0.75,
    ) -> None:
        self.device = torch.device(device)
        self.max_proposals = max_proposals
        self.least_score = least_score
        self.duplicate_iou = duplicate_iou
        network = TinyNetwork()
        load_weights(network, "segmentor", weights)
        self._dtype = small_network_dtype(self.device)
        self._network = channels_last(network, self.device).to(self._dtype)

    def propose(self, frame: Frame, stability_score_threshold: float | None = None) -> Proposals:
        """Proposals of `frame`, most confident first, masks on the device."""
        if min(frame.height, frame.width) < 16:
            return Proposals.empty(frame.height, frame.width, self.device)
        pixels = network_pixels(frame)
        return self._paint(self._find(pixels), (int(pixels.shape[1]), int(pixels.shape[2])), frame)

    @torch.inference_mode()
    def _find(self, pixels: NDArray[np.float32]) -> FoundMasks:
        image = torch.from_numpy(pixels)[None].to(self.device, self._dtype, memory_format=torch.channels_last)
        return find_masks(
            self._network(image),
            least_score=self.least_score,
            most=self.max_proposals,
            duplicate_iou=self.duplicate_iou,
        )

    @torch.inference_mode()
    def _paint(self, found: FoundMasks, size: tuple[int, int], frame: Frame) -> Proposals:
        """Masks at the frame's size; those that vanish there are left out."""
        if not len(found):
            return Proposals.empty(frame.height, frame.width, self.device)
        row_at, column_at = (
            torch.arange(length, device=self.device, dtype=torch.float64) * (inner / length / MASK_STRIDE)
            for length, inner in zip((frame.height, frame.width), size, strict=True)
        )
        masks = enlarge_to_masks(found.logits, row_at, column_at, 0.0)
        proposals = Proposals(masks, found.confidence)
        return proposals[mask_areas(masks) > 0]


def network_pixels(frame: Frame) -> NDArray[np.float32]:
    """(10, h, w): what the network sees of `frame`."""
    height, width = working_size(frame.height, frame.width)
    x, y = width / frame.width, height / frame.height
    camera = frame.camera
    rgb = cv2.resize(frame.rgb, (width, height), interpolation=cv2.INTER_AREA if x < 1 else cv2.INTER_LINEAR)
    depth_m = None
    if frame.depth_m is not None and frame.has_depth:
        depth_m = np.asarray(cv2.resize(frame.depth_m, (width, height), interpolation=cv2.INTER_NEAREST), np.float32)
    return encode(np.asarray(rgb, np.uint8), depth_m, (camera.fx * x, camera.fy * y, camera.cx * x, camera.cy * y))


def load_tiny_segmentor(request: ModelRequest) -> TinySegmentor:
    """Load the weights of the package, or those of the file that the request names."""
    return TinySegmentor(request.device, Path(request.model) if request.model else None)


TINY = SegmentorSpec(load_tiny_segmentor, cpu_threads=4)
"""More threads would wait for each other longer than they compute."""
