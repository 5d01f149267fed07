"""COCO mask AP over known objects by pycocotools, IoU of masks, and what is right at each score."""

from __future__ import annotations

import contextlib
import io
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from ism_ros.data.detections import Detections
from ism_ros.data.rle import encode_rle
from ism_ros.sim.synthesis.ground_truth import GroundTruth

MIN_VISIBLE_SHARE = 0.1
"""Least visible share of an instance that counts, as in BOP."""


def mask_ious(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Compute the IoU of masks with each other.

    Args:
        first: (N, H, W) bool.
        second: (M, H, W) bool.

    Returns:
        (N, M) IoU.
    """
    if not len(first) or not len(second):
        return np.zeros((len(first), len(second)))
    encoded = [coco_mask.encode(np.asfortranarray(m.transpose(1, 2, 0), np.uint8)) for m in (first, second)]
    return np.asarray(coco_mask.iou(*encoded, [0] * len(second))).reshape(len(first), len(second))


def annotations_of(truth: GroundTruth, image: int, categories: dict[str, int], first_id: int) -> list[dict[str, Any]]:
    """List the known instances of an image as COCO annotations.

    Args:
        truth: Ground truth of the image.
        image: Its number.
        categories: Category of each object by name.
        first_id: Id of the first annotation.

    Returns:
        The annotations; hardly visible instances are marked as crowds, which pycocotools ignores.
    """
    rows = []
    for t in np.flatnonzero(truth.known):
        rle = encode_rle(truth.masks[t])
        rows.append(
            {
                "id": first_id + len(rows),
                "image_id": image,
                "category_id": categories[truth.names[t]],
                "segmentation": rle,
                "area": int(truth.masks[t].sum()),
                "bbox": [float(side) for side in coco_mask.toBbox(rle)],
                # pycocotools ignores what is marked as a crowd.
                "iscrowd": int(truth.visible_share[t] < MIN_VISIBLE_SHARE),
            }
        )
    return rows


def results_of(found: Detections, image: int, categories: dict[str, int]) -> list[dict[str, Any]]:
    """List detections as COCO results.

    Args:
        found: The detections of an image.
        image: Its number.
        categories: Category of each object by name.

    Returns:
        The results.
    """
    masks = found.masks.cpu().numpy()
    return [
        {
            "image_id": image,
            "category_id": categories[found.class_id(row)],
            "score": float(found.score[row]),
            "segmentation": encode_rle(masks[row]),
        }
        for row in range(len(found))
    ]


def mean_of_valid(values: NDArray[np.float64]) -> float:
    """Average the values of pycocotools that exist.

    Args:
        values: Precisions or recalls, -1 where a category has no instance.

    Returns:
        Their mean, NaN where there is none.
    """
    valid = values[values > -1]
    return float(valid.mean()) if valid.size else float("nan")


def evaluate(
    names: dict[int, str], annotations: list[dict[str, Any]], detections: list[dict[str, Any]], images: int
) -> COCOeval:
    """Evaluate detections.

    Args:
        names: Names of the categories.
        annotations: True instances.
        detections: Results.
        images: Number of images.

    Returns:
        The accumulated evaluation of masks.
    """
    height, width = annotations[0]["segmentation"]["size"]
    truth = COCO()
    truth.dataset = {
        "info": {},
        "images": [{"id": k, "height": height, "width": width} for k in range(images)],
        "categories": [{"id": category, "name": name} for category, name in names.items()],
        "annotations": annotations,
    }
    # pycocotools prints what it does; the tables of the benchmarks say it once.
    with contextlib.redirect_stdout(io.StringIO()):
        truth.createIndex()
        found = truth.loadRes(detections) if detections else COCO()
        if not detections:
            found.dataset = {**truth.dataset, "annotations": []}
            found.createIndex()
        evaluation = COCOeval(truth, found, "segm")
        evaluation.evaluate()
        evaluation.accumulate()
    return evaluation


def is_right_by_category(evaluation: COCOeval) -> dict[int, tuple[NDArray[np.float64], NDArray[np.bool_]]]:
    """Collect which detections are right at IoU 0.5; ignored ones are left out.

    Args:
        evaluation: The accumulated evaluation.

    Returns:
        Scores and whether they are right, by category.
    """
    everything = evaluation.params.areaRng[0]
    rows: dict[int, list[tuple[float, bool]]] = {category: [] for category in evaluation.params.catIds}
    for image in evaluation.evalImgs:
        if image is not None and image["aRng"] == everything:
            scores, ignored = np.array(image["dtScores"]), image["dtIgnore"][0]
            right = image["dtMatches"][0] > 0
            rows[image["category_id"]] += list(zip(scores[~ignored], right[~ignored], strict=True))
    return {
        category: (
            np.array([score for score, _ in found], float),
            np.array([right for _, right in found], bool),
        )
        for category, found in rows.items()
    }
