"""Proposals from depth and colour alone: no weights, no training, no GPU.

The image is cut into small patches that respect every colour and depth edge. Touching patches are then merged, the
weakest border first, under several opinions about what makes a border strong: depth steps, concave creases and leaving
a support plane (geometry), or colour. Objects come out as nodes of these trees: a printed box is one region for
geometry, a flat card on a table is one for colour. What is left after a support plane is taken away, cut where depth
jumps, gives more regions. The best of them, without near duplicates, are the proposals.
"""

from __future__ import annotations

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from ism_ros.data.frame import Frame
from ism_ros.data.proposals import Proposals
from ism_ros.segmentors.depth_geometry import Geometry, measure_geometry
from ism_ros.segmentors.patches import Patches, cut_patches, label_boxes
from ism_ros.segmentors.regions import Regions, find_regions, join_alike

Image = NDArray[np.float32]


class DepthSegmentor:
    """Class-agnostic proposals from one RGB-D frame.

    device: where the masks are put; the work itself is done on the CPU. max_proposals: at most so many. working_area:
    larger images are worked on at this many pixels. spacing: side of a patch, in pixels of the working size.
    disparity_noise: 1/m, standard deviation of 1 / z; 0.0025 suits RealSense and Kinect-like sensors (2.5 mm at 1 m).
    """

    name = "depth"

    def __init__(
        self,
        device: str = "cpu",
        max_proposals: int = 80,
        working_area: int = 640 * 480,
        spacing: int = 12,
        disparity_noise: float = 0.0025,
    ) -> None:
        self.device = torch.device(device)
        self.max_proposals = max_proposals
        self.working_area = working_area
        self.spacing = spacing
        self.disparity_noise = disparity_noise

    def propose(self, frame: Frame, stability_score_threshold: float | None = None) -> Proposals:
        """Proposals of `frame`, best first, masks on `device`. Works from colour alone where there is no depth."""
        rgb, depth_m = _working_images(frame, self.working_area)
        if min(rgb.shape[:2]) < 16:
            return Proposals.empty(frame.height, frame.width, self.device)
        patches = join_alike(cut_patches(rgb, self._geometry(depth_m), self.spacing))
        return paint(patches, find_regions(patches, self.max_proposals), frame, self.device)

    def _geometry(self, depth_m: Image | None) -> Geometry | None:
        """Depth cues at half the working size, where the sensor's noise is; None without enough readings."""
        if depth_m is None or np.count_nonzero(depth_m) < 200:
            return None
        return measure_geometry(np.ascontiguousarray(depth_m[::2, ::2]), self.disparity_noise, max_planes=5)


def _working_images(frame: Frame, working_area: int) -> tuple[NDArray[np.uint8], Image | None]:
    """Colour and depth, scaled down together to at most `working_area` pixels."""
    depth_m = frame.depth_m if frame.has_depth else None
    scale = (working_area / (frame.height * frame.width)) ** 0.5
    if scale >= 1.0:
        return frame.rgb, depth_m
    size = max(1, round(frame.width * scale)), max(1, round(frame.height * scale))
    rgb = cv2.resize(frame.rgb, size, interpolation=cv2.INTER_AREA)
    if depth_m is not None:
        depth_m = np.asarray(cv2.resize(depth_m, size, interpolation=cv2.INTER_NEAREST), np.float32)
    return np.asarray(rgb, dtype=np.uint8), depth_m


def paint(patches: Patches, regions: Regions, frame: Frame, device: torch.device) -> Proposals:
    """Regions as masks of the frame's size, with tight boxes."""
    height, width = frame.height, frame.width
    if len(regions.members) == 0:
        return Proposals.empty(height, width, device)
    labels, patch_boxes = patches.labels, patches.boxes
    if labels.shape != (height, width):
        labels = np.asarray(cv2.resize(labels, (width, height), interpolation=cv2.INTER_NEAREST), np.int32)
        patch_boxes = label_boxes(labels, len(patches))
    corners = patch_boxes.astype(np.int64)
    index = labels.astype(np.intp)
    masks = np.zeros((len(regions.members), height, width), dtype=bool)
    boxes = np.zeros((len(regions.members), 4), dtype=np.int64)
    for row, member in enumerate(regions.members):
        inside = corners[member]
        x0, y0 = inside[:, :2].min(axis=0)
        x1, y1 = inside[:, 2:].max(axis=0)
        boxes[row] = x0, y0, x1, y1
        masks[row, y0 : y1 + 1, x0 : x1 + 1] = member.take(index[y0 : y1 + 1, x0 : x1 + 1], mode="clip")
    return Proposals(
        torch.from_numpy(masks).to(device),
        torch.from_numpy(regions.score).to(device),
        torch.from_numpy(boxes).to(device),
    )
