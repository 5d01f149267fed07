"""Proposals from depth and colour alone: no weights, no training, no GPU.

The image is cut into small patches that respect every colour and depth edge. Touching patches are then merged, the
weakest border first, under several opinions about what makes a border strong: depth steps, concave creases and leaving
a support plane (geometry), or colour. Objects come out as nodes of these trees: a printed box is one region for
geometry, a flat card on a table is one for colour. What is left after a support plane is taken away, cut where depth
jumps, gives more regions. The best few hundred, without near duplicates, are the proposals.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from ism_ros.detections import Proposals
from ism_ros.frame import Frame
from ism_ros.segmentors.depth_geometry import Geometry, measure_geometry
from ism_ros.segmentors.merge_tree import merge_by_boundary
from ism_ros.segmentors.superpixels import Boundaries, patch_means, touching, watershed

Image = NDArray[np.float32]
Labels = NDArray[np.int32]

_COLOUR, _STEP, _CREASE, _PLANE = range(4)


@dataclass(frozen=True)
class _Opinion:
    """How strong a border is: weights of the mean cues along it, and of the distance between mean colours."""

    colour: float
    step: float
    crease: float
    plane: float
    mean_colour: float


_OPINIONS = (
    _Opinion(colour=0.10, step=1.0, crease=0.8, plane=1.0, mean_colour=0.10),
    _Opinion(colour=0.40, step=0.6, crease=0.5, plane=0.6, mean_colour=0.50),
    _Opinion(colour=0.60, step=0.2, crease=0.1, plane=0.2, mean_colour=1.00),
    _Opinion(colour=0.20, step=1.0, crease=0.1, plane=1.0, mean_colour=0.30),
)


@dataclass(frozen=True)
class _Patches:
    """labels: (h, w) at the working size. area: (L,) pixels. boxes: (L, 4). lab: (L, 3), unit: about one strong edge.

    known: (L,), share of pixels with depth. on_plane: (L,). disparity: (L,) noise units.
    """

    labels: Labels
    area: Image
    lab: Image
    known: Image
    on_plane: Image
    plane: NDArray[np.int64]
    boundaries: Boundaries


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
        max_proposals: int = 200,
        working_area: int = 640 * 480,
        spacing: int = 12,
        disparity_noise: float = 0.0025,
    ) -> None:
        self.device = torch.device(device)
        self.max_proposals = max_proposals
        self.working_area = working_area
        self.spacing = spacing
        self.disparity_noise = disparity_noise

    def propose(self, frame: Frame) -> Proposals:
        """Proposals of `frame`, best first, masks on `device`. Works from colour alone where there is no depth."""
        rgb, depth_m = _working_images(frame, self.working_area)
        if min(rgb.shape[:2]) < 16:
            return Proposals.empty(frame.height, frame.width, self.device)
        geometry = None
        if depth_m is not None and np.count_nonzero(depth_m) > 100:
            geometry = measure_geometry(
                np.ascontiguousarray(depth_m[::2, ::2]), self.disparity_noise, max_planes=5
            )
        patches = _cut_patches(rgb, geometry, self.spacing)
        regions, score = _grow_regions(patches)
        kept = _choose(patches, regions, score, self.max_proposals)
        return _paint(patches.labels, regions[kept], score[kept], frame, self.device)


def _working_images(frame: Frame, working_area: int) -> tuple[NDArray[np.uint8], Image | None]:
    """Colour and depth, scaled down together to at most `working_area` pixels."""
    depth_m = frame.depth_m if frame.has_depth else None
    scale = (working_area / (frame.height * frame.width)) ** 0.5
    if scale >= 1.0:
        return frame.rgb, depth_m
    size = max(1, round(frame.width * scale)), max(1, round(frame.height * scale))
    rgb = cv2.resize(frame.rgb, size, interpolation=cv2.INTER_AREA)
    if depth_m is not None:
        depth_m = cv2.resize(depth_m, size, interpolation=cv2.INTER_NEAREST)
    return np.asarray(rgb, dtype=np.uint8), depth_m


def _cut_patches(rgb: NDArray[np.uint8], geometry: Geometry | None, spacing: int) -> _Patches:
    height, width = rgb.shape[:2]
    lab = cv2.cvtColor(cv2.GaussianBlur(rgb, (5, 5), 0), cv2.COLOR_RGB2LAB)
    colour = _colour_edges(lab)
    if geometry is None:
        step = crease = plane = known = on_plane = np.zeros((height, width), dtype=np.float32)
    else:
        wide = np.ones((3, 3), np.uint8)

        def enlarge(image: Image) -> Image:
            return cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR)

        on_plane_small = cv2.medianBlur(geometry.on_plane, 5)
        step = enlarge(cv2.dilate(geometry.step, wide))
        crease = enlarge(geometry.crease)
        plane = enlarge(cv2.morphologyEx(on_plane_small, cv2.MORPH_GRADIENT, wide) * geometry.valid)
        known = enlarge(geometry.valid.astype(np.float32))
        on_plane = enlarge(on_plane_small)
    shape = np.maximum(np.maximum(step, 0.8 * crease), 0.8 * plane)
    labels = watershed(0.5 * colour + 0.5 * shape, spacing)
    count = int(labels.max()) + 1
    area = np.bincount(labels.ravel(), minlength=count).astype(np.float32)
    mean_lab = np.stack(
        [patch_means(labels, count, lab[..., c].astype(np.float32)) for c in range(3)], axis=1
    )
    mean_lab *= np.array([0.6, 1.5, 1.5], np.float32) / 60.0
    return _Patches(
        labels,
        area,
        mean_lab,
        patch_means(labels, count, known),
        patch_means(labels, count, on_plane),
        np.zeros(count, np.int64),
        touching(labels, [colour, step, crease, plane]),
    )


def _colour_edges(lab: NDArray[np.uint8]) -> Image:
    """Strength of colour edges, 0..1; lightness counts less than hue, for shadows."""
    gradient = cv2.morphologyEx(lab, cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8)).astype(np.float32)
    return np.minimum(
        1.0, (0.6 * gradient[..., 0] + 1.5 * np.maximum(gradient[..., 1], gradient[..., 2])) / 60.0
    )


def _grow_regions(patches: _Patches, at_most: int = 300) -> tuple[NDArray[np.bool_], Image]:
    """Candidate regions as sets of patches, (K, L) bool, and how much each looks like an object, (K,) in 0..1."""
    total = float(patches.area.sum())
    smallest, largest = max(80.0, 3e-4 * total), 0.4 * total
    cues, length = patches.boundaries.cues, patches.boundaries.length
    first, second = patches.boundaries.pairs.T
    known = np.minimum(patches.known[first], patches.known[second])
    plane_step = np.abs(patches.on_plane[first] - patches.on_plane[second]) * known
    plane = np.maximum(plane_step, cues[:, _PLANE])
    contrast = np.maximum.reduce(
        [0.6 * cues[:, _COLOUR], cues[:, _STEP], 0.8 * cues[:, _CREASE], 0.8 * plane]
    )
    tracked = np.stack([length, contrast * length], axis=1)
    count = len(patches.area)
    border = np.stack(
        [np.bincount(first, t, count) + np.bincount(second, t, count) for t in tracked.T], axis=1
    ).astype(np.float32)
    found, scores = [], []
    for opinion in _OPINIONS:
        strength = (
            opinion.colour * cues[:, _COLOUR]
            + opinion.step * cues[:, _STEP]
            + opinion.crease * cues[:, _CREASE]
            + opinion.plane * plane
        )
        weight = np.full(count, opinion.mean_colour, np.float32)
        tree = merge_by_boundary(
            patches.boundaries, strength, patches.area, patches.lab, weight, 0.002 * total, tracked
        )
        area = tree.sums(patches.area)
        perimeter, contrast_sum = np.maximum(tree.sums(border, -2.0 * tree.shared), 0.0).T
        inner_length, inner_sum = tree.sums(np.zeros((count, 2), np.float32), tree.shared).T
        outside = contrast_sum / np.maximum(perimeter, 1.0)
        inside = inner_sum / np.maximum(inner_length, 1.0)
        compact = np.minimum(1.0, 8.0 * np.pi * area / np.maximum(perimeter, 1.0) ** 2)
        score = np.clip(0.7 * outside - 0.3 * inside + 0.2 * compact + 0.1, 0.0, 1.0)

        parent = tree.parents()
        has_parent = np.nonzero(parent >= 0)[0]
        # of a node and a parent that is hardly larger the better one stays
        alike = has_parent[area[has_parent] > 0.9 * area[parent[has_parent]]]
        child_wins = score[alike] >= score[parent[alike]]
        score[np.where(child_wins, parent[alike], alike)] = -1.0
        score[(area < smallest) | (area > largest)] = -1.0
        chosen = np.argsort(-score, kind="stable")[:at_most]
        chosen = chosen[score[chosen] > 0]
        found.append(tree.members(chosen))
        scores.append(score[chosen])
    return np.concatenate(found), np.concatenate(scores).astype(np.float32)


def _choose(
    patches: _Patches, regions: NDArray[np.bool_], score: Image, max_proposals: int
) -> NDArray[np.int64]:
    """The best regions without near duplicates, best first."""
    held = regions.astype(np.float32)
    area = held @ patches.area
    order = np.argsort(-score, kind="stable")
    shared = (held * patches.area) @ held.T
    iou = shared / (area[:, None] + area[None] - shared)
    alive = np.ones(len(order), dtype=bool)
    kept = []
    for row in order:
        if alive[row]:
            kept.append(row)
            if len(kept) == max_proposals:
                break
            alive &= iou[row] < 0.85
    return np.array(kept, dtype=np.int64)


def _paint(
    labels: Labels, regions: NDArray[np.bool_], confidence: Image, frame: Frame, device: torch.device
) -> Proposals:
    """Regions (K, L) as masks of the frame's size, with tight boxes."""
    height, width = frame.height, frame.width
    if len(regions) == 0:
        return Proposals.empty(height, width, device)
    if labels.shape != (height, width):
        labels = cv2.resize(labels, (width, height), interpolation=cv2.INTER_NEAREST)
    patch_boxes = _label_boxes(labels, regions.shape[1])
    masks = np.zeros((len(regions), height, width), dtype=bool)
    boxes = np.zeros((len(regions), 4), dtype=np.int64)
    for row, region in enumerate(regions):
        inside = patch_boxes[region]
        x0, y0 = inside[:, :2].min(axis=0)
        x1, y1 = inside[:, 2:].max(axis=0)
        boxes[row] = x0, y0, x1, y1
        masks[row, y0 : y1 + 1, x0 : x1 + 1] = region[labels[y0 : y1 + 1, x0 : x1 + 1]]
    return Proposals(
        torch.from_numpy(masks).to(device),
        torch.from_numpy(confidence).to(device),
        torch.from_numpy(boxes).to(device),
    )


def _label_boxes(labels: Labels, count: int) -> NDArray[np.int64]:
    """First and last column and row of every label, (count, 4)."""
    from scipy.ndimage import find_objects

    boxes = np.zeros((count, 4), dtype=np.int64)
    boxes[:, :2] = max(labels.shape)
    for row, found in enumerate(find_objects(labels + 1, count)):
        if found is not None:
            y, x = found
            boxes[row] = x.start, y.start, x.stop - 1, y.stop - 1
    return boxes
