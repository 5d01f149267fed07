"""Worst cases of an evaluation: missed instances, false detections, and masks that agree least."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from pycocotools import mask as coco_mask

from ism_ros.bop.average_precision import Judgement
from ism_ros.bop.dataset import ImageKey, object_name
from ism_ros.bop.ground_truth import GroundTruth
from ism_ros.bop.predictions import Prediction

Kind = Literal["missed", "false", "loose"]
KINDS: tuple[Kind, ...] = ("missed", "false", "loose")
"""Kinds of cases."""
MIN_OVERLAP = 0.1
"""IoU above which a mask of something else belongs into the picture of a case."""


@dataclass(frozen=True)
class Case:
    """One case.

    Attributes:
        kind: missed, false or loose.
        image: The image.
        title: Id of the object.
        detail: A phrase on what is wrong.
        truth: Rows of the true instances to show, the one it is about first.
        predictions: Rows of the predictions to show, the one it is about first.
    """

    kind: Kind
    image: ImageKey
    title: str
    detail: str
    truth: tuple[int, ...]
    predictions: tuple[int, ...]


def worst_cases(
    judgements: Sequence[Judgement], truth: GroundTruth, predictions: Sequence[Prediction], count: int
) -> dict[Kind, list[Case]]:
    """Select the worst cases.

    Args:
        judgements: Of the evaluation of masks.
        truth: True instances of the dataset.
        predictions: All predictions.
        count: Most cases of each kind.

    Returns:
        By kind, the worst first. missed: never found at IoU 0.5, whatever the score, the largest first; false: neither
        right nor ignored, the best scores first; loose: found, the lowest IoU first.
    """
    missed = [j for j in judgements if j.prediction is None and j.truth is not None]
    false = [j for j in judgements if j.truth is None and j.prediction is not None]
    loose = [j for j in judgements if j.truth is not None and j.prediction is not None and j.iou < 1]
    missed.sort(key=lambda j: -truth.instances[j.truth].area if j.truth is not None else 0)
    false.sort(key=lambda j: -predictions[j.prediction]["score"] if j.prediction is not None else 0)
    loose.sort(key=lambda j: j.iou)
    return {
        "missed": [_missed(j.truth, j.iou, truth, predictions) for j in missed[:count] if j.truth is not None],
        "false": [_false(j.prediction, truth, predictions) for j in false[:count] if j.prediction is not None],
        "loose": [
            _loose(j.truth, j.prediction, j.iou, truth, predictions)
            for j in loose[:count]
            if j.truth is not None and j.prediction is not None
        ],
    }


def image_of(prediction: Prediction) -> ImageKey:
    """Return the image of a prediction."""
    return ImageKey(prediction["scene_id"], prediction["image_id"])


def _missed(row: int, iou: float, truth: GroundTruth, predictions: Sequence[Prediction]) -> Case:
    instance = truth.instances[row]
    rows = [k for k, entry in enumerate(predictions) if image_of(entry) == instance.image]
    overlaps = _ious([instance.mask], [predictions[k]["segmentation"] for k in rows])[0]
    best = [k for k in np.argsort(-overlaps)[:1] if overlaps[k] > MIN_OVERLAP]
    same = [k for k in np.argsort(-overlaps) if predictions[rows[k]]["category_id"] == instance.object_id]
    shown = dict.fromkeys([*best, *[k for k in same[:1] if overlaps[k] > MIN_OVERLAP]])
    visible = "" if np.isnan(instance.visible_share) else f"{100 * instance.visible_share:.0f} % visible, "
    taken = [k for k in best if predictions[rows[k]]["category_id"] != instance.object_id]
    instead = f"; taken for {object_name(predictions[rows[taken[0]]]['category_id'])}" if taken else ""
    return Case(
        "missed",
        instance.image,
        object_name(instance.object_id),
        f"{visible}{instance.area} pixels, best IoU as this object {iou:.2f}{instead}",
        (row,),
        tuple(rows[k] for k in shown),
    )


def _false(row: int, truth: GroundTruth, predictions: Sequence[Prediction]) -> Case:
    entry = predictions[row]
    image = image_of(entry)
    rows = [k for k, instance in enumerate(truth.instances) if instance.image == image]
    overlaps = _ious([entry["segmentation"]], [truth.instances[k].mask for k in rows])[0]
    under = [rows[k] for k in np.argsort(-overlaps)[:1] if overlaps[k] > MIN_OVERLAP]
    if under:
        instance = truth.instances[under[0]]
        same = instance.object_id == entry["category_id"]
        what = "a piece of it or a second detection" if same else f"there is {object_name(instance.object_id)}"
        detail = f"score {entry['score']:.2f}; {what}, IoU {overlaps.max():.2f}"
    else:
        detail = f"score {entry['score']:.2f}; nothing that is in the truth"
    return Case("false", image, object_name(entry["category_id"]), detail, tuple(under), (row,))


def _loose(true: int, found: int, iou: float, truth: GroundTruth, predictions: Sequence[Prediction]) -> Case:
    instance = truth.instances[true]
    detail = f"IoU {iou:.2f}, score {predictions[found]['score']:.2f}"
    return Case("loose", instance.image, object_name(instance.object_id), detail, (true,), (found,))


def _ious(first: list[dict], second: list[dict]) -> np.ndarray:
    """Compute (len(first), len(second)) IoU of RLEs."""
    if not first or not second:
        return np.zeros((len(first), len(second)))
    return np.asarray(coco_mask.iou(first, second, [0] * len(second))).reshape(len(first), len(second))
