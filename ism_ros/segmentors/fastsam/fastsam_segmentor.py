"""Proposals by FastSAM: one pass of a YOLOv8-seg network that knows one class, 'object'."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ism_ros.checkpoints.catalog import find_checkpoint
from ism_ros.data.frame import Frame
from ism_ros.data.proposals import Proposals
from ism_ros.runtime.model_request import ModelRequest
from ism_ros.segmentors.base import SAM6D_THRESHOLDS, SegmentorSpec
from ism_ros.segmentors.fastsam.letterbox import STRIDE, Letterbox, letterbox_around, letterbox_into
from ism_ros.segmentors.fastsam.yolo_masks import RawOutputs, assemble_masks, find_candidates
from ism_ros.segmentors.fastsam.yolo_networks import load_network


class FastSamSegmentor:
    """Class-agnostic proposals from color alone, as SAM-6D gets them from FastSAM-s and FastSAM-x.

    The defaults are the values that SAM-6D's program uses. An ONNX model with a fixed input gets the frame in that
    input; .pt files and ONNX models exported as dynamic get it with as little padding as they allow.
    """

    name = "fastsam"
    is_small = False

    def __init__(
        self,
        checkpoint: Path,
        device: str = "cpu",
        confidence_threshold: float = 0.25,
        nms_threshold: float = 0.9,
        max_proposals: int = 200,
        input_side: int = 640,
        channel_order: Literal["rgb", "bgr"] = "bgr",
    ) -> None:
        """Load the network.

        Args:
            checkpoint: A .onnx file, which needs the package onnxruntime (or onnxruntime-gpu), or a .pt file, which
                needs the package ultralytics (AGPL-3.0) and is a pickled Python object: only name files whose source
                you trust.
            device: PyTorch device of the masks; the network runs there too where it can.
            confidence_threshold: Boxes above it are kept. SAM-6D's configuration says 0.2 (that of CNOS 0.05), but its
                program overwrites it with 0.25.
            nms_threshold: Of two boxes whose IoU is above it, the less confident is dropped.
            max_proposals: Most proposals of a frame.
            input_side: Longer side of the frame in the network's input, pixels, a multiple of 32; ignored where the
                model fixes its input.
            channel_order: Channel order of the network's input. SAM-6D passes RGB images to ultralytics, which expects
                BGR and reverses the channels, so that its network gets 'bgr'; it was trained on 'rgb'.

        Raises:
            CheckpointError: The checkpoint cannot be used; the message is one line with a remedy.
            ValueError: A setting is out of range.
        """
        if input_side < STRIDE or input_side % STRIDE:
            raise ValueError(f"input_side is {input_side}; it must be a multiple of {STRIDE}, such as 640 or 1024")
        self.device = torch.device(device)
        self.confidence_threshold = confidence_threshold
        self.nms_threshold = nms_threshold
        self.max_proposals = max_proposals
        self.input_side = input_side
        self.channel_order = channel_order
        self._network = load_network(Path(checkpoint), self.device)

    def propose(self, frame: Frame, stability_score_threshold: float | None = None) -> Proposals:
        """Find proposals in a frame.

        Args:
            frame: The frame; its depth is not used.
            stability_score_threshold: Not used: FastSAM has no stability score.

        Returns:
            Proposals, most confident first, masks on `device`. `boxes_xyxy` are the network's, truncated to whole
            pixels, as in the reference: looser than the masks' own, with x_last and y_last equal to the frame's width
            and height where they touch its border.
        """
        letterbox = self._letterbox((frame.height, frame.width))
        outputs = self._network(letterbox.apply(_in_channel_order(frame.rgb, self.channel_order)))
        return self.decode(outputs, letterbox)

    @torch.no_grad()
    def decode(self, outputs: RawOutputs, letterbox: Letterbox) -> Proposals:
        """Decode the network's outputs.

        Args:
            outputs: Of one image.
            letterbox: Placement of the frame in that image.

        Returns:
            Proposals at the frame's size, most confident first.
        """
        found = find_candidates(outputs.head, self.confidence_threshold, self.nms_threshold, self.max_proposals)
        masks = assemble_masks(found, outputs.prototypes, letterbox)
        boxes = letterbox.boxes_in_frame(found.boxes_xyxy).long()
        return Proposals(masks, found.confidence, boxes, boxes_are_tight=False)[_not_empty(masks)]

    def _letterbox(self, frame_size: tuple[int, int]) -> Letterbox:
        if self._network.input_size is not None:
            return letterbox_into(frame_size, self._network.input_size)
        return letterbox_around(frame_size, self.input_side)


def _in_channel_order(rgb: NDArray[np.uint8], channel_order: str) -> NDArray[np.uint8]:
    return rgb if channel_order == "rgb" else np.ascontiguousarray(rgb[..., ::-1])


def _not_empty(masks: Tensor) -> Tensor:
    """Find which of the masks (N, H, W) have a pixel, (N,) bool."""
    if len(masks) == 0:
        return masks.new_zeros((0,))
    return masks.flatten(1).view(torch.uint8).amax(dim=1) > 0


def load_fastsam(request: ModelRequest) -> FastSamSegmentor:
    """Load the checkpoint of a request, by default FastSAM-x.

    Args:
        request: Device, model and settings.

    Returns:
        The segmentor.

    Raises:
        CheckpointError: The checkpoint is missing or cannot be used.
    """
    checkpoint = find_checkpoint(request.checkpoints_dir, "fastsam", request.model or "x")
    thresholds = request.given(
        confidence_threshold="fastsam_confidence_threshold", nms_threshold="fastsam_nms_threshold"
    )
    return FastSamSegmentor(checkpoint, request.device, **thresholds)


FASTSAM = SegmentorSpec(load_fastsam, thresholds={"dinov2": SAM6D_THRESHOLDS}, requires=("onnxruntime",))
"""Registry entry `fastsam`."""
