"""Average precision of predictions, as COCO defines it (pycocotools) and BOP's 2D tasks use it.

The numbers equal those of the public BOP toolkit for the same files: AP is the mean over the IoU thresholds 0.5,
0.55, ... 0.95, 101 levels of recall and all objects that occur; at most 100 detections of an object count in an
image; ignored instances count neither as found nor as missed, and what matches them is not false. Detections in
other images than those to be judged, or of objects that the dataset does not have, are left out.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from ism_ros.bop.dataset import ImageKey
from ism_ros.bop.ground_truth import GroundTruth, TrueInstance
from ism_ros.bop.predictions import Prediction

Task = Literal["segm", "bbox", "bbox_modal"]
TASKS: tuple[Task, ...] = ("segm", "bbox", "bbox_modal")
"""Tasks: masks; amodal boxes, BOP's detection task; boxes of the visible parts."""
SCORES = (
    *("AP", "AP50", "AP75", "AP_small", "AP_medium", "AP_large"),
    *("AR1", "AR10", "AR100", "AR_small", "AR_medium", "AR_large"),
)
"""Names of the scores in the BOP toolkit's order; AR is AR100."""


@dataclass(frozen=True)
class Judgement:
    """One instance, one detection, or both where they match (same object, IoU of at least 0.5).

    Attributes:
        truth: Index into GroundTruth.instances; None for a false detection.
        prediction: Index into the predictions given; None for a missed instance.
        iou: IoU of the two, or of the one there is with the best candidate, 0 where there is none.
    """

    truth: int | None
    prediction: int | None
    iou: float


@dataclass(frozen=True)
class Evaluation:
    """Scores of predictions.

    Attributes:
        scores: By SCORES, 0 to 1; NaN where there is nothing to be found.
        by_object: AP, AP50, AP75 and AR100 of each object that occurs, by its number.
        judgements: What became of every instance and detection at IoU 0.5, ignored ones left out.
    """

    scores: dict[str, float]
    by_object: dict[int, dict[str, float]]
    judgements: tuple[Judgement, ...]


def evaluate(
    truth: GroundTruth, object_ids: Iterable[int], predictions: Sequence[Prediction], task: Task = "segm"
) -> Evaluation:
    """Evaluate predictions as COCO and BOP do.

    Args:
        truth: Instances in the images to be judged.
        object_ids: Numbers of all objects of the dataset.
        predictions: As of predictions.py.
        task: Which masks or boxes are compared.

    Returns:
        The scores.
    """
    image_ids = {image: number for number, image in enumerate(truth.images)}
    rows = [row for row, entry in enumerate(predictions) if ImageKey(entry["scene_id"], entry["image_id"]) in image_ids]
    wanted = _truth_coco(truth, sorted(object_ids), image_ids, task)
    kind = "segm" if task == "segm" else "bbox"
    # pycocotools prints what it does, table and all
    with contextlib.redirect_stdout(io.StringIO()):
        wanted.createIndex()
        evaluation = COCOeval(wanted, _found_coco(wanted, predictions, rows, image_ids), kind)
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    scores = {name: _known(float(value)) for name, value in zip(SCORES, evaluation.stats, strict=True)}
    return Evaluation(scores, _by_object(evaluation), tuple(_judgements(evaluation, rows)))


def _truth_coco(truth: GroundTruth, object_ids: list[int], image_ids: dict[ImageKey, int], task: Task) -> COCO:
    coco = COCO()
    coco.dataset = {
        "info": {},
        "images": [
            {"id": number, "height": truth.sizes[image][0], "width": truth.sizes[image][1]}
            for image, number in image_ids.items()
        ],
        "categories": [{"id": number, "name": str(number)} for number in object_ids],
        "annotations": [
            _annotation(number, instance, image_ids[instance.image], task)
            for number, instance in enumerate(truth.instances, start=1)
        ],
    }
    return coco


def _annotation(number: int, instance: TrueInstance, image_id: int, task: Task) -> dict[str, Any]:
    return {
        "id": number,
        "image_id": image_id,
        "category_id": instance.object_id,
        "segmentation": dict(instance.mask),
        "bbox": list(instance.visible_box_xywh if task == "bbox_modal" else instance.box_xywh),
        # pycocotools ignores crowds, whose IoU is another one, and what is outside the range of areas: ignored
        # instances are outside of any.
        "area": float("inf") if instance.ignored else instance.area,
        "iscrowd": 0,
    }


def _found_coco(
    wanted: COCO, predictions: Sequence[Prediction], rows: list[int], image_ids: dict[ImageKey, int]
) -> COCO:
    entries = [
        {
            "image_id": image_ids[ImageKey(predictions[row]["scene_id"], predictions[row]["image_id"])],
            "category_id": predictions[row]["category_id"],
            "score": predictions[row]["score"],
            "bbox": list(predictions[row]["bbox"]),
            "segmentation": dict(predictions[row]["segmentation"]),
        }
        for row in rows
    ]
    if entries:
        return wanted.loadRes(entries)
    nothing = COCO()
    nothing.dataset = {**wanted.dataset, "annotations": []}
    nothing.createIndex()
    return nothing


def _by_object(evaluation: Any) -> dict[int, dict[str, float]]:
    # (threshold, recall, object, area range, most detections) and the same without recall; -1 = object does not occur
    precision = evaluation.eval["precision"][:, :, :, 0, -1]
    recall = evaluation.eval["recall"][:, :, 0, -1]
    return {
        int(number): {
            "AP": float(precision[:, :, k].mean()),
            "AP50": float(precision[0, :, k].mean()),
            "AP75": float(precision[5, :, k].mean()),
            "AR100": float(recall[:, k].mean()),
        }
        for k, number in enumerate(evaluation.params.catIds)
        if (recall[:, k] > -1).all()
    }


def _judgements(evaluation: Any, rows: list[int]) -> Iterable[Judgement]:
    every_area = evaluation.params.areaRng[0]
    for image in evaluation.evalImgs:
        if image is None or image["aRng"] != every_area:
            continue
        found_ids, true_ids = image["dtIds"], image["gtIds"]
        ious = _ious(evaluation, image, len(found_ids), len(true_ids))
        matched_with = np.asarray(image["dtMatches"])[0].astype(int) if len(found_ids) else np.zeros(0, int)
        ignored_found = np.asarray(image["dtIgnore"])[0] if len(found_ids) else np.zeros(0, bool)
        ignored_true = np.asarray(image["gtIgnore"], bool)
        position = {number: k for k, number in enumerate(true_ids)}
        for k, number in enumerate(found_ids):
            if ignored_found[k]:
                continue
            row, match = rows[number - 1], int(matched_with[k])
            if match:
                yield Judgement(match - 1, row, float(ious[k, position[match]]))
            else:
                yield Judgement(None, row, float(ious[k].max(initial=0.0)))
        for k, number in enumerate(true_ids):
            if not ignored_true[k] and number not in matched_with:
                yield Judgement(number - 1, None, float(ious[:, k].max(initial=0.0)))


def _ious(evaluation: Any, image: dict[str, Any], found: int, true: int) -> np.ndarray:
    """Return (detections, instances) IoU of one object in one image, in the order of dtIds and gtIds."""
    key = image["image_id"], image["category_id"]
    stored = np.asarray(evaluation.ious[key], float).reshape(-1, true) if true else np.zeros((found, 0))
    # its columns are in the order of the ids, but gtIds has the ignored ones last
    return stored[:found, np.argsort(np.argsort(image["gtIds"]))].reshape(found, true)


def _known(score: float) -> float:
    return score if score > -1 else float("nan")
