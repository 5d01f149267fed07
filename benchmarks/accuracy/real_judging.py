"""Detections of a real frame held against its truth.

An instance is found where a detection of its object covers it at an IoU of 0.5: of masks, or of boxes where the truth
has no mask. A detection that covers no instance of its object so is false. Instances of which less than 0.3 is visible
are not asked for. N detections.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from common.coco_scoring import MIN_VISIBLE_SHARE, evaluate, mask_ious, mean_of_valid, results_of
from numpy.typing import NDArray
from pycocotools import mask as coco_mask
from scipy.spatial import cKDTree

from accuracy.real_frames import Instance, RealFrame
from ism_ros.cad.mesh_loading import load_cad, sample_surface_m
from ism_ros.data.boxes import box_iou
from ism_ros.data.detections import Detections
from ism_ros.data.proposals import Proposals
from ism_ros.data.rle import encode_rle
from ism_ros.objects.spec import ObjectSpec

MIN_IOU = 0.5
"""Least IoU of a detection with what it finds."""
MIN_ASKED_SHARE = 0.3
"""Least visible share of an instance that is asked for."""
SURFACE_POINTS, EVERY = 50_000, 25
"""Points of a surface that are near ones, and which of them are compared: the distance of two samples adds nothing."""
SCORE_BORDERS = 0.0, 0.1, 0.2, 0.3, 0.5, 0.7, 1.0
"""Borders of the ranges of scores that are compared with how often they are right."""
Array = NDArray[np.float64]


@dataclass(frozen=True)
class JudgedInstance:
    """What became of one instance that is asked for.

    Attributes:
        object_id: Which object.
        is_found: Whether a detection above the threshold finds it.
        best_is_right: Whether the object's best detection, however low its score, finds an instance of it.
        iou: Of the best-scored detection that finds it, however low its score; 0 where there is none.
        score: Of that detection.
        wrong_score: Best score of the object's detections that find no instance of it.
        proposal_iou: Best IoU of all proposals.
        pose_error_mm: ADD-S of that detection; None where a pose is missing.
        taken_by: The object with another id whose detection covers the instance at IoU 0.5 with the best score.
    """

    object_id: str
    is_found: bool
    best_is_right: bool
    iou: float
    score: float
    wrong_score: float
    proposal_iou: float
    pose_error_mm: float | None
    taken_by: str

    @property
    def cause(self) -> str:
        """Why it is missed, as far as numbers tell; empty where it is found."""
        if self.is_found:
            return ""
        if self.score > 0:
            return f"not certain enough: {self.score:.2f}"
        if self.taken_by:
            return f"taken for {self.taken_by}"
        return "no proposal" if self.proposal_iou < MIN_IOU else "its proposal is no detection of it"


@dataclass(frozen=True)
class JudgedFrame:
    """Everything that is said about one frame.

    Attributes:
        name: Of its folder.
        instances: Those that are asked for.
        verdicts: (N,) "right", "false" or "unjudged", of every detection above the threshold.
        is_complete: Whether the truth lists all instances.
        milliseconds: Of the frame, poses included.
    """

    name: str
    instances: tuple[JudgedInstance, ...]
    verdicts: tuple[str, ...]
    is_complete: bool
    milliseconds: float


def instance_ious(instance: Instance, masks: NDArray[np.bool_], boxes_xyxy: NDArray[np.int64]) -> Array:
    """Compute how well masks cover an instance.

    Args:
        instance: The instance.
        masks: (N, H, W) bool.
        boxes_xyxy: (N, 4) their boxes, inclusive pixels.

    Returns:
        (N,) IoU of masks, or of boxes where the instance has no mask.
    """
    if not len(masks):
        return np.zeros(0)
    if instance.mask is not None:
        return mask_ious(masks, instance.mask[None])[:, 0]
    # The last pixels belong to the boxes.
    last = np.array([0, 0, 1, 1])
    box, boxes = (torch.from_numpy(sides + last) for sides in (instance.box_xyxy, boxes_xyxy))
    return box_iou(boxes, box).numpy().astype(np.float64)


def detection_ious(instances: Sequence[Instance], found: Detections) -> Array:
    """Compute the IoU of detections with instances, whatever the objects.

    Args:
        instances: M of them.
        found: N detections.

    Returns:
        (M, N).
    """
    masks, boxes = found.masks.cpu().numpy(), found.boxes_xyxy.cpu().numpy()
    rows = [instance_ious(instance, masks, boxes) for instance in instances]
    return np.array(rows, np.float64).reshape(len(rows), len(found))


def verdicts_of(truth: RealFrame, found: Detections, ious: Array) -> tuple[str, ...]:
    """Judge every detection.

    Args:
        truth: The frame.
        found: N detections.
        ious: (M, N) of `detection_ious`.

    Returns:
        (N,) "right", "false", or "unjudged" where the truth does not list all instances.
    """
    right = (_same_object(truth.instances, found) & (ious >= MIN_IOU)).any(axis=0)
    otherwise = "false" if truth.is_complete else "unjudged"
    return tuple("right" if is_right else otherwise for is_right in right)


def judge_instances(
    truth: RealFrame, found: Detections, proposals: Proposals, threshold: float
) -> tuple[JudgedInstance, ...]:
    """Judge every instance that is asked for.

    Args:
        truth: The frame.
        found: All detections, however low their scores, best first.
        proposals: What the segmentor proposes.
        threshold: Least score of a detection that is published.

    Returns:
        One for each instance that is visible enough.
    """
    ious, same = detection_ious(truth.instances, found), _same_object(truth.instances, found)
    score = found.score.cpu().numpy()
    proposed = proposals.masks.cpu().numpy(), proposals.boxes_xyxy.cpu().numpy()
    specs = {spec.id: spec for spec in truth.specs}
    judged = []
    for row, instance in enumerate(truth.instances):
        if instance.visible_share < MIN_ASKED_SHARE:
            continue
        twins = [k for k, other in enumerate(truth.instances) if other.object_id == instance.object_id]
        covers_any = (ious[twins] >= MIN_IOU).any(axis=0)
        covers = ious[row] >= MIN_IOU
        ranked, right, others = (np.flatnonzero(x) for x in (same[row], same[row] & covers, ~same[row] & covers))
        first = int(right[0]) if len(right) else -1
        judged.append(
            JudgedInstance(
                object_id=instance.object_id,
                is_found=first >= 0 and bool(score[first] >= threshold),
                best_is_right=len(ranked) > 0 and bool(covers_any[ranked[0]]),
                iou=float(ious[row, first]) if first >= 0 else 0.0,
                score=float(score[first]) if first >= 0 else 0.0,
                wrong_score=float(score[same[row] & ~covers_any].max(initial=0.0)),
                proposal_iou=float(instance_ious(instance, *proposed).max(initial=0.0)),
                pose_error_mm=_pose_error_mm(instance, found, first, specs[instance.object_id]),
                taken_by=found.class_id(int(others[0])) if len(others) else "",
            )
        )
    return tuple(judged)


def add_s_mm(points_m: Array, true_pose: Array, found_pose: Array) -> float:
    """Compute ADD-S of a pose (Xiang et al., PoseCNN, 2018), which symmetries do not change.

    Args:
        points_m: (K, 3) of the object's surface, many.
        true_pose: (4, 4) object to camera, metres.
        found_pose: (4, 4).

    Returns:
        Mean distance of points of the true surface to the nearest of the found one, millimetres.
    """
    true, found = (points_m @ pose[:3, :3].T + pose[:3, 3] for pose in (true_pose, found_pose))
    return float(1e3 * cKDTree(found).query(true[::EVERY])[0].mean())


def average_precision(judged: Sequence[tuple[RealFrame, Detections]]) -> dict[str, float]:
    """Compute COCO mask AP; a category is an id of an object, and frames without all masks are left out.

    Args:
        judged: Frames and all their detections, however low the scores.

    Returns:
        "AP" (IoU 0.5 to 0.95) and "AP50", NaN without such frames, and the number of "AP_frames".
    """
    whole = [(truth, found) for truth, found in judged if truth.is_complete and truth.has_masks]
    if not whole:
        return {"AP": float("nan"), "AP50": float("nan"), "AP_frames": 0}
    ids = sorted({instance.object_id for truth, _ in whole for instance in truth.instances})
    categories = {name: number for number, name in enumerate(ids, start=1)}
    annotations: list[dict[str, Any]] = []
    results: list[dict[str, Any]] = []
    for image, (truth, found) in enumerate(whole):
        for instance in truth.instances:
            annotations.append(_annotation(instance, image, categories[instance.object_id], len(annotations) + 1))
        known = [row for row, name in enumerate(found.class_ids()) if name in categories]
        results += results_of(found[known], image, categories)
    evaluation = evaluate({number: name for name, number in categories.items()}, annotations, results, len(whole))
    precision = evaluation.eval["precision"][:, :, :, 0, -1]
    return {"AP": mean_of_valid(precision), "AP50": mean_of_valid(precision[0]), "AP_frames": len(whole)}


def score_reliability(
    judged: Sequence[tuple[RealFrame, Detections]], borders: Sequence[float] = SCORE_BORDERS
) -> list[tuple[float, float, float, int]]:
    """Compare scores with how often they are right; frames in which not all instances are listed are left out.

    Args:
        judged: Frames and all their detections, however low the scores.
        borders: Of the ranges of scores.

    Returns:
        For each range in which there are any: its lowest and highest score, the share of its detections that are right,
        and their number.
    """
    whole = [(truth, found) for truth, found in judged if truth.is_complete]
    scores = np.array([score for _, found in whole for score in found.score.tolist()])
    right = np.array(
        [
            verdict == "right"
            for truth, found in whole
            for verdict in verdicts_of(truth, found, detection_ious(truth.instances, found))
        ],
        bool,
    )
    ranges = []
    for low, high in pairwise(borders):
        inside = (scores >= low) & (scores < high)
        if inside.any():
            ranges.append((low, high, round(float(right[inside].mean()), 2), int(inside.sum())))
    return ranges


def _annotation(instance: Instance, image: int, category: int, number: int) -> dict[str, Any]:
    rle = encode_rle(instance.mask)
    return {
        "id": number,
        "image_id": image,
        "category_id": category,
        "segmentation": rle,
        "area": int(instance.mask.sum()),
        "bbox": [float(side) for side in coco_mask.toBbox(rle)],
        # pycocotools ignores what is marked as a crowd.
        "iscrowd": int(instance.visible_share < MIN_VISIBLE_SHARE),
    }


def _same_object(instances: Sequence[Instance], found: Detections) -> NDArray[np.bool_]:
    """(M, N): whether the detection is one of the instance's object."""
    names = found.class_ids()
    same = [[name == instance.object_id for name in names] for instance in instances]
    return np.array(same, bool).reshape(len(instances), len(names))


def _pose_error_mm(instance: Instance, found: Detections, row: int, spec: ObjectSpec) -> float | None:
    if instance.pose is None or row < 0 or spec.cad is None or not torch.isfinite(found.translation_m[row]).all():
        return None
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = found.rotation[row].cpu().numpy(), found.translation_m[row].cpu().numpy()
    points = sample_surface_m(load_cad(spec.cad, spec.units), SURFACE_POINTS)
    return add_s_mm(points.astype(np.float64), instance.pose, pose)
